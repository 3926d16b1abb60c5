"""Batch arithmetic: tokens per update are the recipe; the micro-batch and the number of processes are not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """`tokens` per update over all processes, read in micro-batches of `micro` sequences per process."""

    tokens: int
    micro: int

    def split(self, context: int, world_size: int) -> tuple[int, int]:
        """Sequences per micro-batch, and micro-batches per process and update.

        Raises ValueError with the arithmetic, and the nearest sizes that work, where `tokens` does not divide.
        """
        for name, size in (("batch.micro", self.micro), ("model.context", context)):
            if size < 1:
                raise ValueError(f"{name}={size}: at least 1")
        share = self.micro * context * world_size
        if self.tokens < 1 or self.tokens % share:
            below = max(self.tokens, 0) // share * share
            nearest = f"{below} or {below + share}" if below else f"{share}"
            raise ValueError(
                f"batch.tokens={self.tokens} is not a multiple of batch.micro x model.context x processes = "
                f"{self.micro} x {context} x {world_size} = {share}; the nearest that work: {nearest}"
                + self.other_micro(context * world_size)
            )
        return self.micro, self.tokens // share

    def other_micro(self, row: int) -> str:
        """The largest smaller micro-batch with which `tokens` does divide, as the end of a sentence."""
        sizes = [m for m in range(1, max(self.micro, 1)) if self.tokens > 0 and self.tokens % (m * row) == 0]
        return f", or batch.micro={sizes[-1]}" if sizes else ""
