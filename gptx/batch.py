"""Batch arithmetic: tokens per update are the recipe; the micro-batch and the number of processes are not."""

from dataclasses import dataclass

FORWARD_TOKENS = 16_384  # of one forward pass where the config leaves it open: enough to keep a GPU busy


@dataclass(frozen=True)
class Batch:
    """`tokens` per update over all processes, read in micro-batches of `micro` sequences per process.

    Without a `micro` it is the largest that divides and holds at most FORWARD_TOKENS tokens.
    """

    tokens: int
    micro: int | None = None

    def split(self, context: int, world_size: int) -> tuple[int, int]:
        """Sequences per micro-batch, and micro-batches per process and update.

        Raises ValueError with the arithmetic, and the nearest sizes that work, where `tokens` does not divide.
        """
        micro = self.micro if self.micro is not None else self.largest(context, world_size)
        for name, size in (("batch.micro", micro), ("model.context", context)):
            if size < 1:
                raise ValueError(f"{name}={size}: at least 1")
        share = micro * context * world_size
        if self.tokens < 1 or self.tokens % share:
            below = max(self.tokens, 0) // share * share
            nearest = f"{below} or {below + share}" if below else f"{share}"
            raise ValueError(
                f"batch.tokens={self.tokens} is not a multiple of batch.micro x model.context x processes = "
                f"{micro} x {context} x {world_size} = {share}; the nearest that work: {nearest}"
                + self.other_micro(micro, context * world_size)
            )
        return micro, self.tokens // share

    def largest(self, context: int, world_size: int) -> int:
        """The largest micro-batch that divides and holds at most FORWARD_TOKENS tokens; 1 where none does."""
        rows = max(self.tokens, 0) // max(context * world_size, 1)
        most = max(1, FORWARD_TOKENS // max(context, 1))
        return next((m for m in range(min(rows, most), 0, -1) if rows % m == 0), 1)

    def other_micro(self, micro: int, row: int) -> str:
        """The largest smaller micro-batch with which `tokens` does divide, as the end of a sentence."""
        sizes = [m for m in range(1, max(micro, 1)) if self.tokens > 0 and self.tokens % (m * row) == 0]
        return f", or batch.micro={sizes[-1]}" if sizes else ""
