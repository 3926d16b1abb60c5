"""Weights & Biases as a mirror of the run, all in one daemon thread: late or absent, training does not notice."""

import atexit
import logging
import os
import queue
import re
import secrets
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from gptx.files import flush, opened, write_text
from gptx.ingredients.log import RunInfo, Sink, shown, typed_command
from gptx.units.options import Count
from gptx.units.printable import throughout

_messages = logging.getLogger(__name__)
EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 130, "preempted": 143}
WANDB_PATIENCE = 10.0  # seconds for wandb's own process to end; then what it holds is given up
BACKLOG = 10_000  # rows that wait at most: 100,000 steps at every=10, some 10 MB
_Seconds = Annotated[float, Ge(0), Le(86_400)]


class Wandb(Sink):
    """Sends every row whose step `every` divides, and every row that holds more than `train/...`. A resumed run
    continues its own page, by the id in `wandb_id`. Steps repeat after resume and rollback, so charts are drawn over
    `train/step`, not W&B's own count; `segment` numbers starts and rollbacks. Its stop button acts like Ctrl-C."""

    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    every: Count
    init_timeout: _Seconds
    finish_timeout: _Seconds
    ended: threading.Event | None = field(init=False, default=None)  # set once the thread is done; None without one
    rollbacks = dropped = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.project.strip():
            raise ValueError("log.wandb.project: a name is needed")

    def open(self, run: RunInfo) -> None:
        if self.mode != "disabled":
            self.rows, self.ended = queue.SimpleQueue[dict | str](), threading.Event()  # rows, then the outcome
            self.later = f"later: {typed_command('upload', str(shown(run.folder)))}"
            threading.Thread(target=self.mirror, args=(run, self.ended), name="wandb", daemon=True).start()
            atexit.register(self.settle, self.ended)

    def __call__(self, step: int, scalars: dict) -> None:
        if not self.due(step, scalars) or self.ended is None or self.ended.is_set():
            return
        if self.rows.qsize() < BACKLOG:
            self.rows.put(throughout({"train/step": step, **scalars, "segment": self.rollbacks}))
            return
        if not self.dropped:
            _messages.warning("W&B hangs, and rows are dropped from step %d on; %s", step, self.later)
        self.dropped += 1

    def due(self, step: int, scalars: dict) -> bool:
        return step % self.every == 0 or any(not key.startswith("train/") for key in scalars)

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.rollbacks += kind == "rollback"
        self(step, {"event/kind": kind, "event/text": facts["text"]})

    def close(self, outcome: str) -> None:
        if self.ended is None:
            return
        ended, self.ended = self.ended, None
        self.rows.put(outcome)
        try:
            ended.wait(0.8 * self.finish_timeout)
        finally:  # also where Ctrl-C ends the wait
            self.settle(ended)
        if not ended.is_set():
            _messages.warning("W&B: given up after %g s; %s", self.finish_timeout, self.later)
        elif self.dropped:
            _messages.warning("W&B lacks %d rows; %s", self.dropped, self.later)

    def settle(self, ended: threading.Event) -> None:
        """Have the thread end, at the end of the run and once more at Python's exit, which aborts if the thread is
        inside C++ then. It kills wandb's own process, for which thread and exit wait, until no new one is started."""
        deadline = time.monotonic() + 0.2 * self.finish_timeout
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more Ctrl-C must not shorten this too
        while not ended.is_set() and time.monotonic() < deadline:
            service_killer()()
            ended.wait(0.1)
        signal.signal(signal.SIGINT, heard)

    def mirror(self, run: RunInfo, ended: threading.Event) -> None:
        page: Any = None
        try:
            id, segment = next_segment(run.folder / "wandb_id")
            page = self.start(run, id)
            folder = shlex.quote(str(shown(run.folder)))
            place = f"wandb sync {folder}/wandb/offline-run-*" if page.offline else page.url  # none if it is disabled
            if place and not page.offline:
                _messages.info("W&B: %s", place)
            self.send(page, run, segment)
            if page.offline and (failure := _unwritten(Path(page.settings.sync_dir))):
                _messages.warning("W&B: its files lack rows (%s); %s", failure, self.later)
            elif place:
                _messages.info("W&B: %s", place)
        except Exception as error:
            if isinstance(error, TimeoutError):
                _messages.warning("W&B: not all was sent in time; %s", self.later)
            else:
                _messages.warning("W&B is off from here on, the run goes on: %s; %s", first_line(error), self.later)
                with suppress(Exception):
                    page.finish(exit_code=1)
            reset()
        finally:
            ended.set()

    def send(self, page: Any, run: RunInfo, segment: int) -> None:
        first = segment
        while isinstance(row := self.rows.get(), dict):
            while segment < first + row["segment"]:
                _, segment = next_segment(run.folder / "wandb_id")
            page.log({**row, "segment": segment})
            if "event/kind" in row:
                page.alert(f"{row['event/kind']}: {run.name}"[:63], row["event/text"], level="WARN")
        if row in ("interrupted", "preempted"):
            page.mark_preempting()
        page.finish(exit_code=EXIT_CODES[row])

    def start(self, run: RunInfo, id: str) -> Any:
        """The page of the run: online where that works, else offline; by WANDB_MODE one that does nothing."""
        wandb = imported()
        mode = wandb.setup(wandb.Settings(silent=True)).settings.mode if self.mode == "auto" else self.mode
        if mode == "online":
            try:
                return self.page(run, id, "online")
            except Exception as error:
                if self.mode == "online" or "No API key" not in str(error):
                    _messages.warning("W&B: offline, since there is no connection: %s", first_line(error))
                reset()  # or the id counts as in use
                mode = "offline"
        return self.page(run, id, mode)

    def page(self, run: RunInfo, id: str, mode: Any) -> Any:
        """The run's page, made or continued. Raises what wandb does, and ValueError for a folder it cannot name."""
        folder = str(run.folder.absolute())
        if folder.encode(errors="ignore").decode() != folder:
            raise ValueError("it takes no folder with a name that is not UTF-8")
        wandb = imported()
        sys.argv[1:] = throughout(sys.argv[1:])  # wandb keeps the command line
        more = {"recipe": run.choices, "overrides": run.overrides, "git": run.git, "budget": run.budget}
        config = run.config | more  # nested, since W&B neither filters by nor draws names with dots
        name, group, tags, config = throughout([run.name, run.group, run.tags, config])
        # Silent before all else: only then does wandb raise where it would ask for a key.
        wandb.setup(wandb.Settings(silent=True))
        page = wandb.init(
            project=self.project, entity=self.entity, mode=mode, dir=folder,
            id=id, resume="allow", reinit="create_new", allow_val_change=True,
            name=name, group=group, job_type="train", tags=[tag[:64] for tag in tags], config=config,
            settings=wandb.Settings(
                silent=True, console="off", save_code=False, init_timeout=self.init_timeout,
                finish_timeout=0.6 * self.finish_timeout, finish_timeout_raises=True,
            ),
        )  # fmt: skip
        page.define_metric("train/step")
        page.define_metric("*", step_metric="train/step")
        return page


