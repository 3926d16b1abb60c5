"""Rates by kind of parameter, and the transfer over widths."""

import pytest
import torch

from gptx.config.errors import ConfigError
from gptx.config.rules import examine
from gptx.job.load import load

SHAPE = ["model.heads=4", "model.width=128", "decay=matrices"]


def peaks(trainer):
    return {g["name"]: peak for g, peak in zip(trainer.optimizer.param_groups, trainer.peaks, strict=True)}


def test_every_kind_of_parameter_may_have_a_rate_of_its_own(build):
    trainer = build("model.tied=false", "parametrization.rates.embeddings=0.5", "parametrization.rates.head=0.25",
                    "parametrization.rates.vectors=0", "parametrization.rates.all=2", "optim.lr=0.01", "schedule=constant")  # fmt: skip
    assert peaks(trainer) == pytest.approx({"matrices": 0.02, "embeddings": 0.01, "head": 0.005, "vectors": 0.0})
    gain = trainer.model.norm.weight.detach().clone()
    trainer.fit()
    assert torch.equal(trainer.model.norm.weight, gain)  # a factor of 0 freezes
    assert [g["lr"] for g in trainer.optimizer.param_groups] == pytest.approx(list(peaks(trainer).values()))


def test_mup_at_its_base_width_is_the_standard_parametrization(build):
    standard = build(*SHAPE)
    mup = build(*SHAPE, "parametrization=mup", "parametrization.base_width=128", "parametrization.base_head_size=32")
    for trainer in (standard, mup):
        trainer.fit()
    assert mup.latest["train/loss"] == pytest.approx(standard.latest["train/loss"], rel=1e-6)


def test_mup_scales_initial_weights_rates_attention_and_logits_as_its_table_says(build):
    standard = build(*SHAPE)
    mup = build(
        *SHAPE, "parametrization=mup", "parametrization.base_width=32", "parametrization.base_head_size=8"
    )  # m = 4
    for (name, p), q in zip(standard.model.named_parameters(), mup.model.parameters(), strict=True):
        hidden = p.ndim == 2 and "blocks" in name
        torch.testing.assert_close(q, p / 2 if hidden else p, msg=name)
    assert peaks(mup)["matrices"] == pytest.approx(peaks(standard)["matrices"] / 4)
    assert {peaks(mup)[kind] / peaks(standard)[kind] for kind in ("embeddings", "vectors")} == {1.0}
    attention = mup.model.blocks[0].attention
    assert attention.scale == pytest.approx((8**0.5) / 32)  # 8 dimensions a head at the base width, 32 here
    hidden = torch.randn(2, 128)
    torch.testing.assert_close(mup.model.logits(hidden), hidden @ mup.model.token.weight[: mup.data.vocab_size].T / 4)


def test_heads_that_grow_in_number_keep_their_scale_under_mup(build):
    for width, heads in ((32, 1), (64, 2), (128, 4)):
        mup = build(
            f"model.width={width}", f"model.heads={heads}", "parametrization=mup", "parametrization.base_width=32"
        )
        assert mup.model.blocks[0].attention.scale == pytest.approx(32**-0.5)


@pytest.mark.parametrize("optim", ["sgd", "adafactor", "muon"])
def test_mup_is_refused_with_an_optimizer_that_has_other_rules(composed, optim):
    with pytest.raises(
        ConfigError, match=r"parametrization=mup has Adam's rules, which are not those of .*optim=adamw"
    ):
        examine(composed(f"optim={optim}", "parametrization=mup"), world=1)


@pytest.mark.slow
def test_a_run_under_mup_is_sampled_as_it_was_trained(command, tmp_path, corpus):
    words = ["parametrization=mup", "parametrization.base_width=8", "parametrization.base_head_size=4", "name=mup"]
    assert command("train", *words).returncode == 0
    (folder,) = (tmp_path / "runs" / "mup").iterdir()
    model, _ = load(folder, device="cpu")
    assert model.output_scale == 1 / 4
    assert model.blocks[0].attention.scale == 4**0.5 / 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parametrization=mup", "parametrization.base_head_size=0"], r"parametrization.base_head_size=0: at least 1"),
        (["parametrization=mup", "parametrization.base_width=0"], r"parametrization.base_width=0: at least 1"),
        (["parametrization.rates.head=-1"], r"parametrization.rates.head=-1: a factor of the learning rate, 0"),
        (
            ["+parametrization.rates.heads=1"],
            r"parametrization.rates.heads: no such group of parameters; all, matrices",
        ),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(build, words, message):
    with pytest.raises(Exception, match=message):
        build(*words)


def test_mup_refuses_a_model_without_a_width():
    from gptx.ingredients.parametrization import mup

    with pytest.raises(ValueError, match=r"parametrization=mup: Linear has no width to transfer over; use standard"):
        mup(torch.nn.Linear(2, 2), [], base_width=1, base_head_size=1, rates={})


def slopes(result):
    """parametrization and quantity -> slope, of the lines of `gptx.plan coordinates`."""
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    return {(row[0], row[1]): float(row[-1]) for row in rows}


COORDINATES = ["coordinates", "data=text", "model.context=32", "model.depth=2", "batch.tokens=512", "precision=fp32"]


def test_the_coordinate_check_tells_mup_from_the_standard_parametrization(command, corpus):
    found = slopes(command("plan", *COORDINATES, f"data.path={corpus}", "widths=32,128"))
    for what in ("hidden_states", "logits"):
        assert found["standard", what] > 0.7
        assert abs(found["mup", what]) < 0.3


@pytest.mark.slow
def test_activations_stay_flat_over_widths_64_to_1024_under_mup_alone(command, corpus):
    found = slopes(command("plan", *COORDINATES, f"data.path={corpus}", timeout=600))
    assert found["standard", "hidden_states"] > 0.7
    assert found["standard", "logits"] > 0.2
    for what in ("hidden_states", "logits"):
        assert abs(found["mup", what]) < 0.15


@pytest.mark.parametrize(
    ("word", "message"),
    [("widths=64", "widths=64: at least two different widths"), ("widths=a,b", "widths=a,b: at least two"),
     ("updates=0", "updates=0: a number of steps, from 1 to 9,999")],
)  # fmt: skip
def test_a_coordinate_check_of_nothing_is_refused_in_one_line(command, corpus, word, message):
    result = command("plan", *COORDINATES, f"data.path={corpus}", word)
    assert result.returncode == 1
    assert message in result.stderr
