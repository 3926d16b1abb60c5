"""`postmortem.md`, a page about what went wrong in a run: what happened, in which documents, and what was done."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import field

from gptx.files import write_text
from gptx.ingredients.log import RunInfo, Sink, now, shown, typed_command
from gptx.ingredients.log.jsonl import events
from gptx.units.printable import code, md, safe

_ADVICE = "- step {onset} on, **{verdict}**: likely {cause}. Advice: {response}."
_BACK = "- went back from step {left} to {step} and on at sequence {cursor:,}, at {rate:.3g} times the learning rate"
SHOWN = 40  # rows of the timeline at its beginning, and as many at its end


class Postmortem(Sink):
    """Writes the page at every incident and at the end, earlier starts included; without an incident there is none."""

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
            self.write(outcome if outcome in ("finished", "failed") else f"was {outcome}")
        self.events = []

    def write(self, outcome: str) -> None:
        text = "\n\n".join(self.page(outcome)) + "\n"
        self.attempt("postmortem.md", self.step, write_text, self.run.folder / "postmortem.md", text)

    def page(self, outcome: str) -> Iterator[str]:
        folder = str(shown(self.run.folder))
        blamed = [event for event in self.events if event.get("documents") and "sequences" in event]
        yield f"# Post-mortem of {md(folder)}"
        losses = [f", {key.replace('/', ' ')} {loss:.4f} after step {at}" for key, (at, loss) in self.losses.items()]
        yield f"The run {outcome} after step {self.step} of {self.run.steps}{''.join(losses)}. Written {now()}."
        if blamed:
            worst = max((event["documents"][0] for event in blamed), key=lambda document: document["above"])
            above = f"{worst['above']:.2f} nats above the others (one or two is usual)"
            yield f"Highest in the offending batches: {code(worst['name'])}, {above}."
        yield "## What happened"
        timeline = list(_filled("| {time} | {step} | {event} | {text} |", self.events))
        if len(timeline) > 2 * SHOWN:
            timeline[SHOWN:-SHOWN] = [f"| | | ... | {len(timeline) - 2 * SHOWN} more in events.jsonl |"]
        yield "\n".join(["| time | after step | event | |", "| --- | --- | --- | --- |", *timeline])
        if advice := list(_filled(_ADVICE, self.events)):
            yield "## Verdict and advice\n\n" + "\n".join(advice)
        yield from _documents(blamed, folder)
        yield "## What was done"
        rollbacks, dropped = [*_filled(_BACK, self.events)], [event.get("dropped", 0) for event in self.events]
        done = f"- rollbacks: {len(rollbacks)}; steps kept from the weights: {max(dropped, default=0)}"
        yield "\n".join([*rollbacks, done])
        yield "## Look further"
        yield f"    {safe(typed_command('report', folder))}"


def incident(event: dict) -> bool:
    """True for an event about trouble in the training, rather than about a disk or a signal."""
    return "onset" in event or "sequences" in event


def _filled(line: str, events: Iterable[dict]) -> Iterator[str]:
    """The line of each event that has all its values; starts by an earlier version may not have noted them."""
    for event in events:
        with suppress(KeyError):
            yield line.format_map({key: md(value) if isinstance(value, str) else value for key, value in event.items()})


def _documents(blamed: list[dict], folder: str) -> Iterator[str]:
    if blamed:
        yield "## Documents in the offending batches"
        yield "Highest loss above the other sequences first (nats per token); alike if the data is not to blame."
    for event in blamed:
        first, last = event["sequences"]
        yield f"{md(event['event'].capitalize())} after step {event['step']}, sequences {first:,} to {last:,}:"
        rows = ["| document | loss | above the others | sequences asked | share |", "| --- | --- | --- | --- | --- |"]
        for d in event["documents"]:
            name = code(d["name"]).replace("|", "\\|")
            rows.append(f"| {name} | {d['loss']:.3f} | {d['above']:+.3f} | {d['sequences']} | {d['share']:.1%} |")
        yield "\n".join(rows)
        yield f"    {safe(typed_command('forensics', folder, f'sequences={first}:{last}'))}"
