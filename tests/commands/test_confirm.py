"""The arms that a sweep chose are trained again, on seeds that did not choose them; here nothing is trained."""

import json
from pathlib import Path

import pytest

from gptx.commands import confirm
from gptx.config import arguments
from gptx.config.keys import recipe
from gptx.config.recorded import as_yaml, recorded
from gptx.runs import manifest
from gptx.runs.folder import RunFolder

ARMS = {("adamw", "1e-3"): 2.1, ("adamw", "3e-3"): 2.0, ("adamw", "1e-2"): 2.2,
        ("lion", "1e-3"): 2.4, ("lion", "3e-3"): 2.3, ("lion", "1e-2"): 2.35}  # fmt: skip
CHOSEN = ["optim=adamw,optim.lr=3e-3", "optim=lion,optim.lr=3e-3"]


def ran(folder: Path, config: dict, words: list[str], loss: float) -> None:
    """A finished run of a config with its result."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(as_yaml(config))
    row = {"step": 6, "train/loss": loss, "validation/loss": loss, "train/tokens": 1536}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    RunFolder(folder).write(
        state="finished", step=6, recipe=recipe(config), overrides=words, options=[], choices={"optim": config["optim"]["_target_"].split(".")[-1]},
        result={"validation/loss": loss}, hardware={"threads": 1}, data={"digest": "1" * 64},
    )  # fmt: skip


@pytest.fixture
def swept(tmp_path, monkeypatch, composed):
    """swept({("adamw", "1e-3"): 2.1}): a sweep of optimizers at rates in runs/o, with seeds 0 and 1."""
    monkeypatch.chdir(tmp_path)

    def make(arms: dict) -> None:
        for (optim, rate), loss in arms.items():
            for seed in (0, 1):
                words = [f"optim={optim}", f"optim.lr={rate}", f"seed={seed}"]
                folder = Path("runs/o", ",".join(words))
                ran(folder, recorded(composed(*words)), words, loss + 0.01 * seed)
                manifest.note(
                    Path("runs/o"), [{"folder": folder.name, "overrides": words, "command": "x", "when": "y"}]
                )

    return make


@pytest.fixture
def confirmed(monkeypatch, capsys):
    """confirmed("seed=10"): (folder, words) of every run that the command would train; they end at once with `code`."""

    def run(*words: str, code: int = 0) -> list[tuple[str, list[str]]]:
        made = []

        def train_all(jobs, places, *, ended):
            for job in jobs:
                made.append((job.folder.name, job.words))
                if not code:
                    job.folder.mkdir()
                    RunFolder(job.folder).write(state="finished")
                job.process = type("Process", (), {"returncode": code})
                ended(job)
            return False

        monkeypatch.setattr(confirm.pool, "train_all", train_all)
        if code:
            with pytest.raises(SystemExit, match="1"):
                arguments.call(confirm.confirm, ["runs/o", *words])
        else:
            arguments.call(confirm.confirm, ["runs/o", *words])
        run.said = capsys.readouterr().out
        return made

    return run


def test_each_arm_is_trained_at_its_best_rate_on_the_fresh_seeds(swept, confirmed):
    swept(ARMS)
    made = confirmed("seed=10,11")
    assert [name for name, _ in made] == [f"{arm},seed={seed}" for arm in CHOSEN for seed in (10, 11)]
    assert made[0][1] == ["optim=adamw", "optim.lr=3e-3", "seed=10"]
    assert "2 arms x 2 seeds: 4 runs to make" in confirmed.said
    noted = manifest.noted(Path("runs/o"))
    assert {name for name, line in noted.items() if line.get("confirm")} == {name for name, _ in made}
    assert confirmed("seed=10,11,12") == [(f"{arm},seed=12", words) for arm, words in zip(
        CHOSEN, ([*made[0][1][:2], "seed=12"], [*made[2][1][:2], "seed=12"]), strict=True)]  # fmt: skip


def test_without_rates_the_base_and_the_best_arm_are_trained_and_a_failure_is_told(swept, confirmed):
    swept({arm: loss for arm, loss in ARMS.items() if arm[1] == "3e-3"})
    assert {name for name, _ in confirmed("seed=7", code=3)} == {f"{arm},seed=7" for arm in CHOSEN}
    assert confirmed.said.count("FAILED") == 2


@pytest.mark.parametrize(("arms", "words", "told"), [
    (ARMS, "seed=1", "seed=1: 1 has chosen the arms; take seeds that have not, such as seed=11"),
    (ARMS, "seed=0,10", "seed=0,10: 0 has chosen the arms; .* such as seed=11,12"),
    (ARMS, "seed=x", "seed=x: whole numbers, such as seed=10,11,12"),
    (ARMS, "", "seed"),
    (ARMS, "seed=10 metric=nonsense", "nonsense"),
    ({("adamw", "3e-3"): 2.0}, "seed=10", "nothing to confirm"),
    ({}, "seed=10", "runs/o: no such folder"),
])  # fmt: skip
def test_what_cannot_be_confirmed_is_said_in_one_line(swept, confirmed, arms, words, told):
    swept(arms)
    with pytest.raises(SystemExit, match=f"^error: .*{told}") as refused:
        confirmed(*words.split())
    assert "\n" not in str(refused.value)
