"""A run goes back to before the trouble and on past the batches that brought it."""

import pytest
import torch
from test_checkpoints import everything, same

from gptx.ingredients.guard import Guard


class Alarm(Guard):
    """Asks for a rollback when sequences are about to be learnt that hold `bad`, and remembers that it did."""

    lookback = 2

    def __init__(self, at, onset, skip=0):
        self.at, self.onset, self.skip, self.rollbacks = at, onset, skip, []

    def __call__(self, step, loss, grad_norm, *, overflow=False):
        return "rollback" if step == self.at and not self.rollbacks else "accept"

    def rolled_back(self, step):
        self.rollbacks.append(step)
        return self.skip

    def state_dict(self):
        return {"rollbacks": list(self.rollbacks)}

    def load_state_dict(self, state):
        self.rollbacks = list(state["rollbacks"])


class Seen:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.rows, self.events = [], []

    def __call__(self, step, scalars):
        self.rows.append((step, scalars["train/loss"], scalars["train/tokens"]))

    def event(self, step, kind, facts):
        self.events.append((step, kind, facts))


def run(build, guard, *words, folder="run"):
    trainer = build("steps=8", "checkpoints.every=2", *words, folder=folder)
    trainer.guard = guard
    trainer.sinks.append(seen := Seen())
    return trainer, seen


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_rollback_goes_on_from_the_old_weights_with_data_never_seen(build, precision):
    recipe = [f"precision={precision}", "model.dropout=0.1"]
    trainer, seen = run(build, Alarm(at=6, onset=5, skip=3), *recipe)
    trainer.fit()
    assert [step for step, *_ in seen.rows] == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert [(step, kind) for step, kind, _ in seen.events] == [(4, "rollback")]

    # the same by hand: the state after update 4, with a cursor that is 2 updates (5 and 6) and 3 batches ahead
    other = build("steps=8", "checkpoints.every=2", *recipe, folder="other")
    other.sinks.append(expected := Seen())
    other.steps = 4
    other.fit()
    other.steps, other.cursor = 8, (4 + 2 + 3) * 8
    other.fit()
    assert seen.rows[:4] == expected.rows[:4]
    assert seen.rows[5:] == expected.rows[4:]
    trainer.guard = other.guard
    assert same(everything(trainer), everything(other))


def test_trouble_before_the_first_checkpoint_goes_back_to_the_beginning(build):
    trainer, seen = run(build, Alarm(at=2, onset=1))
    trainer.fit()
    assert [step for step, *_ in seen.rows] == [1, 1, 2, 3, 4, 5, 6, 7, 8]


def test_what_was_saved_after_the_trouble_began_is_gone(build):
    trainer, _ = run(build, Alarm(at=6, onset=3), "checkpoints.keep=3")
    saved = []
    trainer.sinks[0].event = lambda *_: saved.extend(f.name for f in trainer.checkpoints.saved())
    real = trainer.checkpoints.save
    trainer.checkpoints.save = lambda t, **how: (
        saved.append([f.name[-1] for f in trainer.checkpoints.saved()]),
        real(t, **how),
    )[1]
    trainer.fit()
    assert ["0", "2"] in saved  # when the state after update 2 was saved anew, that after 4 was gone


def test_a_run_killed_after_a_rollback_does_not_repeat_the_trouble(build):
    trainer, expected = run(build, Alarm(at=6, onset=5), folder="whole")
    trainer.fit()

    class Killed(Exception):
        pass

    def kill(step, scalars):
        if trainer.guard.rollbacks:
            raise Killed

    trainer, seen = run(build, Alarm(at=6, onset=5), folder="cut")
    trainer.sinks[0].__class__.__call__, call = (
        lambda self, step, scalars: (kill(step, scalars), call(self, step, scalars)),
        Seen.__call__,
    )
    try:
        with pytest.raises(Killed):
            trainer.fit()
    finally:
        Seen.__call__ = call
    again, seen = run(build, Alarm(at=6, onset=5), folder="cut")
    assert again.checkpoints.restore(again)
    assert (again.step, again.guard.rollbacks) == (4, [4])
    again.fit()
    assert seen.rows == expected.rows[5:]


def test_without_a_checkpoint_from_before_the_run_is_given_up(build):
    trainer, _ = run(build, guard := Alarm(at=2, onset=1))
    guard.lookback = 0  # nothing is saved at the start
    with pytest.raises(FloatingPointError, match="no checkpoint is from before step 1"):
        trainer.fit()


def test_the_losses_of_sequences_are_those_of_the_batch(build):
    trainer = build("steps=2")
    one_by_one = trainer.losses_of(3, 5)
    with trainer.evaluation(), torch.no_grad():
        together = trainer.objective(trainer.network, trainer.data(3, 5))
    assert sum(one_by_one) / 5 == pytest.approx(float(together), rel=1e-5)


def test_what_went_astray_is_removed_but_never_all_there_is(build):
    trainer = build("steps=6", "checkpoints.every=2", "checkpoints.keep=3")
    trainer.fit()
    trainer.checkpoints.drop_after(trainer, 3)
    trainer.checkpoints.drop_after(trainer, 1)
    assert [folder.name for folder in trainer.checkpoints.saved()] == ["step_00000002"]


def test_a_save_by_a_signal_does_not_change_where_the_run_goes_back_to(build):
    ends = {}
    for stop in (None, 23):
        trainer, seen = run(build, guard := Alarm(at=36, onset=27), "steps=40", "checkpoints.every=7", folder=f"{stop}")
        guard.lookback = 10
        if stop:
            trainer.steps = stop  # its last save is off schedule, as a signal's is
            trainer.fit()
            trainer.steps = 40
        trainer.fit()
        ends[stop] = trainer.guard.rollbacks, seen.rows[-1]
    assert ends[23] == ends[None]
    assert ends[None][0] == [21]


def test_a_branch_can_go_back_to_where_it_began(build):
    origin = build("steps=4", folder="origin")
    origin.fit()
    trainer, _ = run(build, Alarm(at=6, onset=2), folder="branch")
    trainer.load_state_dict(origin.state_dict() | {"guard": trainer.guard.state_dict()})
    trainer.fit()
    assert trainer.guard.rollbacks == [4]


def test_what_a_kill_left_is_cleared_also_where_no_update_is_left(build):
    trainer = build("steps=2")
    trainer.fit()
    left = [
        trainer.checkpoints.folder / name for name in ("step_00000001.gone", "step_00000002.old", "step_00000009.part")
    ]
    for folder in left:
        folder.mkdir()
    again = build("steps=2")
    assert again.checkpoints.restore(again)
    again.fit()
    assert not [folder for folder in left if folder.exists()]
