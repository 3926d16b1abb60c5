"""The batch of a step:  python -m gptx forensics RUN step=120"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptx.config import validate
from gptx.config.compose import as_config
from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS
from gptx.estimate import capacity
from gptx.ingredients.log import jsonl
from gptx.job.build import trainer_of
from gptx.runs.folder import RunFolder
from gptx.runs.same import other_text

_LONGEST = 13  # tokens of the longest phrase, and
_REPEATS = 32  # the repeats of one from which OLMo 2 leaves a sequence out of the loss (arXiv:2501.00656)
_RARE = 1e-5  # a token is rare if it is at most this share of the training text
_PART, _PARTS = 1_000_000, 50  # tokens of the training text that are counted for it, and in how many places
_SHOWN = 15  # documents
_UNUSED = {name for name, group in GROUPS.items() if group.several}  # parts of a config that are not built here


def forensics(
    run: str,
    /,
    *,
    step: int | None = None,
    sequences: str | None = None,
    weights: str = "newest",
    device: str = "auto",
    data: str | None = None,
    allow_targets: tuple[str, ...] = (),
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
    folder = RunFolder(Path(run)).begun()
    trainer = _rebuilt(folder, device, allow_targets, data)
    if step is None:
        ends = re.fullmatch(r"(\d+):(\d+)", str(sequences).replace(",", ""))
        if not ends or int(ends[1]) >= int(ends[2]):
            raise ValueError(f"sequences={sequences}: two numbers, the first and the one after the last: 1200:1264")
        spans = [(int(ends[1]), int(ends[2]))]
    else:
        spans = drawn(folder, step, trainer)
    for first, last in spans[:-1]:
        print(f"step {step} was made {len(spans)} times; before a rollback or a restart of sequences {first}:{last}")
    first, last = spans[-1]
    losses: list[float] = []
    if weights == "newest" and trainer.checkpoints.restore(trainer):
        losses = trainer.losses_of(first, last - first)
        print(f"losses are those of the weights after step {trainer.step}")
    for line in _report(trainer, first, last, losses):
        print(line)


def _rebuilt(run: RunFolder, device: str, allow: tuple[str, ...], data: str | None) -> Any:
    """The trainer of a run, before its first step. Raises ConfigError if its text has changed since."""
    if data is not None:
        if "path" not in run.config.get("data", {}):
            raise ValueError(f"data={data}: the config of this run has no data.path that it could replace")
        run.config["data"]["path"] = data
    kept = run.literal(*(run.config.keys() - _UNUSED))
    kept["parallel"] |= {"device": device}
    with run.naming("config.yaml"):
        cfg = as_config({"record_patch": False, **kept, **dict.fromkeys(_UNUSED)})  # old configs lack record_patch
        validate.check(cfg, allow=allow)
        capacity.refuse_too_large(cfg, 1, capacity.this_machine(device))
        trainer = trainer_of(cfg)
    trainer.network = trainer.model  # not compiled: a few sequences are not worth it
    trainer.checkpoints.place(run.path)
    if changed := other_text(run.record.get("data", {}), trainer.data.identity):
        raise ConfigError(f"{run.path}: the text is not the one that it was trained on: {'; '.join(changed[:2])}")
    return trainer


def drawn(run: RunFolder, step: int, trainer: Any) -> list[tuple[int, int]]:
    """The sequences of a step (first, end), for each time that it was made; the last time is the one that counts."""
    rows = [(row["step"], row["train/tokens"]) for row in run.rows if jsonl.whole_rows(row.get("train/tokens"))]
    ends = [tokens // trainer.data.context for made, tokens in rows if made == step]
    if not ends:
        made = f"it has {min(rows)[0]} to {max(rows)[0]}" if rows else "it has none"
        raise ValueError(f"step={step}: no such step in {run.path / 'metrics.jsonl'}; {made}")
    ends = [  # of a time that left no line
        event["sequences"][1] for event in run.events
        if (event["event"], event.get("left"), "sequences" in event) == ("rollback", step - 1, True)
    ] + ends  # fmt: skip
    count = trainer.batch.tokens_at(step) // trainer.data.context
    return [(end - count, end) for end in reversed(dict.fromkeys(reversed(ends)))]


def _report(trainer: Any, first: int, last: int, losses: list[float]) -> Iterator[str]:
    data = trainer.data
    documents = data.documents(first, last - first)
    tokens = data(first, last - first).inputs.numpy()  # (B, T)
    strange = _rare_tokens(data)[tokens].mean(axis=1)  # (B,)
    shares, longest = np.array([repeats(row) for row in tokens]).T  # (B,) each
    looping = int((longest >= _REPEATS).sum())
    held = f"{len({name for d in documents for name in d})} documents; rare tokens {strange.mean():.2%}"
    yield f"sequences {first}:{last} of {data.context} tokens, {held}, in repeats {shares.mean():.1%}"
    note = ": OLMo 2 leaves such ones out of the loss" if looping else ""
    yield f"{looping} sequences repeat a phrase of at most {_LONGEST} tokens {_REPEATS} times or more in a row{note}"
    yield from _blamed(data.blame(first, losses or [0.0] * (last - first)), documents, strange, shares, bool(losses))
    worst = int(np.nanargmax(losses)) if losses else int(np.argmax(shares + strange))
    what = f"loss {losses[worst]:.3f}" if losses else f"{strange[worst]:.2%} rare, {shares[worst]:.1%} in repeats"
    yield f"\nthe worst sequence, {first + worst} ({what}), of {', '.join(documents[worst])}:"
    text = data.encoding.decode(tokens[worst, :100].tolist(), errors="replace")
    yield "    " + "".join(c if c.isprintable() else "\N{MIDDLE DOT}" for c in text)


def _blamed(blamed: list[dict], documents: list[dict], strange, repeated, losses: bool) -> Iterator[str]:
    yield f"\n{'loss':>8} {'above':>8} {'share':>7} {'rare':>7} {'repeats':>8}  document"
    blamed = blamed if losses else sorted(blamed, key=lambda found: -found["share"])
    for found in blamed[:_SHOWN]:
        name = found["name"]  # of a document, or of a table whose rows are documents
        rows = [i for i, d in enumerate(documents) if any(n == name or n.startswith(f"{name}:") for n in d)]
        loss, above = (f"{found[key]:8.3f}" if losses else f"{'-':>8}" for key in ("loss", "above"))
        shares = f"{found['share']:7.1%} {strange[rows].mean():7.2%} {repeated[rows].mean():8.1%}"
        yield f"{loss} {above} {shares}  {name}"
    if len(blamed) > _SHOWN:
        yield f"{len(blamed) - _SHOWN} more"


def repeats(tokens: NDArray[np.int64]) -> tuple[float, int]:
    """Share of the tokens of a sequence in n-grams of _LONGEST tokens that occur more than once in it, and how often a
    phrase of at most _LONGEST tokens repeats in a row, at most."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, min(_LONGEST, len(tokens)))
    grams = [tuple(gram) for gram in windows.tolist()]
    counts, within = Counter(grams), np.zeros(len(tokens), dtype=bool)
    for start, gram in enumerate(grams):
        if counts[gram] > 1:
            within[start : start + _LONGEST] = True
    longest = 1
    for period in range(1, min(_LONGEST, len(tokens) - 1) + 1):
        same = np.concatenate([[0], tokens[period:] == tokens[:-period], [0]])
        ends = np.flatnonzero(np.diff(same))  # of stretches of equality, starts and ends alternating
        if len(ends):
            longest = max(longest, 1 + int((ends[1::2] - ends[::2]).max()) // period)
    return float(within.mean()), longest


def _rare_tokens(data) -> NDArray[np.bool_]:
    """Mask of the tokens that are at most _RARE of the training text, (vocabulary,); a long text is sampled."""
    counts = np.zeros(data.vocab_size, dtype=np.int64)
    for corpus in getattr(data, "sources", {"": data}).values():
        every = max(_PART, len(corpus.train_tokens) // _PARTS)
        for start in range(0, len(corpus.train_tokens), every):
            counts += np.bincount(corpus.train_tokens[start : start + _PART], minlength=data.vocab_size)
    return counts <= _RARE * counts.sum()
