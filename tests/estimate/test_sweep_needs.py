"""What a sweep needs on the disk, against checkpoints that were written; and from where its spread is known."""

import json
import math
from types import SimpleNamespace

import pytest
import yaml

from gptx.compare.outcomes import load_comparison
from gptx.config.errors import ConfigError
from gptx.config.paths import ROOT
from gptx.estimate import sweep
from gptx.ingredients.checkpoints.files import kept
from gptx.units.amounts import memory


@pytest.mark.parametrize("words", [[], ["optim=sgd"], ["optim=schedule_free", "schedule=constant"], ["optim=muon"],
                                   ["observe=[validation,ema]"]])  # fmt: skip
def test_a_checkpoint_is_as_large_as_predicted(build, composed, words, tmp_path):
    words = ["model.width=256", "model.depth=1", *words]
    trainer = build(*words)
    trainer.attach()
    for _ in range(2):
        trainer.step_once()
    trainer.checkpoints.save(trainer, wait=True)
    (file,) = tmp_path.glob("run/checkpoints/step_*/state.pt")
    found = sweep.checkpoint_bytes(composed(*words), trainer.data.vocab_size)
    assert file.stat().st_size <= found <= 1.05 * file.stat().st_size + 100_000


@pytest.mark.parametrize("words", [
    ["checkpoints.keep=1", "checkpoints.keep_best=false"],
    ["checkpoints.every=10", "checkpoints.keep=3"],
    ["checkpoints.every=25%", "checkpoints.keep_every=25%"],
    ["checkpoints.every=7", "checkpoints.keep_every=30", "checkpoints.keep=1"],
    ["guard=rollback", "checkpoints.every=9", "checkpoints.keep=1"],
    ["checkpoints.every=200"],
    ["checkpoints.every=1", "checkpoints.keep=1000"],
])  # fmt: skip
def test_so_many_checkpoints_stay_as_the_rule_of_a_run_keeps(composed, words):
    cfg = composed("steps=100", *words)
    values, lookback = cfg.checkpoints, cfg.guard.treatment.get("lookback", 0)
    losses: dict[int, float] = {0: math.nan} if lookback else {}
    most = 0
    for step in range(1, 101):
        if step % values.every == 0 or step == 100:
            losses[step] = 1.0 if step == values.every else 2.0  # the first is the best
            safe = max(0, step - lookback) // values.every * values.every
            rule = {"newest": values.keep, "every": values.keep_every, "best": values.keep_best, "safe": safe}
            losses = {each: losses[each] for each in kept(losses, **rule)}
            most = max(most, len(losses))
    assert most <= sweep.kept_checkpoints(cfg) <= most + 1


def test_runs_that_the_free_space_cannot_hold_are_refused_with_the_numbers(composed, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    runs = [composed("checkpoints.keep=1", "checkpoints.keep_best=false", f"seed={seed}") for seed in range(3)]
    each = sweep.checkpoint_bytes(runs[0], 257)
    found = sweep.disk_of(runs, tmp_path / "not/there/yet", at_once=2)
    assert (found.runs, found.kept, found.checkpoint, found.free) == (3, 1, each, 2_000_000)
    assert found.needed == 5 * each + 3 * 6 * 500  # three that stay, two that are being written, six steps each
    with pytest.raises(ConfigError) as refused:
        sweep.refuse_full(found, tmp_path)
    said = f"{memory(found.needed)} on the disk (3 runs with up to 1 checkpoint of {memory(each)}), 2 MB are free"
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    monkeypatch.setattr(sweep.shutil, "disk_usage", lambda path: SimpleNamespace(free=found.needed))
    sweep.refuse_full(sweep.disk_of(runs, tmp_path, at_once=2), tmp_path)


def test_an_arm_is_what_differs_in_nothing_but_the_seed(composed):
    runs = [composed(f"seed={seed}", f"optim={name}") for seed in (0, 1, 2) for name in ("adamw", "sgd")]
    assert [
        *sweep.seeds_by_arm([*runs, composed("optim.lr=0.1", "name=other", "observe=[validation,ema]")]).values()
    ] == [
        3,
        3,
        1,
    ]


def keep(folder, arm: str, seed: int, loss: float | None) -> None:
    folder.mkdir(parents=True)
    state = "failed" if loss is None else "finished"
    config = {"schedule": {"_target_": f"gptx.ingredients.schedule.{arm}"}, "steps": 1, "seed": seed, "name": str(seed)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"data": {"seed": seed}}))
    (folder / "run.json").write_text(json.dumps({"state": state, "recipe": {"steps": 1}}))
    if loss is not None:
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "validation/loss": loss}) + "\n")


def test_a_pilot_s_spread_is_that_of_its_runs(tmp_path):
    values = {"cosine": [1.0, 2.0, 3.0], "linear": [1.1, 2.3, 3.2]}
    for arm, losses in values.items():
        for seed, loss in enumerate(losses):
            keep(tmp_path / "pilot" / f"{arm}{seed}", arm, seed, loss)
    keep(tmp_path / "pilot/failed", "constant", 0, None)
    found = sweep.pilot_spread(tmp_path / "pilot", "validation/loss")
    assert found.sd == pytest.approx(0.1 / math.sqrt(2))  # differences of 0.1, 0.3 and 0.2
    for name, seeds in (("one_arm", {"cosine": [0, 1]}), ("one_seed", {"cosine": [0], "linear": [0]})):
        for arm, each in seeds.items():
            for seed in each:
                keep(tmp_path / name / f"{arm}{seed}", arm, seed, 1.0 + seed)
        with pytest.raises(ValueError, match=r"pilot=.*: no validation/loss of two arms with two seeds in common"):
            sweep.pilot_spread(tmp_path / name, "validation/loss")
    with pytest.raises(ValueError, match="no such folder"):
        sweep.pilot_spread(tmp_path / "nowhere", "validation/loss")


def test_a_page_s_results_are_a_pilot_too_and_without_one_the_shipped_pages_are():
    folder = ROOT / "experiments/warmup"
    found = load_comparison(folder / "results.json")
    table = {(*each.levels.values(), each.seed): each.value for each in found.outcomes if each.value is not None}
    arms = sorted({key[:-1] for key in table})
    rows = [[table[(*arm, seed)] for seed in range(3)] for arm in arms if (*arm, 2) in table]
    assert len(rows) == len(arms)
    columns = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    mean = sum(columns) / 3
    rest = [value - sum(row) / 3 - column + mean for row in rows for value, column in zip(row, columns, strict=True)]
    known = math.sqrt(sum(value**2 for value in rest) / (2 * (len(rows) - 1)))
    assert sweep.pilot_spread(folder, "validation/loss").sd == pytest.approx(known)
    shipped = sweep.shipped_spread("validation/loss")
    assert 1e-4 < shipped.sd < 0.1
    assert "experiments/*/results.json" in shipped.source
    assert sweep.shipped_spread("nonsense") is None
