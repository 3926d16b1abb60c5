"""What W&B does not have of a run, one command sends; once."""

import json

import pytest
from omegaconf import OmegaConf
from test_wandb import a_run, dead_server, follow, own_surroundings, sink, stub  # noqa: F401

from gptx.config.arguments import call
from gptx.ingredients.log.jsonl import Jsonl
from gptx.report import upload
from gptx.runs.folder import RunFolder

pytest.importorskip("wandb")


def recorded(folder, steps=range(1, 101), *, state="finished", loss=lambda step: 1 / step, mirrored=None, events=()):
    """A run folder as the command leaves it; rows go to `mirrored`, a W&B sink, as well."""
    run = a_run(folder)
    config = {"name": "sweep", "seed": 0, "steps": 100, "optim": {"lr": 1e-3}, "log": {"wandb": {"project": "p"}}}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    RunFolder(folder).write(state=state, choices=run.choices, overrides=run.overrides, git=run.git)
    sinks = [Jsonl(), *([mirrored] if mirrored else [])]
    for each in sinks:
        each.open(run)
        for step in steps:
            each(step, {"train/loss": loss(step), **({"validation/loss": 2.0} if step == 25 else {})})
        for step, kind, text in events:
            each.event(step, kind, {"text": text})
        each.close(state)
    return folder


def rows(page):
    return [(row["train/step"], row["segment"]) for row in page.history if "event/kind" not in row]


def test_a_run_that_w_and_b_has_not_seen_gets_its_page_whole_and_only_once(stub, tmp_path, capsys):  # noqa: F811
    folder = recorded(tmp_path / "run", events=[(30, "spike", "loss 9.0"), (20, "rollback", "back to 20")])
    call(upload.upload, [str(folder)])
    (page,) = stub.runs.values()
    due = sorted([*range(10, 101, 10), 25])
    assert rows(page) == [(step, 0) for step in due]
    assert [row["train/loss"] for row in page.history[: len(due)]] == [1 / step for step in due]
    assert [(row["event/kind"], row["event/text"]) for row in page.history[len(due) :]] == [
        ("spike", "loss 9.0"), ("rollback", "back to 20"),
    ]  # fmt: skip
    assert page.id == (folder / "wandb_id").read_text().split()[0]
    assert page.config["recipe"]["value"]["schedule"] == "cosine"
    assert (page.meta["groupName"], page.meta["displayName"], page.exit_code) == ("sweep", "run", 0)
    assert capsys.readouterr().out == f"      11 rows    2 events  {folder}  {stub.url}/stub/p/runs/{page.id}\n"

    call(upload.upload, [str(tmp_path)])  # a folder of runs
    assert len(page.history) == 13
    assert capsys.readouterr().out.startswith("       0 rows    0 events")


def test_of_a_run_that_went_off_on_the_way_the_rest_is_sent_to_the_same_page(stub, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    recorded(folder, range(1, 61), state="interrupted", mirrored=sink())
    # from update 41 on once more, otherwise, and W&B is off; the steps 50 and 60 on the page are of the abandoned branch
    recorded(folder, range(41, 101), loss=lambda step: 2 / step)
    call(upload.upload, [str(folder)])
    (page,) = stub.runs.values()
    due = [10, 20, 25, 30, 40, 50, 60]
    assert rows(page) == [*((step, 0) for step in due), *((step, 1) for step in range(50, 101, 10))]
    assert page.exit_code == 0
    last = {row["train/step"]: row["train/loss"] for row in page.history}
    assert last == {step: 1 / step if step <= 40 else 2 / step for step in [*due, 70, 80, 90, 100]}


def test_losses_that_are_not_numbers_are_sent_once_too(stub, tmp_path):  # noqa: F811
    folder = recorded(tmp_path / "run", range(10, 31, 10), loss=lambda step: float("nan"))
    for _ in range(2):
        call(upload.upload, [str(folder)])
    (page,) = stub.runs.values()
    assert rows(page) == [(10, 0), (20, 0), (30, 0)]


def test_without_a_key_or_a_run_one_line_says_so(tmp_path):
    folder = recorded(tmp_path / "run")
    with pytest.raises(SystemExit, match=r"^error: W&B: No API key configured[^\n]*$"):
        call(upload.upload, [str(folder)])
    with pytest.raises(SystemExit, match=r"^error: .*nothing: no run with metrics there[^\n]*$"):
        call(upload.upload, [str(tmp_path / "nothing")])


def test_without_a_server_one_line_says_so(dead_server, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(upload, "mirror", lambda config: sink(init_timeout=1))
    folder = recorded(tmp_path / "run")
    with pytest.raises(SystemExit, match=r"^error: W&B: [^\n]+$"):
        call(upload.upload, [str(folder)])


def test_a_run_at_work_is_left_to_its_own_mirror(tmp_path):
    from filelock import FileLock

    folder = recorded(tmp_path / "run", state="running")
    with FileLock(folder / ".lock"), pytest.raises(SystemExit, match="is running and sends its own rows"):
        call(upload.upload, [str(folder)])
    assert json.loads((folder / "run.json").read_text())["state"] == "running"