def imported() -> Any:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it can hold up the exit by 20 s without a network
    import wandb

    return wandb


def noted_id(path: Path) -> tuple[str, int]:
    """Id of the run's page and the number of its last start, as a start noted them; an empty id where none did."""
    with suppress(FileNotFoundError, ValueError):
        if found := re.fullmatch(r"([\w-]{1,64}) (\d{1,9})\s*", path.read_text(), re.ASCII):
            return found[1], int(found[2])
    return "", 0


def next_segment(path: Path) -> tuple[str, int]:
    """Id of the run's page and the number of this start, from 0; noted at once, so that no other start gets it."""
    id, previous = noted_id(path)
    id, segment = (id, previous + 1) if id else (secrets.token_hex(5), 0)
    write_text(path, f"{id} {segment}\n")
    return id, segment


def _unwritten(folder: Path) -> str:
    """Why wandb could not write all of its files in `folder`, which it says in its log alone; empty if it could."""
    try:
        with opened(folder / "probe", "wb") as file:
            file.write(bytes(1 << 16))
            flush(file)
        log = (folder / "logs/debug-internal.log").read_text(errors="replace")
        return "see its debug-internal.log" if "failed to save record" in log else ""
    except OSError as error:
        return error.strerror or str(error)
    finally:
        (folder / "probe").unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def reset() -> None:
    """Forget all of wandb's state, for a fresh attempt. Its process is killed after PATIENCE: it may retry for ever."""
    patience = threading.Timer(WANDB_PATIENCE, service_killer())
    patience.daemon = True
    patience.start()
    with suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()
    patience.cancel()


def service_killer() -> Callable[[], object]:
    """Kills wandb's own process and so ends all waiting for it; nothing where it is not there or wandb has changed."""
    setup: Any = sys.modules.get("wandb.sdk.wandb_setup")
    with suppress(AttributeError):
        return setup._singleton._connection._proc._process.kill
    return lambda: None
