"""Weights alone, as safetensors: no code can hide in the file, and other programs read it."""

import hashlib
import json
from pathlib import Path

from torch import Tensor, nn

from gptx.distributed.shards import like
from gptx.files import in_one_step


def write(file: Path, model: nn.Module, **facts) -> None:
    """Write every weight of the model under its full name, one that has several names once, and `facts` beside.

    In the file's metadata each fact is JSON, and a name that was left out stands with the one that holds its weight.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights: dict[str, Tensor] = {}
    names: dict[tuple, str] = {}
    shared: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        first = names.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), name)
        if first == name:
            weights[name] = tensor.contiguous()
        else:
            shared[name] = first
    about = {"format": "pt", **{k: json.dumps(v) for k, v in facts.items()}, **shared}

    def fill(part: Path) -> None:
        usual = part.stat().st_mode  # save_file makes a file anew, for its owner alone
        try:
            save_file(weights, part, about)
        except SafetensorError as error:  # it hides what the disk said behind its own complaint
            raise OSError(f"{file} cannot be written: {error}") from None
        part.chmod(usual)

    in_one_step(file, fill)


def read(file: Path, model: nn.Module, *, cut: str = "") -> None:
    """Give the model the weights of a file that `write` made or that has the same names; of the one to `cut` the first
    rows, as many as the model has.

    Raises ValueError that names the first tensor that the file lacks, has in another shape, or has too many; the model
    is then as it was.
    """
    from safetensors import SafetensorError, safe_open

    own = model.state_dict()
    try:
        with safe_open(file, "pt") as opened:
            there, shared = set(opened.keys()), opened.metadata() or {}
            source = {name: name if name in there else shared.get(name, name) for name in own}
            for name, tensor in own.items():
                if source[name] not in there:
                    raise ValueError(f"{file}: it holds no {name}, which the model has")
                shape = tuple(opened.get_slice(source[name]).get_shape())
                fits = shape == tensor.shape or (
                    name == cut and shape[0] > len(tensor) and shape[1:] == tensor.shape[1:]
                )
                if not fits:
                    raise ValueError(f"{file}: its {name} has shape {shape}, the model's {tuple(tensor.shape)}")
            for name in sorted(there - {*source.values()}):
                raise ValueError(f"{file}: it holds {name}, which the model has not")
            whole = {name: opened.get_tensor(source[name]) for name in own}
            whole |= {cut: whole[cut][: len(own[cut])]} if cut in own else {}
            model.load_state_dict({name: like(whole[name], own[name]) for name in own})
    except SafetensorError as error:
        raise ValueError(f"{file}: no safetensors, or damaged: {error}") from None


def facts(file: Path) -> dict:
    """What `write` noted beside the weights; empty for a file that another program wrote. Raises ValueError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file}: no safetensors, or damaged: {error}") from None
    kinds = {"config": dict, "vocab_size": int, "vocabulary": str}
    try:
        found = {name: json.loads(metadata[name]) for name in kinds if name in metadata}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: what stands beside its weights cannot be read ({error})") from None
    for name, value in found.items():
        if type(value) is not kinds[name] or (type(value) is dict and type(value.get("model")) is not dict):
            raise ValueError(f"{file}: its {name} is not one that gptx.commands.export writes")
    return found


def vocabulary(encoding) -> str:
    """SHA-256 of an encoding's tokens in the order of their numbers: the same text is the same numbers."""
    tokens = [encoding.decode_single_token_bytes(number).hex() for number in range(encoding.n_vocab)]
    return hashlib.sha256(" ".join(tokens).encode()).hexdigest()
