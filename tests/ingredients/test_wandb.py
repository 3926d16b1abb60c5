"""W&B mirrors the run: complete where it works, and where it does not, training is neither stopped nor slowed."""

import logging  # noqa: F401  for programs below
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import wandb_offline
from wandb_stub import WandbStub

from gptx.ingredients.log import wandb as mirror
from gptx.ingredients.log.wandb import Wandb, service_killer

pytest.importorskip("wandb")
KEY = "0" * 40


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch, tmp_path):
    """No settings, keys or caches but the test's own."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    if loaded := sys.modules.get("wandb"):
        loaded.teardown()  # or the next test talks to this one's server


@pytest.fixture
def stub(monkeypatch):
    with WandbStub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        assert server.errors == []


@pytest.fixture(params=["refuses", "never answers"])
def dead_server(request, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "never answers":
            server.listen(50)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield


def sink(**options):
    ordinary = {"project": "p", "entity": None, "mode": "auto", "every": 10, "init_timeout": 20, "finish_timeout": 10}
    return Wandb(**ordinary | options)


def a_run(folder, *, start=0, name="schedule=cosine", schedule="cosine", seed=0):
    folder.mkdir(exist_ok=True)
    return SimpleNamespace(
        folder=folder, name=name, group="sweep", steps=100, start=start, config={"seed": seed, "optim": {"lr": 1e-3}},
        choices={"schedule": schedule}, overrides=[name], git={"sha": "abc", "dirty": True}, tags=[name, "x" * 99],
        budget={"flops": 6e12, "tokens": 10**6},
    )  # fmt: skip


def follow(mirror, run, steps=range(1, 101), outcome="finished"):
    mirror.open(run)
    for step in steps:
        mirror(step, {"train/loss": 1 / step})
    mirror.close(outcome)


def within(seconds, act, *args):
    began = time.perf_counter()
    act(*args)
    assert time.perf_counter() - began < seconds


def wait(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def later(run):
    return f"later: python -m gptx upload {run.folder}"


def in_a_new_process(program, *args, before=(), **options):
    """Runs `program` after the imports and names of this file."""
    here = os.path.dirname(__file__)
    prelude = f"import sys; sys.path[:0] = [{here!r}, {os.path.dirname(here)!r}]; import os, pathlib, test_wandb as t\n"
    return subprocess.run([*before, sys.executable, "-c", prelude + program, *args], check=True, **options)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_without_a_key_the_run_is_kept_offline_whole(tmp_path, caplog):
    caplog.set_level("INFO")
    mirror, run = sink(), a_run(tmp_path / "run")
    mirror.open(run)
    for step in range(1, 46):
        more = {"validation/loss": 2.0, "sample/text": "def"} if step == 25 else {}
        mirror(step, {"train/loss": 1 / step, **more})
    mirror.close("finished")

    found = wandb_offline.read(run.folder)
    assert [row["train/step"] for row in found["history"]] == [10, 20, 25, 30, 40]
    assert found["history"][2].items() >= {"train/loss": 1 / 25, "validation/loss": 2.0, "sample/text": "def"}.items()
    assert {row["segment"] for row in found["history"]} == {0}
    assert found["config"]["optim"] == {"lr": 1e-3}
    assert found["config"]["recipe"]["schedule"] == "cosine"
    assert found["config"]["git"] == {"sha": "abc", "dirty": True}
    assert found["config"]["overrides"] == ["schedule=cosine"]
    assert found["config"]["budget"]["flops"] == 6e12
    page = found["run"]
    assert (page.project, page.run_group, page.display_name) == ("p", "sweep", "schedule=cosine")
    assert list(page.tags) == ["schedule=cosine", "x" * 64]
    assert found["exit_code"] == 0
    assert not found["preempting"]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("gptx")] == [
        f"W&B: wandb sync {run.folder}/wandb/offline-run-*"
    ]


def test_on_a_terminal_it_asks_for_nothing_and_says_nothing_of_its_own(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    program = "t.follow(t.sink(mode='online'), t.a_run(pathlib.Path(sys.argv[1])))"
    in_a_new_process(program, tmp_path / "run", stdin=theirs, stdout=theirs, stderr=theirs, timeout=60)
    os.close(theirs)
    os.set_blocking(ours, False)
    assert os.read(ours, 99999).decode().splitlines() == [
        "W&B: offline, since there is no connection: No API key configured. Use `wandb login` to log in."
    ]


def test_a_key_makes_it_online_and_a_resumed_run_continues_its_page_with_nothing_dropped(stub, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "run"
    follow(sink(), a_run(folder), range(1, 61), "preempted")
    (page,) = stub.runs.values()
    assert page.exit_code == 143
    follow(sink(), a_run(folder, start=40, seed=1), range(41, 101), "finished")

    assert list(stub.runs) == [page.id] == [(folder / "wandb_id").read_text().split()[0]]
    assert [(row["train/step"], row["segment"]) for row in page.history] == [
        *((step, 0) for step in range(10, 61, 10)),
        *((step, 1) for step in range(50, 101, 10)),
    ]
    assert page.config["seed"]["value"] == 1
    assert page.config["recipe"]["value"]["schedule"] == "cosine"
    assert (page.meta["groupName"], page.meta["displayName"]) == ("sweep", "schedule=cosine")
    assert page.meta["jobType"] == "train"
    assert page.meta["tags"] == ["schedule=cosine", "x" * 64]
    assert page.exit_code == 0
    assert caplog.messages[-1] == f"W&B: {stub.url}/stub/p/runs/{page.id}"
    assert not warnings(caplog)


def test_a_key_that_wandb_login_left_counts(stub, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    host = stub.url.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    follow(sink(), a_run(tmp_path / "run"))
    assert len(stub.runs) == 1


def test_three_runs_of_one_process_get_three_pages(stub, tmp_path):
    for schedule, outcome in (("constant", "finished"), ("warmup", "failed"), ("cosine", "finished")):
        follow(sink(), a_run(tmp_path / schedule, name=schedule, schedule=schedule), outcome=outcome)
    assert len(stub.runs) == 3
    for page, exit_code in zip(stub.runs.values(), (0, 1, 0), strict=True):
        assert page.config["recipe"]["value"]["schedule"] == page.meta["displayName"]
        assert [row["train/step"] for row in page.history] == list(range(10, 101, 10))
        assert page.exit_code == exit_code


def test_a_preempted_run_says_so(tmp_path):
    run = a_run(tmp_path / "run")
    follow(sink(mode="offline"), run, outcome="preempted")
    found = wandb_offline.read(run.folder)
    assert found["preempting"]
    assert found["exit_code"] == 143


def test_wandb_mode_decides_where_it_is_set(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = a_run(tmp_path / "run")
    follow(sink(), run)
    assert len(wandb_offline.read(run.folder)["history"]) == 10
    assert not stub.runs


def test_training_never_waits_for_a_dead_server_and_the_run_is_kept_offline(dead_server, tmp_path, caplog):
    mirror, run = sink(init_timeout=1), a_run(tmp_path / "run")
    within(0.5, mirror.open, run)
    for step in range(1, 101):
        within(0.5, mirror, step, {"train/loss": 1 / step})
        time.sleep(0.01)
    mirror.close("finished")
    (kept,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    wait(lambda: wandb_offline.contents(kept)["exit_code"] == 0)
    assert [row["train/step"] for row in wandb_offline.contents(kept)["history"]] == list(range(10, 101, 10))
    (warning,) = warnings(caplog)
    assert warning.startswith("W&B: offline, since there is no connection: ")


def test_a_server_that_rejects_the_key_is_no_server(stub, tmp_path, caplog):
    stub.fail = 401
    run = a_run(tmp_path / "run")
    follow(sink(), run)
    assert "401" in warnings(caplog)[0]
    assert list(run.folder.glob("wandb/offline-run-*/*.wandb"))


def test_a_server_that_dies_on_the_way_costs_a_bounded_wait_and_no_rows(stub, tmp_path, caplog):
    mirror, run = sink(finish_timeout=2), a_run(tmp_path / "run")
    mirror.open(run)
    mirror(10, {"train/loss": 1.0})
    wait(lambda: stub.runs and mirror.rows.empty())
    stub.fail = 500
    for step in range(11, 101):
        within(0.5, mirror, step, {"train/loss": 1 / step})
    within(4, mirror.close, "finished")
    rows = wandb_offline.read(run.folder)["history"]
    assert [row["train/step"] for row in rows] == list(range(10, 101, 10))
    assert warnings(caplog) == [f"W&B: not all was sent in time; {later(run)}"]


def test_a_server_that_is_gone_at_the_end_costs_a_bounded_wait_and_no_rows(stub, tmp_path, caplog):
    mirror, run = sink(finish_timeout=2), a_run(tmp_path / "run")
    mirror.open(run)
    for step in range(1, 101):
        mirror(step, {"train/loss": 1 / step})
    wait(lambda: stub.runs and mirror.rows.empty())
    stub.fail = 500
    within(4, mirror.close, "finished")
    assert len(wandb_offline.read(run.folder)["history"]) == 10
    assert warnings(caplog) == [f"W&B: not all was sent in time; {later(run)}"]


def test_a_rollback_stays_on_the_page_with_nothing_dropped_and_begins_a_segment_of_its_own(stub, tmp_path, caplog):
    mirror, run = sink(every=1), a_run(tmp_path / "run")
    mirror.open(run)
    for step in (1, 2, 3, 4):
        mirror(step, {"train/loss": 1 / step})
    mirror.event(4, "spike", {"text": "loss 9.0 at update 4"})
    mirror.event(2, "rollback", {"text": "from update 4 back to 2", "left": 4})
    for step in (3, 4):
        mirror(step, {"train/loss": 1 / step})
    mirror.close("preempted")
    follow(sink(every=1), run, (5, 6))
    (page,) = stub.runs.values()
    assert [(row["train/step"], row["segment"], row.get("event/kind")) for row in page.history] == [
        (1, 0, None), (2, 0, None), (3, 0, None), (4, 0, None), (4, 0, "spike"),
        (2, 1, "rollback"), (3, 1, None), (4, 1, None), (5, 2, None), (6, 2, None),
    ]  # fmt: skip
    assert [(alert["title"], alert["text"]) for alert in stub.alerts] == [
        ("spike: schedule=cosine", "loss 9.0 at update 4"),
        ("rollback: schedule=cosine", "from update 4 back to 2"),
    ]
    assert not warnings(caplog)


def test_while_wandb_hangs_for_hours_memory_is_bounded_and_what_is_dropped_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gptx.ingredients.log.wandb.BACKLOG", 50)
    hangs, page, run = threading.Event(), Page(), a_run(tmp_path / "run")
    monkeypatch.setattr(Wandb, "start", lambda *_: hangs.wait() and page)
    mirror = sink(every=10)
    mirror.open(run)
    for step in range(1, 100_001):
        mirror(step, {"train/loss": 1 / step})
    mirror.event(100_000, "rollback", {"text": "back"})
    assert mirror.rows.qsize() == 50
    hangs.set()
    wait(mirror.rows.empty)
    mirror(100_010, {"train/loss": 0.0})
    mirror.close("finished")
    assert [row["train/step"] for row in page.rows] == [*range(10, 501, 10), 100_010]
    assert page.rows[-1]["segment"] == 1  # also where the row of the rollback itself was dropped
    assert warnings(caplog) == [
        f"W&B hangs, and rows are dropped from step 510 on; {later(run)}",
        f"W&B lacks 9951 rows; {later(run)}",
    ]


class Page:
    """A page that keeps its rows."""

    offline, url = False, ""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code):
        pass


@pytest.mark.slow
def test_where_its_files_find_no_room_that_is_said(tmp_path):
    program = "t.logging.basicConfig(format='%(message)s'); m, run = t.sink(mode='offline', every=1, finish_timeout=60), t.a_run(pathlib.Path(sys.argv[1]) / 'run')\n"
    program += "m.open(run)\nfor step in range(1, 3001): m(step, {'train/loss': 1 / step, 'sample': 'x' * 99})\n"
    program += "m.close('finished')"
    small = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=300k small "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*small, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    said = in_a_new_process(program, tmp_path, before=small, capture_output=True, text=True, timeout=100).stderr
    assert said.splitlines() == [
        f"W&B: its files lack rows (No space left on device); {later(SimpleNamespace(folder=tmp_path / 'run'))}"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("closed", [".", "wandb"])
def test_a_folder_that_may_not_be_written_is_noticed_and_nothing_goes_elsewhere(tmp_path, closed):
    run = a_run(tmp_path / "run")
    (run.folder / "wandb").mkdir()
    (tmp_path / "tmp").mkdir()
    (run.folder / closed).chmod(0o555)
    program = "t.logging.basicConfig(format='%(message)s')\n"
    program += "t.follow(t.sink(mode='offline', finish_timeout=60), t.a_run(pathlib.Path(sys.argv[1])))"
    mortal = [] if os.getuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # even root may not, then
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    options = {"env": environment, "capture_output": True, "text": True, "timeout": 100}
    said = in_a_new_process(program, run.folder, before=mortal, **options).stderr
    assert said.startswith("W&B is off from here on, the run goes on: ")
    assert "ermission denied" in said or "not writable" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("*.wandb"))


def test_when_wandb_itself_is_killed_it_is_off_with_one_warning_and_back_for_the_next_run(tmp_path, caplog):
    mirror, run = sink(mode="offline"), a_run(tmp_path / "run")
    mirror.open(run)
    mirror(10, {"train/loss": 1.0})
    wait(lambda: list(run.folder.glob("wandb/offline-run-*/*.wandb")) and mirror.rows.empty())
    service_killer()()
    for step in range(11, 201):
        within(0.5, mirror, step, {"train/loss": 1 / step})
    within(10, mirror.close, "finished")
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith("W&B is off from here on, the run goes on")

    run = a_run(tmp_path / "next")
    follow(sink(mode="offline"), run)
    assert len(wandb_offline.read(run.folder)["history"]) == 10


@pytest.mark.slow
def test_when_wandb_itself_stands_still_the_end_of_the_run_waits_no_longer_than_it_may(tmp_path, caplog):
    mirror, run = sink(mode="offline", every=1, finish_timeout=3), a_run(tmp_path / "run")
    mirror.open(run)
    mirror(1, {"train/loss": 1.0})
    wait(lambda: list(run.folder.glob("wandb/offline-run-*/*.wandb")) and mirror.rows.empty())
    os.kill(sys.modules["wandb.sdk.wandb_setup"]._singleton._connection._proc._process.pid, signal.SIGSTOP)
    for step in range(2, 5001):
        mirror(step, {"train/loss": 1 / step, "sample/text": "x" * 1000})
    within(60, mirror.close, "finished")  # of a finish that would last for ever
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].endswith(later(run))


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_server_that_never_answers_holds_up_neither_the_end_of_the_run_nor_that_of_the_process(
    dead_server, tmp_path, interrupted
):
    program = "mirror = t.sink(init_timeout=300, finish_timeout=6)\nmirror.open(t.a_run(pathlib.Path(sys.argv[1])))\n"
    program += "t.time.sleep(3)\n"  # it is now waiting for the server
    if interrupted:
        program += "import os, signal; signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))\n"
        program += "signal.setitimer(signal.ITIMER_REAL, 1, 0.3)\n"  # somebody who hits Ctrl-C again and again
        program += (
            "try: mirror.close('interrupted')\nexcept KeyboardInterrupt: signal.setitimer(signal.ITIMER_REAL, 0)\n"
        )
        program += "else: sys.exit(1)"
    else:
        program += "mirror.close('finished')"
    within(100, in_a_new_process, program, tmp_path / "run")  # and not 300 s


@pytest.mark.parametrize("trouble", ["wandb is not installed", "the folder is gone", "its folder is a file"])
def test_where_it_cannot_work_one_line_says_so(tmp_path, monkeypatch, caplog, trouble):
    mirror, run = sink(mode="offline"), a_run(tmp_path / "run")
    if trouble == "wandb is not installed":
        monkeypatch.setitem(sys.modules, "wandb", None)
    elif trouble == "the folder is gone":
        run.folder.rmdir()
    else:
        (run.folder / "wandb").touch()
    mirror.open(run)
    wait(mirror.ended.is_set)
    for step in range(1, 101):
        mirror(step, {"train/loss": 1 / step})
    assert mirror.rows.empty()
    within(0.5, mirror.close, "finished")
    assert len(warnings(caplog)) == 1


def test_disabled_it_does_nothing(tmp_path):
    run = a_run(tmp_path / "run")
    follow(sink(mode="disabled"), run)
    assert not list(run.folder.iterdir())


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="mode=of: one of auto, online, offline, disabled"):
        sink(mode="of")


def test_a_process_of_wandb_that_does_not_end_is_ended(monkeypatch):
    import wandb

    process = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(mirror, "service_killer", lambda: process.kill)
    monkeypatch.setattr(mirror, "WANDB_PATIENCE", 0.1)
    monkeypatch.setattr(wandb, "teardown", process.wait)
    mirror.reset()
    assert process.returncode == -signal.SIGKILL
