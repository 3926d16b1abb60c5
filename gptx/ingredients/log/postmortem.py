"""`postmortem.md`, a page about what went wrong in a run: what happened, in which documents, and what was done."""

from collections.abc import Iterable, Iterator
from dataclasses import field

from gptx.files import write_text
from gptx.ingredients.log import RunInfo, Sink, now, shown, typed_command
from gptx.ingredients.log.jsonl import events
from gptx.units.phrases import count
from gptx.units.printable import code, md, safe

_WORDS = {"interrupted": "was interrupted", "preempted": "was preempted"}
_DIAGNOSIS = {"onset", "verdict", "cause", "response"}  # a start by an earlier version may not have noted them
_ROLLBACK = {"cursor", "sequences", "left", "rate"}
SHOWN = 40  # rows of the timeline at its beginning, and as many at its end


class Postmortem(Sink):
    """Writes the page at every incident and again at the end; a run without incidents has none.

    An incident is an event in which a guard says where the trouble began, or a rollback. What happened in earlier
    starts of the run is read from `events.jsonl`. If the page cannot be written, one warning says so."""

    events: list[dict] = field(init=False, default_factory=list)

    def open(self, run: RunInfo) -> None:
        self.run, self.step, self.losses = run, run.start, dict[str, tuple[int, float]]()
        self.events = events(run.folder / "events.jsonl")[0]

    def __call__(self, step: int, scalars: dict) -> None:
        self.step = step
        self.losses |= {key: (step, scalars[key]) for key in ("train/loss", "validation/loss") if key in scalars}

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.step = step  # earlier after a rollback
        self.events.append({"step": step, "event": kind, "time": now(), **facts})
        if incident(facts):
            self.write("goes on")

    def close(self, outcome: str) -> None:
        if any(map(incident, self.events)):
            self.write(_WORDS.get(outcome, outcome))
        self.events = []

    def write(self, outcome: str) -> None:
        text = "\n\n".join(self.page(outcome)) + "\n"
        self.attempt("postmortem.md", self.step, write_text, self.run.folder / "postmortem.md", text)

    def page(self, outcome: str) -> Iterator[str]:
        """The paragraphs of the page."""
        folder, rollbacks = str(shown(self.run.folder)), [e for e in self.events if e["event"] == "rollback"]
        losses = (
            f", {key.replace('/', ' ')} {loss:.4f}" + (f" (after step {at})" if at != self.step else "")
            for key, (at, loss) in self.losses.items()
        )
        yield f"# Post-mortem of {md(folder)}"
        yield (
            f"Diagnoses: {sum('verdict' in e for e in self.events)}, rollbacks: {len(rollbacks)}. The run {outcome} "
            f"after step {self.step} of {self.run.steps}{''.join(losses)}. Written {now()}."
        )
        blamed = [event for event in self.events if event.get("documents") and "sequences" in event]
        if blamed:
            worst = max((event["documents"][0] for event in blamed), key=lambda document: document["above"])
            yield (
                f"Highest in the offending batches: {code(worst['name'])}, {worst['above']:.2f} nats above the others "
                "(one or two is usual)."
            )
        yield "## What happened"
        timeline = [(e["time"], e["step"], md(e["event"]), md(e["text"])) for e in self.events]
        if len(timeline) > 2 * SHOWN:
            timeline[SHOWN:-SHOWN] = [("", "", "...", f"{len(timeline) - 2 * SHOWN} more in events.jsonl")]
        yield _table("time", "after step", "event", "", rows=timeline)
        if advice := [_advice(event) for event in self.events if event.keys() >= _DIAGNOSIS]:
            yield "## Verdict and advice"
            yield "\n".join(advice)
        yield from _documents(blamed, folder)
        yield "## What was done"
        done = [_went_back(event) for event in rollbacks if event.keys() >= _ROLLBACK] or ["- no rollback"]
        if dropped := max((event.get("dropped", 0) for event in self.events), default=0):
            done.append(f"- kept {count(dropped, 'step')} from the weights")
        yield "\n".join(done)
        yield "## Look further"
        yield f"    {safe(typed_command('report', folder))}"


def incident(event: dict) -> bool:
    """True for an event about trouble in the training, rather than about a disk or a signal."""
    return "onset" in event or "sequences" in event


def _advice(event: dict) -> str:
    verdict, cause, response = (md(event[key]) for key in ("verdict", "cause", "response"))
    return f"- step {event['onset']} on, **{verdict}**: likely {cause}. Advice: {response}."


def _went_back(event: dict) -> str:
    return (
        f"- went back from step {event['left']} to {event['step']} and on at sequence {event['cursor']:,} of the data, "
        f"past {event['cursor'] - event['sequences'][0]:,} sequences, at {event['rate']:.3g} times the learning rate"
    )


def _documents(blamed: list[dict], folder: str) -> Iterator[str]:
    """The documents in the batches of each event that names some."""
    if blamed:
        yield "## Documents in the offending batches"
        yield (
            "First come those whose sequences' loss lies furthest above that of the other sequences, in nats per "
            "token. If the trouble is not in the data, they are close together."
        )
    for event in blamed:
        first, last = event["sequences"]
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
        yield f"{md(event['event'].capitalize())} after step {event['step']}, sequences {first:,} to {last:,}:"
        yield _table("document", "loss", "above the others", "sequences asked", "share", rows=rows)
        yield f"    {safe(typed_command('forensics', folder, f'sequences={first}:{last}'))}"


def _table(*header: str, rows: Iterable[Iterable]) -> str:
    """A table in Markdown, of cells in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))
