"""`postmortem.md`, a page about what went wrong in a run: what happened, in which documents, and what was done."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import field

from gptx.files import write_text
from gptx.ingredients.log import RunInfo, Sink, now, shown, typed_command
from gptx.ingredients.log.jsonl import events
from gptx.units.phrases import count
from gptx.units.printable import code, md, safe

_messages = logging.getLogger(__name__)
_WORDS = {"interrupted": "was interrupted", "preempted": "was preempted"}
_DIAGNOSIS = {"onset", "verdict", "cause", "response"}  # a start by an earlier version may not have noted them
_ROLLBACK = {"cursor", "sequences", "left", "rate"}
SHOWN = 40  # rows of the timeline at its beginning, and as many at its end


class Postmortem(Sink):
    """Writes the page at every incident and again at the end; a run without incidents has none.

    An incident is an event in which a guard says where the trouble began, or a rollback. What happened in earlier
    starts of the run is read from `events.jsonl`. If the page cannot be written, one warning says so."""

    events: tuple[dict, ...] | list[dict] = field(init=False, default=())  # not open

    def open(self, run: RunInfo) -> None:
        self.run, self.step, self.losses, self.warned = run, run.start, dict[str, tuple[int, float]](), False
        self.events = events(run.folder / "events.jsonl")[0]

    def __call__(self, step: int, scalars: dict) -> None:
        self.step = step
        self.losses |= {key: (step, scalars[key]) for key in ("train/loss", "validation/loss") if key in scalars}

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.step = step  # earlier after a rollback
        self.events = [*self.events, {"step": step, "event": kind, "time": now(), **facts}]
        if incident(facts):
            self.write("goes on")

    def close(self, outcome: str) -> None:
        if any(map(incident, self.events)):
            self.write(outcome)
        self.events = ()

    def write(self, outcome: str) -> None:
        """Write the page in one step."""
        try:
            write_text(self.run.folder / "postmortem.md", "\n\n".join(self.page(outcome)) + "\n")
        except OSError as error:
            if not self.warned:
                _messages.warning("postmortem.md cannot be written (%s); training goes on", error.strerror or error)
            self.warned = True

    def page(self, outcome: str) -> Iterator[str]:
        """The paragraphs of the page."""
        folder = shown(self.run.folder)
        timeline = (
            (event["time"], event["step"], md(event["event"]), md(event["text"])) for event in _shortened(self.events)
        )
        yield f"# Post-mortem of {md(folder)}"
        yield f"{self.summary(outcome)} Written {now()}."
        yield from self.worst()
        yield "## What happened"
        yield _table("time", "after step", "event", "", rows=timeline)
        yield from self.diagnoses()
        yield from self.documents(str(folder))
        yield "## What was done"
        yield "\n".join(self.treatment())
        yield "## Look further"
        yield f"    {safe(typed_command('report', str(folder)))}"

    def summary(self, outcome: str) -> str:
        """The whole story in a sentence or two."""
        found = sum("verdict" in event for event in self.events)
        rollbacks = sum(event["event"] == "rollback" for event in self.events)
        losses = "".join(
            f", {key.replace('/', ' ')} {loss:.4f}" + (f" (after step {at})" if at != self.step else "")
            for key, (at, loss) in self.losses.items()
        )
        return (
            f"{found} {'diagnosis' if found == 1 else 'diagnoses'}, {count(rollbacks, 'rollback')}. "
            f"The run {_WORDS.get(outcome, outcome)} after step {self.step} of {self.run.steps}{losses}."
        )

    def worst(self) -> Iterator[str]:
        """The document with the highest loss in any offending batch."""
        if highest := [event["documents"][0] for event in self.events if event.get("documents")]:
            worst = max(highest, key=lambda document: document["above"])
            name, nats = code(worst["name"]), worst["above"]
            yield f"Highest in the offending batches: {name}, {nats:.2f} nats above the others (one or two is usual)."

    def diagnoses(self) -> Iterator[str]:
        """What a guard found, and its advice."""
        if found := [event for event in self.events if event.keys() >= _DIAGNOSIS]:
            yield "## Verdict and advice"
            yield "\n".join(
                f"- step {event['onset']} on, **{md(event['verdict'])}**: likely {md(event['cause'])}. "
                f"Advice: {md(event['response'])}."
                for event in found
            )

    def documents(self, folder: str) -> Iterator[str]:
        """The documents in the batches of each event that names some."""
        blamed = [event for event in self.events if event.get("documents") and "sequences" in event]
        if blamed:
            yield "## Documents in the offending batches"
            yield (
                "First come those whose sequences' loss lies furthest above that of the other sequences, in nats per "
                "token. If the trouble is not in the data, they are close together."
            )
        for event in blamed:
            first, last = event["sequences"]
            yield f"{md(event['event'].capitalize())} after step {event['step']}, sequences {first:,} to {last:,}:"
            rows = (
                (
                    code(d["name"]).replace("|", "\\|"),
                    f"{d['loss']:.3f}",
                    f"{d['above']:+.3f}",
                    d["sequences"],
                    f"{d['share']:.1%}",
                )
                for d in event["documents"]
            )
            yield _table("document", "loss", "above the others", "sequences asked", "share", rows=rows)
            yield f"    {safe(typed_command('forensics', folder, f'sequences={first}:{last}'))}"

    def treatment(self) -> Iterator[str]:
        """What the run did about it."""
        done = [event for event in self.events if event["event"] == "rollback" and event.keys() >= _ROLLBACK]
        for event in done:
            passed = event["cursor"] - event["sequences"][0]
            yield (
                f"- went back from step {event['left']} to {event['step']} and on at sequence {event['cursor']:,} of "
                f"the data, past {passed:,} sequences, at {event['rate']:.3g} times the learning rate"
            )
        if dropped := max((event.get("dropped", 0) for event in self.events), default=0):
            yield f"- kept {count(dropped, 'step')} from the weights"
        if not done:
            yield "- no rollback"


def incident(event: dict) -> bool:
    """True for an event about trouble in the training, rather than about a disk or a signal."""
    return "onset" in event or "sequences" in event


def _shortened(events) -> list[dict]:
    """All events if they are few, else the first and the last, and a row that says how many are left out."""
    if len(events) <= 2 * SHOWN:
        return list(events)
    between = {"time": "", "step": "", "event": "...", "text": f"{len(events) - 2 * SHOWN} more in events.jsonl"}
    return [*events[:SHOWN], between, *events[-SHOWN:]]


def _table(*header: str, rows: Iterable[Iterable]) -> str:
    """A table in Markdown, of cells in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))
