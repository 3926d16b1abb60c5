"""Diagnoses: six courses that the loss can take, each with its likely cause and what to do."""

from typing import NamedTuple


class Verdict(NamedTuple):
    name: str
    cause: str
    response: str


RECOVERS = Verdict("single spike, recovers", "a hard or rare batch, or one fault in computing it",
                   "nothing, as long as it stays alone")  # fmt: skip
STAYS = Verdict("spike, does not recover", "a learning rate too high for the present weights",
                "go back to a checkpoint from before it and continue with a lower learning rate")  # fmt: skip
DRIFTS = Verdict("slow divergence", "an instability that builds up, or data that gets worse",
                 "lower the learning rate, look at the data, warm up for longer")  # fmt: skip
NAN_AT_ONCE = Verdict("immediate NaN",
                      "a learning rate or an initialisation out of scale, or a number format that overflows",
                      "check the learning rate and the initialisation; compute in bf16 rather than fp16")  # fmt: skip
REPEATS = Verdict("repeated spikes", "a part of the data that is not like the rest",
                  "look at the offending batches; clean them or leave them out")  # fmt: skip
FLAT_THEN_NAN = Verdict("plateau, then NaN", "layers that saturated or died before anything showed",
                        "watch activations and norms layer by layer (observe=activations)")  # fmt: skip
