"""Weights alone, as safetensors: no code can hide in the file, and other programs read it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from gptx.distributed.shards import like
from gptx.files import in_one_step


def save_weights(file: Path, model: nn.Module, **facts) -> None:
    """Write every weight of the model under its full name, one that has several names once. In the metadata a fact is
    JSON, and a name that was left out stands with the one that holds its weight."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    own, names = model.state_dict(), dict[tuple, str]()
    first = {name: names.setdefault((each.data_ptr(), each.shape, each.stride()), name) for name, each in own.items()}
    weights = {name: own[name].contiguous() for name in names.values()}
    shared = {name: other for name, other in first.items() if other != name}
    about = {"format": "pt", **{k: json.dumps(v) for k, v in facts.items()}, **shared}

    def fill(part: Path) -> None:
        usual = part.stat().st_mode  # save_file makes a new file, for its owner alone
        try:
            save_file(weights, part, about)
        except SafetensorError as error:  # it hides what the disk said behind its own complaint
            raise OSError(f"{file} cannot be written: {error}") from None
        part.chmod(usual)

    in_one_step(file, fill)


def load_weights(file: Path, model: nn.Module, *, cut: str = "") -> None:
    """Give the model the weights of a file with its names; of the tensor `cut` as many rows as it has. Raises
    ValueError, before anything changes, for the first tensor that is missing, of another shape, or not the model's."""
    own, weights = model.state_dict(), {}
    with _opened(file) as (there, metadata):
        names = {*there.keys()}
        source = {name: name if name in names else metadata.get(name, name) for name in own}
        for name, tensor in own.items():
            if source[name] not in names:
                raise ValueError(f"{file}: it holds no {name}, which the model has")
            whole, shape = there.get_tensor(source[name]), tuple(tensor.shape)
            weights[name] = whole[: len(tensor)] if name == cut else whole
            if weights[name].shape != shape:
                raise ValueError(f"{file}: its {name} has shape {tuple(whole.shape)}, the model's {shape}")
        for name in sorted(names - {*source.values()}):
            raise ValueError(f"{file}: it holds {name}, which the model does not have")
        model.load_state_dict({name: like(weight, own[name]) for name, weight in weights.items()})


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """The file and its metadata. Raises ValueError in one line."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as there:
            yield there, there.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file}: no safetensors, or damaged: {error}") from None


def export_facts(file: Path) -> dict:
    """The facts that `save_weights` wrote with the weights; empty for another program's file. Raises ValueError."""
    kinds = {"config": dict, "vocab_size": int, "vocabulary": str}
    with _opened(file) as (_, metadata):
        pass
    try:
        found = {name: json.loads(metadata[name]) for name in kinds if name in metadata}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: the facts in it cannot be read ({error})") from None
    for name, value in found.items():
        if type(value) is not kinds[name] or (type(value) is dict and type(value.get("model")) is not dict):
            raise ValueError(f"{file}: its {name} is not one that gptx export writes")
    return found


def vocabulary_digest(encoding) -> str:
    """SHA-256 of an encoding's tokens in the order of their numbers: the same text is the same numbers."""
    tokens = [encoding.decode_single_token_bytes(number).hex() for number in range(encoding.n_vocab)]
    return hashlib.sha256(" ".join(tokens).encode()).hexdigest()
