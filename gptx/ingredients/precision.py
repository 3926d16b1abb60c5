"""Number formats. Moments and the loss stay in fp32 in every mode; weights and gradients too, but for pure bf16."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from gptx.units.options import Configured

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


class Precision(Configured):
    """`compute` is the type of the large operations of the forward and backward pass: fp32, bf16, fp16, fp8 or auto.
    auto is bf16 on a CUDA device that has it, else fp32; fp8 is for the products of linear layers, with bf16 elsewhere.
    With `weights` in bf16 there is no fp32 copy of them: each step is computed in fp32 and its result rounded."""

    compute: Literal["fp32", "bf16", "fp16", "fp8", "auto"]
    tf32: bool = False  # lets fp32 products run in TensorFloat-32
    weights: Literal["fp32", "bf16"] = "fp32"
    rounding: Literal["stochastic", "nearest"] = "stochastic"

    def on(self, device: torch.device) -> torch.dtype:
        """The type computed in on `device`. Raises ValueError where the machine cannot."""
        if self.weights == "bf16" and self.compute != "bf16":
            raise ValueError(f"precision.weights=bf16 computes in bf16 too, not in precision.compute={self.compute}")
        capability = torch.cuda.get_device_capability() if device.type == "cuda" else (0, 0)
        if self.compute == "auto":
            return torch.bfloat16 if capability >= (8, 0) else torch.float32
        if self.compute == "bf16" and device.type == "cuda" and capability < (8, 0):
            raise ValueError("precision=bf16: this GPU lacks bfloat16 (compute capability 8.0); use fp16 or fp32")
        rows = ("tf32", self.tf32, (8, 0), "fp32"), ("fp8", self.compute == "fp8", (8, 9), "bf16")
        for form, asked, (major, minor), instead in rows:
            if asked and capability < (major, minor):
                needed = f"precision={form} needs an NVIDIA GPU of compute capability {major}.{minor}"
                raise ValueError(f"{needed}; on {device.type} use {instead}")
        return _DTYPES[self.compute]

    def prepare(self, device: torch.device) -> None:
        self.on(device)
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")

    def autocast(self, device: torch.device) -> AbstractContextManager:
        dtype = torch.bfloat16 if self.compute == "fp8" else self.on(device)
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32 and self.weights == "fp32")

    def convert(self, model: nn.Module) -> nn.Module:
        """The model in its weight type; in fp8 linear layers whose sizes are multiples of 16 multiply, scaled
        by tensor (arXiv:2209.05433; torchao). Raises ValueError where torchao is missing."""
        for parameter in model.parameters() if self.weights == "bf16" else ():
            parameter.data = parameter.data.bfloat16()
        if self.compute != "fp8":
            return model
        try:
            from torchao.float8 import convert_to_float8_training
        except ImportError as error:
            raise ValueError("precision=fp8 needs the package torchao: pip install 'gptx[fp8]'") from error

        def fits(module: nn.Module, name: str) -> bool:
            return isinstance(module, nn.Linear) and not (module.in_features % 16 or module.out_features % 16)

        return convert_to_float8_training(model, module_filter_fn=fits)

    def optimizer(self, optim, groups: list[dict]) -> torch.optim.Optimizer:
        return optim(groups) if self.weights == "fp32" else stepping_in_fp32(optim, groups, self.rounding)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Loss scaler: only active in fp16, whose smallest gradients would otherwise become zero."""
        return torch.amp.GradScaler(device.type, enabled=self.on(device) == torch.float16)


def imitated(dtype: torch.dtype, device: torch.device) -> str:
    """bf16 or fp16 that oneDNN lacks on this processor (bf16 without AVX-512 or AVX-NE-CONVERT, fp16 without AVX-512
    FP16) and PyTorch emulates it; else empty, also for AVX-512 without its BF16 part: it takes 1.4x fp32's time."""
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "")
    if not name or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return ""
    return "" if getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported")() else name


def stepping_in_fp32(optim, groups: list[dict], rounding: str) -> torch.optim.Optimizer:
    """An optimizer over fp32 stand-ins of the parameters, which exist during a step only. The noise of a stochastic
    rounding depends on the number of the step, so processes agree and a resumed run repeats it."""
    stand_ins = {p: nn.Parameter(p.detach().float()) for group in groups for p in group["params"]}
    optimizer = optim([group | {"params": [stand_ins[p] for p in group["params"]]} for group in groups])
    if getattr(optimizer, "judged", None):
        raise ValueError(f"precision=bf16_pure keeps no average of the weights, which {type(optimizer).__name__} needs")
    optimizer.param_groups[0].setdefault("rounded", 0)

    def fill(optimizer, *_) -> None:
        for p, stand_in in stand_ins.items():
            stand_in.data = p.detach().float()
            stand_in.grad = None if p.grad is None else p.grad.float()

    @torch.no_grad()
    def empty(optimizer, *_) -> None:
        optimizer.param_groups[0]["rounded"] += 1
        for i, (p, stand_in) in enumerate(stand_ins.items()):
            noise = torch.Generator(p.device).manual_seed(optimizer.param_groups[0]["rounded"] << 20 | i)
            p.copy_(stand_in if rounding == "nearest" else stochastically_rounded(stand_in, noise))
            stand_in.data, stand_in.grad = stand_in.new_empty(0), None

    optimizer.register_step_pre_hook(fill)
    optimizer.register_step_post_hook(empty)
    return optimizer


def stochastically_rounded(value: Tensor, noise: torch.Generator) -> Tensor:
    """fp32 values as one of their two neighbours in bf16, up as often as they lie above: unbiased in the mean."""
    bits = value.view(torch.int32)
    lower = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=noise)
    rounded = ((bits + lower) & -(1 << 16)).view(torch.float32)
    return torch.where(value.isfinite(), rounded, value).bfloat16()
