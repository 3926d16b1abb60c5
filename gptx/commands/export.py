"""Write a run's weights alone:  python -m gptx export runs/default/base out=model.safetensors."""

import shlex
from pathlib import Path

from gptx.runs.folder import RunFolder


def export(
    run: str, /, *, out: str, checkpoint: str = "newest", weights: str = "judged", allow_targets: tuple[str, ...] = ()
) -> None:
    """Write the weights of a run (fp32) and its config as one safetensors file.

      python -m gptx export runs/default/base out=model.safetensors checkpoint=best

    The file can start a new run: python -m gptx.train from=model.safetensors

    Options:
    out: the file, which ends in .safetensors
    """
    from gptx.ingredients.checkpoints.weights import save_weights, vocabulary_digest
    from gptx.job.load import load

    folder, file = Path(run), Path(out)
    if file.suffix != ".safetensors":
        raise ValueError(f"out={out}: a file that ends in .safetensors")
    model, encoding = load(folder, checkpoint=checkpoint, weights=weights, device="cpu", allow_targets=allow_targets)
    config = RunFolder(folder).config
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(file, model, config=config, vocab_size=encoding.n_vocab, vocabulary=vocabulary_digest(encoding))
    count = sum(p.numel() for p in model.parameters())
    print(f"{file}: {count:,} weights of {folder}; {shlex.quote(f'from={file}')} starts a run from them")
