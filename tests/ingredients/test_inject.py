"""Faults in real runs: each is found and named, its harm is shown where nothing guards, and kept away where one does."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from test_checkpoints import everything, same

from gptx.ingredients import inject
from gptx.ingredients.guard import Guard
from gptx.ingredients.guard.doctor import DRIFTS, RECOVERS, STAYS

RECIPE = ["steps=140", "schedule=constant", "observe.validation.every=140", "checkpoints.every=20"]


class Seen:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.losses, self.events = {}, []

    def __call__(self, step, scalars):
        self.losses[step] = scalars["train/loss"]

    def event(self, step, kind, facts):
        self.events.append((kind, facts))

    @property
    def kinds(self):
        return [kind for kind, _ in self.events]

    @property
    def verdicts(self):
        return [facts["verdict"] for _, facts in self.events if "verdict" in facts]


class Without(Guard):
    """Leaves out one update."""

    def __init__(self, left_out):
        self.left_out = left_out

    def __call__(self, step, loss, grad_norm, *, overflow=False):
        return "skip" if step == self.left_out else "accept"


@pytest.fixture
def run(build):
    """run("guard=skip", ...): the trainer after its run, and what its sink has seen."""

    def make(*words, folder="run", until=None):
        trainer = build(*RECIPE, *words, folder=folder)
        trainer.sinks.append(seen := Seen())
        trainer.checkpoints.restore(trainer)
        trainer.steps = until or trainer.steps
        trainer.fit()
        return trainer, seen

    return make


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def validation(trainer):
    return trainer.latest["validation/loss"]


SHORT = ["steps=12", "checkpoints.every=4", "observe.validation.every=12"]


def test_watching_does_not_change_a_healthy_run_by_a_bit(run):
    words = ["steps=30", "observe.validation.every=30", "model.dropout=0.1"]
    (plain, alone), (watched, seen) = run("guard=none", *words), run("guard=watch", *words, folder="watched")
    assert seen.losses == alone.losses
    assert torch.equal(weights(watched), weights(plain))
    assert not seen.events


def test_a_jump_of_the_loss_is_found_and_its_update_never_made(run, build):
    fault = ["steps=45", "observe.validation.every=45", "inject=loss_jump", "inject.batch=40"]
    found, seen = run("guard=rollback", *fault)
    assert seen.kinds == ["spike", "recovered"]
    assert seen.verdicts == [RECOVERS["verdict"]]
    assert seen.events[0][1]["onset"] == 40

    by_hand = build(*RECIPE, *fault, "guard=none", folder="hand")
    by_hand.guard = Without(40)
    by_hand.fit()
    assert torch.equal(weights(found), weights(by_hand))
    assert not torch.equal(weights(found), weights(run("guard=none", *fault, folder="none")[0]))
    assert seen.losses[40] > 5 * seen.losses[39]


def test_nan_in_one_gradient_stays_out_of_the_weights(run):
    fault = ["inject=nan_gradient", "inject.batch=22", "steps=26", "observe.validation.every=26"]
    lost, _ = run("guard=none", *fault)
    assert not torch.isfinite(weights(lost)).all()
    for guard in ("watch", "skip", "rollback"):
        kept, seen = run(f"guard={guard}", *fault, folder=guard)
        assert torch.isfinite(weights(kept)).all()
        assert seen.verdicts == [RECOVERS["verdict"]]


def test_nan_that_does_not_end_ends_the_run_with_the_diagnosis(build):
    trainer = build("guard=rollback", "inject=nan_gradient", "inject.batch=5", "inject.batches=1000", "steps=50",
                    "checkpoints.every=2", "guard.treatment.rollbacks=2")  # fmt: skip
    trainer.sinks.append(seen := Seen())
    with pytest.raises(FloatingPointError, match=r"immediate NaN: .* since step 1; .*\(after 2 rollbacks\)"):
        trainer.fit()
    assert seen.kinds.count("rollback") == 2
    assert torch.isfinite(weights(trainer)).all()
    assert len(str(trainer.guard.diagnosis).splitlines()) == 1


@pytest.mark.slow
def test_a_rate_thirty_times_too_high_is_undone(run):
    clean, _ = run("guard=none", folder="clean")
    fault = ["inject=lr_bug", "inject.batch=80"]
    spoiled, _ = run("guard=none", *fault, folder="spoiled")
    healed, seen = run("guard=rollback", *fault, folder="healed")
    assert seen.kinds == ["spike", "diagnosis", "rollback", "treatment"]
    assert seen.verdicts == [STAYS["verdict"]]
    assert validation(spoiled) > validation(clean) + 0.5
    assert (
        validation(healed) < validation(clean) + 0.25
    )  # 7 of its updates were at half the rate, and 7 on the way back
    assert math.isfinite(validation(healed))


def test_a_drift_is_in_the_loss_and_in_the_gradient_and_not_in_validation(build):
    words = ["steps=20", "inject.batch=11", "inject.batches=10", "inject.nats=1.0"]
    bad, good = build(*words, "inject=drift"), build("steps=20")
    for trainer in (bad, good):  # know something, so that the true labels are likelier than others
        real, trainer.cursor = trainer.objective, 0
        for group in trainer.optimizer.param_groups:
            group["lr"] = 3e-3
        for _ in range(60):
            trainer.cursor = 0
            trainer.accumulate_gradients()
            trainer.update("accept")
        trainer.cursor = 14 * 8  # before the 15th batch, the fifth of ten bad ones
        assert trainer.objective is real
    (loss, _), (expected, _) = bad.accumulate_gradients(), good.accumulate_gradients()
    assert loss == pytest.approx(expected + 0.5, abs=1e-3)
    one, other = (torch.cat([p.grad.flatten() for p in t.model.parameters()]) for t in (bad, good))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.9
    bad.cursor = good.cursor = 14 * 8
    assert bad.losses_of(0, 4) == good.losses_of(0, 4)


@pytest.mark.slow
def test_a_slow_drift_is_found_and_undone(run):
    fault = ["inject=drift", "inject.batch=110", "inject.batches=80", "steps=200", "observe.validation.every=200"]
    _, seen = run("guard=rollback", *fault)
    assert seen.verdicts[0] == DRIFTS["verdict"]
    assert "rollback" in seen.kinds
    diagnosis = next(facts for kind, facts in seen.events if kind == "diagnosis")
    assert 60 <= diagnosis["onset"] <= 125
    assert diagnosis["detected"] < 190


@pytest.mark.parametrize("fault", [["lr_bug"], ["drift", "inject.batches=9"], ["nan_gradient", "inject.batches=2"]])
def test_a_run_cut_in_the_middle_of_a_fault_meets_the_rest_of_it(run, fault):
    words = [f"inject={fault[0]}", "inject.batch=6", *fault[1:], "guard=watch", *SHORT]
    whole, _ = run(*words, folder="whole")
    run(*words, folder="cut", until=6)
    resumed, _ = run(*words, folder="cut")
    assert same(everything(resumed), everything(whole))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_a_factor_that_is_no_size_of_a_fault_is_refused(factor):
    trainer = SimpleNamespace(steps=12)
    for refused in (partial(inject.loss_jump, batch=3), partial(inject.lr_bug, batch=3, batches=2)):
        with pytest.raises(ValueError, match=f"^inject.factor={factor}: above 0, below inf$"):
            refused(trainer, factor=factor)


@pytest.mark.parametrize("name", ["loss_jump", "lr_bug", "drift", "nan_gradient"])
def test_a_fault_belongs_to_its_batch_and_not_to_the_update(build, name):
    """A run that has gone past the batches, as after a rollback, is as if there were no fault."""
    words = ["steps=12", f"inject={name}", "inject.batch=3"] + ["inject.batches=2"] * (name != "loss_jump")
    losses = {}
    for kind, chosen in {"past": words, "none": words[:1]}.items():
        trainer = build(*chosen, folder=kind)
        trainer.sinks.append(seen := Seen())
        trainer.steps, trainer.cursor = 6, 5 * 8  # at update 1, past batch 5
        trainer.fit()
        losses[kind] = seen.losses
    assert losses["past"] == losses["none"]
