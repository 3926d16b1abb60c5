"""Write a run's weights alone:  python -m gptx export run=runs/default/base out=model.safetensors."""

import shlex
from pathlib import Path

from gptx.config import arguments
from gptx.runs.folder import RunFolder


def export(
    *,
    run: str,
    out: str,
    checkpoint: str = "newest",
    weights: str = "judged",
    allow_targets: str | None = None,
) -> None:
    """Write the weights of a run as safetensors, in 32 bits, with the run's config beside them.

    python -m gptx export run=runs/default/base checkpoint=best out=model.safetensors

    `checkpoint` is newest, best by validation loss, or one such as step_00000100. `weights=ema` writes the averaged
    ones of a run with observe=ema. A new run starts from the file with from=model.safetensors.
    """
    from gptx.commands import sample
    from gptx.ingredients.checkpoints.weights import vocabulary, write

    folder, file = Path(run), Path(out)
    if file.suffix != ".safetensors":
        raise ValueError(f"out={out}: a file that ends in .safetensors")
    trusted = (allow_targets,) if allow_targets else ()
    model, encoding = sample.load(folder, checkpoint=checkpoint, weights=weights, device="cpu", allow_targets=trusted)
    config = RunFolder(folder).config
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, model, config=config, vocab_size=encoding.n_vocab, vocabulary=vocabulary(encoding))
    count = sum(p.numel() for p in model.parameters())
    print(f"{file}: {count:,} weights of {folder}; {shlex.quote(f'from={file}')} starts a run from them")


if __name__ == "__main__":
    arguments.call(export)
