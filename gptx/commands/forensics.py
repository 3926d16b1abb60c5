"""What was in the batch of an update:  python -m gptx forensics runs/default/base step=120   (help shows more)."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from gptx import runs
from gptx.config import validate
from gptx.config.errors import ConfigError
from gptx.estimate import capacity
from gptx.ingredients.log import jsonl
from gptx.job.build import trainer_of
from gptx.runs.folder import RunFolder

LONGEST = 13  # tokens of the longest phrase, and
REPEATS = 32  # the repeats of one from which OLMo 2 leaves a sequence out of the loss (arXiv:2501.00656)
RARE = 1e-5  # a token is rare if it is at most this share of the training text
PART, PARTS = 1_000_000, 50  # tokens of the training text that are counted for it, and in how many places
SHOWN = 15
UNUSED = {"log", "observe"}  # of a config, where nothing is trained


def forensics(
    run: str,
    /,
    *,
    step: int | None = None,
    sequences: str | None = None,
    weights: str = "newest",
    device: str = "auto",
    data: str | None = None,
    allow_targets: str | None = None,
) -> None:
    """Show what was in the batch of a step: documents, their losses, repeats and rare tokens.

      python -m gptx forensics runs/default/base step=120
      python -m gptx forensics runs/default/base sequences=1200:1264

    Documents with the highest loss come first; without losses, those with the largest share of the batch.

    Options:
    step: the step whose batch is shown
    sequences: FIRST:END in the numbering of the whole run, as in events.jsonl and postmortem.md
    weights: newest computes the losses with the newest checkpoint; none leaves them out
    data: where the text is now, if it was moved
    """
    if (step is None) == (sequences is None):
        raise ValueError("say which batch: step=120, or sequences=1200:1264")
    if weights not in ("newest", "none"):
        raise ValueError(f"weights={weights} is unknown; one of newest, none")
    folder = Path(run)
    trainer = rebuilt(folder, device, (allow_targets,) if allow_targets else (), data)
    spans = [span(sequences or "")] if step is None else drawn(folder, step, trainer)
    for first, last in spans[:-1]:
        print(f"update {step} was made {len(spans)} times; before a rollback or a restart of sequences {first}:{last}")
    first, last = spans[-1]
    losses: list[float] = []
    if weights == "newest" and trainer.checkpoints.restore(trainer):
        losses = trainer.losses_of(first, last - first)
        print(f"losses are under the weights after update {trainer.step}")
    for line in told(trainer, first, last, losses):
        print(line)


def rebuilt(folder: Path, device: str, allow: tuple[str, ...], data: str | None = None) -> Any:
    """The trainer of a run, before its first update. Raises ConfigError where its text is no longer what it was."""
    run = RunFolder(folder).begun()
    if data is not None:
        if "path" not in run.config.get("data", {}):
            raise ValueError(f"data={data}: the text of this run is not one of data.path; its config has none")
        run.config["data"]["path"] = data
    kept = run.literal(*(run.config.keys() - UNUSED))
    cfg = OmegaConf.create({"record_patch": False, **kept, **dict.fromkeys(UNUSED)})  # which earlier configs lack
    OmegaConf.update(cfg, "parallel.device", device)
    with run.naming("config.yaml"):
        validate.check(cfg, allow=allow)
        capacity.refuse_too_large(cfg, 1, capacity.this_machine(device))
        trainer = trainer_of(cfg)
    trainer.network = trainer.model  # for a few sequences nothing is worth compiling
    trainer.checkpoints.place(folder)
    if changed := runs.other_text(run.record.get("data", {}), trainer.data.identity):
        raise ConfigError(f"{folder}: the text is not the one that it was trained on: {'; '.join(changed[:2])}")
    return trainer


def span(sequences: str) -> tuple[int, int]:
    """1200:1264 as two numbers."""
    ends = re.fullmatch(r"(\d+):(\d+)", sequences.replace(",", ""))
    if not ends or int(ends[1]) >= int(ends[2]):
        raise ValueError(f"sequences={sequences}: two numbers, the first and the one after the last: 1200:1264")
    return int(ends[1]), int(ends[2])


def drawn(folder: Path, step: int, trainer) -> list[tuple[int, int]]:
    """The sequences of an update, each time that it was made; the last is the one that counts."""
    run = RunFolder(folder)
    rows = [row for row in run.rows if jsonl.whole(row.get("train/tokens"))]
    if step not in {row["step"] for row in rows}:
        made = f"it holds {min(r['step'] for r in rows)} to {max(r['step'] for r in rows)}" if rows else "it holds none"
        raise ValueError(f"step={step}: no such update in {folder / 'metrics.jsonl'}; {made}")
    given_up = [event for event in run.events if event["event"] == "rollback" and "sequences" in event]
    ends = [event["sequences"][1] for event in given_up if event.get("left") == step - 1]  # these left no line
    ends += [row["train/tokens"] // trainer.data.context for row in rows if row["step"] == step]
    count = trainer.batch.tokens_at(step) // trainer.data.context
    return [(end - count, end) for end in reversed(dict.fromkeys(reversed(ends)))]


def told(trainer, first: int, last: int, losses: list[float]) -> Iterator[str]:
    """The lines of the report."""
    data = trainer.data
    documents = data.documents(first, last - first)
    tokens = data(first, last - first).inputs.numpy()  # (B, T)
    rare = rare_tokens(data)
    repeated = np.array([repeats(row) for row in tokens])  # (B, 2)
    strange = rare[tokens].mean(axis=1)
    yield (
        f"sequences {first}:{last} of {data.context} tokens, {len({name for d in documents for name in d})} documents; "
        f"rare tokens {strange.mean():.2%}, in repeats {repeated[:, 0].mean():.1%}"
    )
    looping = int((repeated[:, 1] >= REPEATS).sum())
    yield (
        f"{looping} sequences repeat a phrase of at most {LONGEST} tokens {REPEATS} times or more on end"
        + (": what OLMo 2 leaves out of the loss" if looping else "")
    )
    yield ""
    yield f"{'loss':>8} {'above':>8} {'share':>7} {'rare':>7} {'repeats':>8}  document"
    blamed = data.blame(first, losses or [0.0] * (last - first))
    blamed = blamed if losses else sorted(blamed, key=lambda found: -found["share"])
    for found in blamed[:SHOWN]:
        rows = [i for i, d in enumerate(documents) if any(is_of(name, found["name"]) for name in d)]
        loss, above = (f"{found[key]:8.3f}" if losses else f"{'-':>8}" for key in ("loss", "above"))
        shares = f"{found['share']:7.1%} {strange[rows].mean():7.2%} {repeated[rows, 0].mean():8.1%}"
        yield f"{loss} {above} {shares}  {found['name']}"
    if len(blamed) > SHOWN:
        yield f"{len(blamed) - SHOWN} more"
    worst = int(np.nanargmax(losses)) if losses else int(np.argmax(repeated[:, 0] + strange))
    what = f"loss {losses[worst]:.3f}" if losses else f"{strange[worst]:.2%} rare, {repeated[worst, 0]:.1%} in repeats"
    yield ""
    yield f"the worst sequence, {first + worst} ({what}), of {', '.join(documents[worst])}:"
    text = data.encoding.decode(tokens[worst, :100].tolist(), errors="replace")
    yield "    " + "".join(c if c.isprintable() else "\N{MIDDLE DOT}" for c in text)


def is_of(document: str, name: str) -> bool:
    """Whether a document is the one of that name, or a row of the table of that name."""
    return document == name or document.startswith(f"{name}:")


def repeats(tokens: NDArray[np.int64]) -> tuple[float, int]:
    """Share of the tokens of a sequence that lie in an n-gram of LONGEST tokens that occurs in it again, and how often
    a phrase of at most LONGEST tokens follows itself without a break, at most."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, min(LONGEST, len(tokens)))
    grams = [tuple(gram) for gram in windows.tolist()]
    counts, within = Counter(grams), np.zeros(len(tokens), dtype=bool)
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            within[start : start + LONGEST] = True
    longest = 1
    for period in range(1, min(LONGEST, len(tokens) - 1) + 1):
        same = np.concatenate([[0], tokens[period:] == tokens[:-period], [0]])
        ends = np.flatnonzero(np.diff(same))  # of runs of equality, beginnings and ends in turn
        if len(ends):
            longest = max(longest, 1 + int((ends[1::2] - ends[::2]).max()) // period)
    return float(within.mean()), longest


def rare_tokens(data) -> NDArray[np.bool_]:
    """Which tokens are at most RARE of the training text, (vocabulary,); a long text is counted in parts."""
    counts = np.zeros(data.vocab_size, dtype=np.int64)
    for corpus in getattr(data, "sources", {"": data}).values():
        every = max(PART, len(corpus.train_tokens) // PARTS)
        for start in range(0, len(corpus.train_tokens), every):
            counts += np.bincount(corpus.train_tokens[start : start + PART], minlength=data.vocab_size)
    return counts <= RARE * counts.sum()
