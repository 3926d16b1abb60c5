"""What went wrong, by what the loss did: six courses of trouble, each with its likely cause and what to do."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """A course that trouble takes."""

    name: str
    cause: str
    response: str


RECOVERS = Verdict(
    "single spike, recovers",
    "a hard or rare batch, or one fault in computing it",
    "nothing, as long as it stays alone",
)
STAYS = Verdict(
    "spike, does not recover",
    "a learning rate too high for the state the weights are in",
    "go back to a checkpoint from before it and on with a lower rate",
)
DRIFTS = Verdict(
    "slow divergence",
    "an instability that builds up, or data that gets worse",
    "lower the rate, look at the data, warm up for longer",
)
NAN_AT_ONCE = Verdict(
    "immediate NaN",
    "a rate or an initialisation out of scale, or a number format that overflows",
    "check the rate and the initialisation; compute in bf16 rather than fp16",
)
REPEATS = Verdict(
    "repeated spikes",
    "a part of the data that is not like the rest",
    "look at the offending batches; clean them or leave them out",
)
FLAT_THEN_NAN = Verdict(
    "plateau, then NaN",
    "layers that saturated or died before anything showed",
    "watch activations and norms layer by layer (observe=activations)",
)
