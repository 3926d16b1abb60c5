"""Number formats. Weights, moments, gradients and the loss stay in fp32 in every mode."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """`compute` is the type of the large operations of the forward and backward pass: fp32, bf16, fp16 or auto.

    auto is bf16 on a CUDA device that has it, else fp32. `tf32` lets fp32 products run in TensorFloat-32.
    """

    compute: str
    tf32: bool = False

    def on(self, device: torch.device) -> torch.dtype:
        """The type computed in on `device`. Raises ValueError where the machine cannot."""
        if self.compute == "auto":
            return torch.bfloat16 if device.type == "cuda" and has_bf16() else torch.float32
        if self.compute not in DTYPES:
            raise ValueError(f"precision.compute={self.compute} is unknown; one of {', '.join(DTYPES)}, auto")
        if self.compute == "bf16" and device.type == "cuda" and not has_bf16():
            raise ValueError(
                "precision=bf16: this GPU has no bfloat16 (it needs compute capability 8.0); use fp16 or fp32"
            )
        if self.tf32 and not (device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 0)):
            raise ValueError(f"precision=tf32 needs an NVIDIA GPU of compute capability 8.0; on {device.type} use fp32")
        return DTYPES[self.compute]

    def prepare(self, device: torch.device) -> None:
        """Set what is global in PyTorch. Raises ValueError where the machine cannot."""
        self.on(device)
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """Context in which large operations run in the chosen type."""
        dtype = self.on(device)
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Loss scaler: at work in fp16, whose smallest gradients would else become zero; elsewhere it does nothing."""
        return torch.amp.GradScaler(device.type, enabled=self.on(device) == torch.float16)


def has_bf16() -> bool:
    """True where the GPU computes in bfloat16 and does not imitate it."""
    return torch.cuda.get_device_capability() >= (8, 0)
