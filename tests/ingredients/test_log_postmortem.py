"""The page about what went wrong names the documents, tells what was done, and never harms the run."""

import json
import re
from types import SimpleNamespace

import pytest
from test_checkpoints import everything, same
from test_inject_poisoned import poison, shards  # noqa: F401
from test_rollback import Alarm, Seen

from gptx.ingredients.guard import Guard
from gptx.ingredients.log.jsonl import Jsonl
from gptx.ingredients.log.postmortem import SHOWN, Postmortem

VERDICT = {"verdict": "repeated spikes", "cause": "bad data", "response": "look at it", "onset": 5, "detected": 6}


class Teller(Guard):
    """Accepts everything, and says of one update that trouble began the update before."""

    def __init__(self, at):
        self.at, self.events = at, []

    def __call__(self, step, loss, grad_norm, *, overflow=False):
        self.events = [("spike", {"text": "the loss jumped", "onset": step - 1})] if step == self.at else []
        return "accept"

    def news(self):
        return self.events


def opened(folder, start=0):
    sinks = Jsonl(), Postmortem()
    for sink in sinks:
        sink.open(SimpleNamespace(folder=folder, start=start, steps=9))
    return sinks


def tell(sinks, *events, outcome="finished", step=9):
    for at, kind, facts in events:
        for sink in sinks:
            sink.event(at, kind, facts)
    for sink in sinks:
        sink(step, {"train/loss": 2.5, "train/perplexity": 12.0})
        sink.close(outcome)


def test_a_poisoned_shard_is_named_after_a_rollback(build, shards, tmp_path):  # noqa: F811
    recipe = ["data.order=written", "schedule=constant", "optim.lr=1e-2", "steps=24", "checkpoints.every=2"]
    trainer = build(*shards, *poison("random"), *recipe)
    bad = next(i for i, names in enumerate(trainer.data.documents(0, 400)) if "shard_03.txt" in names) // 8 + 1
    assert bad > 10
    trainer.guard = Alarm(at=bad + 2, onset=bad - 1, skip=5)
    trainer.sinks.extend(opened(tmp_path))
    trainer.fit()
    page = (tmp_path / "postmortem.md").read_text()
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert event["documents"][0]["name"] == "shard_03.txt"
    assert event["documents"][0]["above"] > 0.5
    assert event["sequences"][1] == (bad + 2) * 8
    assert "Highest in the offending batches: `shard_03.txt`" in page
    table = page.split("| document |")[1]
    assert re.search(r"\| `([^`]*)` \|", table)[1] == "shard_03.txt"
    assert f"went back from step {bad + 1} to {event['step']} and on at sequence {event['cursor']:,}" in page
    assert "sequences={}:{}".format(*event["sequences"]) in page


def test_asking_for_the_documents_changes_nothing_of_the_training(build):
    runs = []
    for guard in (Guard(), Teller(at=4)):
        trainer = build("model.dropout=0.1", folder=type(guard).__name__)
        trainer.guard = guard
        trainer.sinks.append(seen := Seen())
        trainer.fit()
        runs.append((trainer, seen.events))
    (quiet, nothing), (loud, told) = runs
    assert not nothing
    assert [(step, kind, facts["sequences"]) for step, kind, facts in told] == [(3, "spike", [16, 32])]
    loud.guard = quiet.guard
    assert same(everything(loud), everything(quiet))


def test_a_run_without_incidents_has_no_page(tmp_path):
    tell(opened(tmp_path), (3, "save failed", {"text": "disk full"}))
    assert not (tmp_path / "postmortem.md").exists()


def test_the_page_is_there_before_the_run_ends_and_tells_the_end(tmp_path):
    sinks = opened(tmp_path)
    sinks[1].event(5, "diagnosis", {"text": "no good | really", **VERDICT})
    assert "The run goes on after step 5 of 9" in (tmp_path / "postmortem.md").read_text()
    tell(sinks, outcome="interrupted")
    page = (tmp_path / "postmortem.md").read_text()
    assert "The run was interrupted after step 9 of 9, train loss 2.5000 after step 9." in page
    assert "step 5 on, **repeated spikes**: likely bad data. Advice: look at it." in page
    assert "no good \\| really" in page
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "metrics.jsonl", "postmortem.md"]


def test_a_loss_of_an_earlier_update_says_of_which(tmp_path):
    sinks = opened(tmp_path)
    sinks[1].event(3, "diagnosis", {"text": "no good", **VERDICT})
    sinks[1](4, {"train/loss": 3.0, "validation/loss": 3.25})
    tell(sinks)
    page = (tmp_path / "postmortem.md").read_text()
    assert "after step 9 of 9, train loss 2.5000 after step 9, validation loss 3.2500 after step 4." in page


def test_a_second_start_tells_of_the_first(tmp_path):
    tell(opened(tmp_path), (5, "spike", {"text": "first start", **VERDICT}), outcome="preempted")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"step": 7, "ev')  # as a kill leaves it
    tell(opened(tmp_path, start=6))
    page = (tmp_path / "postmortem.md").read_text()
    assert "first start" in page
    assert "The run finished after step 9" in page


def test_of_very_many_events_the_middle_is_left_out(tmp_path):
    tell(opened(tmp_path), *((i, "spike", {"text": f"spike {i}.", "onset": i}) for i in range(500)))
    page = (tmp_path / "postmortem.md").read_text()
    assert "spike 0." in page
    assert "spike 499." in page
    assert "spike 250." not in page
    assert f"{500 - 2 * SHOWN} more in events.jsonl" in page


def test_a_page_that_cannot_be_written_is_told_once(tmp_path, caplog):
    sinks = opened(tmp_path)
    (tmp_path / "postmortem.md").mkdir()
    tell(sinks, *[(5, "spike", {"text": "bad", "onset": 5})] * 3)
    assert len(caplog.records) == 1
    assert re.search(r"postmortem.md lacks step 5 \(Is a directory\); training goes on", caplog.text)


@pytest.mark.parametrize("outcome", ["failed", "finished"])
def test_a_sink_that_was_never_opened_closes_and_writes_nothing(outcome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Postmortem().close(outcome)
    assert not list(tmp_path.iterdir())
