"""Faults on purpose, to see what becomes of a run: each function changes an ingredient of the trainer it is given.

A fault is tied to the data (the cursor), not to the step: a run that went back and past it does not meet it again.
"""


def none(trainer) -> None:
    """No fault."""
