"""What the model writes while it learns."""

import torch

from gptx.ingredients.data.text import beginning, decode
from gptx.ingredients.model.generate import generate, refuse
from gptx.ingredients.observe import Observer
from gptx.units.printable import masked


class Samples(Observer):
    """Text of `length` tokens that continues `prompt`, drawn with the same `seed` every time, so that only the model
    differs from sample to sample. An end of text ends it early."""

    prompt: str
    length: int
    temperature: float
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(self.temperature, None, None, [0], self.length)

    def attach(self, trainer) -> None:
        documents = trainer.data.identity["train_documents"]
        self.tokens = beginning(trainer.data.encoding, self.prompt, documents=documents)

    def __call__(self, trainer) -> dict[str, str]:
        generator = torch.Generator().manual_seed(self.seed)
        with trainer.evaluation(), trainer.precision.autocast(trainer.parallel.device):
            drawn = generate(trainer.model, self.tokens, length=self.length, temperature=self.temperature,
                             generator=generator)  # fmt: skip
            try:
                return {"sample/text": masked(self.prompt) + "".join(decode(trainer.data.encoding, drawn))}
            except ValueError as diverged:
                return {"sample/text": f"no sample: {diverged}"}
