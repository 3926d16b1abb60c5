"""`postmortem.md`, a page about what went wrong in a run: what happened, in which documents, and what was done."""

import logging
from collections.abc import Iterator

from gptx.files import write_text
from gptx.ingredients.log import Run, now, shown, typed
from gptx.ingredients.log.jsonl import events
from gptx.units.printable import code, md, safe

messages = logging.getLogger(__name__)
WORDS = {"interrupted": "was interrupted", "preempted": "was preempted"}
DIAGNOSIS = {"onset", "verdict", "cause", "response"}  # which a start by an earlier version may not have noted
ROLLBACK = {"cursor", "sequences", "left", "rate"}
COLUMNS = "name", "loss", "above", "sequences", "share"
SHOWN = 40  # rows of the timeline at its beginning, and as many at its end


class Postmortem:
    """Writes the page at every incident and again at the end; a run without incidents has none.

    An incident is an event in which a guard says where the trouble began, or a rollback. What happened in earlier
    starts of the run is read from `events.jsonl`. A page that cannot be written is told once; training goes on.
    """

    events: tuple[dict, ...] | list[dict] = ()  # not open

    def open(self, run: Run) -> None:
        """Take up the events of earlier starts."""
        self.run, self.step, self.losses, self.warned = run, run.start, dict[str, tuple[int, float]](), False
        self.events = events(run.folder / "events.jsonl")[0]

    def __call__(self, step: int, scalars: dict) -> None:
        self.step = step
        self.losses |= {key: (step, scalars[key]) for key in ("train/loss", "validation/loss") if key in scalars}

    def event(self, step: int, kind: str, facts: dict) -> None:
        """Keep what happened, and write the page if it is an incident."""
        self.step = step  # earlier after a rollback
        self.events = [*self.events, {"step": step, "event": kind, "time": now(), **facts}]
        if incident(facts):
            self.write("goes on")

    def close(self, outcome: str) -> None:
        """Write how it ended, where there was an incident."""
        if any(map(incident, self.events)):
            self.write(outcome)
        self.events = ()

    def write(self, outcome: str) -> None:
        """Write the page in one step."""
        try:
            write_text(self.run.folder / "postmortem.md", "\n".join(self.page(outcome)) + "\n")
        except OSError as error:
            if not self.warned:
                messages.warning("postmortem.md cannot be written (%s); training goes on", error.strerror or error)
            self.warned = True

    def page(self, outcome: str) -> Iterator[str]:
        """The lines of the page."""
        folder = shown(self.run.folder)
        yield f"# Post-mortem of {md(folder)}"
        yield ""
        yield f"{self.summary(outcome)} Written {now()}."
        if highest := [event["documents"][0] for event in self.events if event.get("documents")]:
            worst = max(highest, key=lambda document: document["above"])
            name, nats = code(worst["name"]), worst["above"]
            yield ""
            yield f"Highest in the offending batches: {name}, {nats:.2f} nats above the others (one or two is usual)."
        yield from ("", "## What happened", "", "| time | after update | event | |", "|---|---|---|---|")
        for event in beginning_and_end(self.events):
            yield f"| {event['time']} | {event['step']} | {md(event['event'])} | {md(event['text'])} |"
        if diagnosed := [event for event in self.events if event.keys() >= DIAGNOSIS]:
            yield from ("", "## Verdict and advice", "")
        for event in diagnosed:
            onset, verdict, cause, response = (event[key] for key in ("onset", "verdict", "cause", "response"))
            yield f"- update {onset} on, **{md(verdict)}**: likely {md(cause)}. Advice: {md(response)}."
        if blamed := [event for event in self.events if event.get("documents") and "sequences" in event]:
            yield from ("", "## Documents in the offending batches", "")
            yield "Those first whose sequences' loss lies furthest above that of the other sequences, in nats a token."
            yield "Trouble that is not in the data leaves them close together."
        for event in blamed:
            first, last = event["sequences"]
            yield from (
                "",
                f"{md(event['event'].capitalize())} after update {event['step']}, sequences {first:,} to {last:,}:",
            )
            yield from ("", "| document | loss | above the others | sequences asked | share |", "|---|---|---|---|---|")
            for found in event["documents"]:
                name, loss, above, sequences, share = (found[key] for key in COLUMNS)
                yield f"| {cell(name)} | {loss:.3f} | {above:+.3f} | {sequences} | {share:.1%} |"
            yield from ("", f"    {safe(typed('forensics', str(folder), f'sequences={first}:{last}'))}")
        yield from ("", "## What was done", "")
        yield from self.treatment()
        yield from ("", "## Look further", "")
        yield f"    {safe(typed('report', str(folder)))}"

    def summary(self, outcome: str) -> str:
        """The whole story in a sentence or two."""
        rollbacks = sum(event["event"] == "rollback" for event in self.events)
        found = sum("verdict" in event for event in self.events)
        losses = "".join(
            f", {key.replace('/', ' ')} {loss:.4f}" + (f" (after update {at})" if at != self.step else "")
            for key, (at, loss) in self.losses.items()
        )
        return (
            f"{plural(found, 'diagnosis', 'diagnoses')}, {plural(rollbacks, 'rollback', 'rollbacks')}. "
            f"The run {WORDS.get(outcome, outcome)} after update {self.step} of {self.run.steps}{losses}."
        )

    def treatment(self) -> Iterator[str]:
        """What the run did about it."""
        done = [event for event in self.events if event["event"] == "rollback" and event.keys() >= ROLLBACK]
        for event in done:
            passed = event["cursor"] - event["sequences"][0]
            yield (
                f"- went back from update {event['left']} to {event['step']} and on at sequence {event['cursor']:,} of "
                f"the data, past {passed:,} sequences, at {event['rate']:.3g} times the rate"
            )
        if dropped := max((event.get("dropped", 0) for event in self.events), default=0):
            yield f"- kept {plural(dropped, 'update', 'updates')} from the weights"
        if not done:
            yield "- no rollback"


def incident(event: dict) -> bool:
    """Whether an event is about trouble in the training, rather than about a disk or a signal."""
    return "onset" in event or "sequences" in event


def beginning_and_end(events) -> list[dict]:
    """All events where they are few, else the first and the last of them and a row that says how many are left out."""
    if len(events) <= 2 * SHOWN:
        return list(events)
    left = events[SHOWN:-SHOWN]
    between = {"time": "", "step": "", "event": "...", "text": f"{len(left)} more in events.jsonl"}
    return [*events[:SHOWN], between, *events[-SHOWN:]]


def cell(text: str) -> str:
    """Text as code that does not end a cell of a Markdown table."""
    return code(text).replace("|", "\\|")


def plural(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
