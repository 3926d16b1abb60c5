"""What a trained model gives: text, by python -m gptx sample RUN, and its weights, by python -m gptx export RUN."""

import shlex
import sys
from pathlib import Path

from gptx.job.load import load
from gptx.runs.folder import RunFolder


def sample(
    run: str,
    /,
    *,
    prompt: str = "",
    length: int = 500,
    number: int = 1,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
    checkpoint: str = "newest",
    weights: str = "judged",
    device: str = "auto",
    allow_targets: tuple[str, ...] = (),
) -> None:
    r"""Write text with the model of a run.

      python -m gptx sample runs/default/base prompt="def "
      python -m gptx sample runs/default/base checkpoint=best length=300 number=2 top_k=50

    Options:
    prompt: text to continue; \n and \t mean a line end and a tab
    length: tokens to write; an end-of-text token ends a sample early
    number: samples to write
    temperature: 0 always takes the most likely token, 1 samples from the model's own distribution
    top_k: sample from the k most likely tokens only
    top_p: sample from the most likely tokens that have this probability together
    greedy: take the most likely token every time, as temperature=0 does
    seed: the same seed writes the same text
    """
    import torch

    from gptx.ingredients.data.tokenizers import beginning, decode
    from gptx.ingredients.model.generate import LONGEST_SAMPLE, generate, refuse_sampling
    from gptx.trainer import stream

    refuse_sampling(temperature, top_k, top_p, [0], length)
    if not 1 <= number <= LONGEST_SAMPLE:
        raise ValueError(f"number={number} must be at least 1, and at most {LONGEST_SAMPLE:,}")
    folder = Path(run)
    model, encoding = load(folder, checkpoint=checkpoint, weights=weights, device=device, allow_targets=allow_targets)
    prompt = prompt.replace("\\n", "\n").replace("\\t", "\t")
    tokens = beginning(encoding, prompt, documents=RunFolder(folder).known("data.train_documents"))
    for i in range(number):
        if number > 1:
            print(f"--- {i + 1} of {number}")
        generator = torch.Generator().manual_seed(stream(seed, "sample", i))
        drawn = generate(model, tokens, length=length, temperature=0.0 if greedy else temperature, top_k=top_k,
                         top_p=top_p, generator=generator)  # fmt: skip
        sys.stdout.write(prompt)
        for piece in decode(encoding, drawn):
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()


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

    folder, file = Path(run), Path(out)
    if file.suffix != ".safetensors":
        raise ValueError(f"out={out}: a file that ends in .safetensors")
    model, encoding = load(folder, checkpoint=checkpoint, weights=weights, device="cpu", allow_targets=allow_targets)
    config = RunFolder(folder).config
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(file, model, config=config, vocab_size=encoding.n_vocab, vocabulary=vocabulary_digest(encoding))
    count = sum(p.numel() for p in model.parameters())
    print(f"{file}: {count:,} weights of {folder}; {shlex.quote(f'from={file}')} starts a run from them")
