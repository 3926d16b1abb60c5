"""A law is found again where it is known: in synthetic losses, in Chinchilla's own runs, and from folders of runs."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from scipy.optimize import approx_fprime
from scipy.special import huber as scipy_huber
from scipy.special import logsumexp

from gptx.commands.pages import pages
from gptx.estimate.laws import CONSTANTS, PUBLISHED, Law, law_named
from gptx.fit import huber
from gptx.fit.ladder import About, Ladder, LawReading, NoLaw, Rung, against_one_law, fit_law, minima, predict
from gptx.fit.scaling import fitted, law_figure, patterned, scaling, undetermined
from gptx.runs.run import find

REFIT = PUBLISHED["besiroglu"]
KNOWN = Law("known", A=30.0, B=300.0, E=0.5, alpha=0.4, beta=0.45)
SIZES, LENGTHS = (40_000, 100_000, 220_000, 480_000), (500_000, 1_000_000, 2_000_000, 4_000_000)


def chinchilla():
    """The runs that the refit has: all but the five of highest loss."""
    parameters, flops, loss = numpy.loadtxt(Path(__file__).with_name("chinchilla_runs.txt")).T
    kept = numpy.argsort(-loss)[5:]
    size = parameters[kept] * 1e6
    return numpy.array([size, flops[kept] / 6 / size, loss[kept]])


def losses(law, size, tokens):
    return law.E + law.A / size**law.alpha + law.B / tokens**law.beta


def noisy(noise):
    """Chinchilla's 240 sizes and lengths with the losses of the refit's law and log-normal noise."""
    design = chinchilla()
    scatter = numpy.exp(noise * numpy.random.default_rng(0).standard_normal(design.shape[1]))
    return numpy.array([*design[:2], losses(REFIT, *design[:2]) * scatter])


def off(found, law, names=CONSTANTS):
    values = dict(zip(CONSTANTS, found, strict=True))
    return {name: abs(values[name] / getattr(law, name) - 1) for name in names}


def rung(size, tokens, loss, name=""):
    return Rung(name or f"{size},{tokens}", f"gpt_{size // 1000}k", size, size * 3 // 4, tokens, loss)


def rungs(law=KNOWN):
    return [rung(size, tokens, law.loss(size, tokens)) for size in SIZES for tokens in LENGTHS]


def ladder(found, *held):
    """A ladder of these runs, of which some are held out."""
    marked = [replace(one, held_out=one in held) for one in found]
    return Ladder(marked, About("own", "nats a byte", vocab=257), [], {})


def folder(root, one, **record):
    """A finished run as its folder has it."""
    place = root / one.name
    place.mkdir(parents=True)
    facts = {
        "state": "finished",
        "choices": {"model": one.size, "experiment": root.name},
        "parameters": {"total": one.total, "non_embedding": one.non_embedding},
        "batch": {"context": 128},
        "data": {"digest": "d", "tokenizer": "bytes", "vocab_size": 257, "train_tokens": 10**8},
        "recipe": {"optim.lr": 1e-3, "model.width": one.total},
        "versions": {"python": "3.11", "torch": "2.13"},
    }
    (place / "run.json").write_text(json.dumps(facts | record))
    (place / "config.yaml").write_text("seed: 0\n")
    (place / "metrics.jsonl").write_text(
        json.dumps({"step": 9, "train/tokens": one.tokens, "validation/loss": one.loss})
    )
    return place


def test_the_loss_that_is_minimised_is_huber_s_of_log_loss_and_its_derivatives_are_right():
    n, d, target = huber.centred(noisy(0.01))[0]
    values = numpy.array([-0.3, -0.5, 0.4, 0.3, 0.4])
    a, b, e, alpha, beta = values
    left = logsumexp([a - alpha * n, b - beta * d, numpy.full_like(n, e)], axis=0) - target
    found, slopes = huber.huber(values, n, d, target)
    assert found == pytest.approx(scipy_huber(1e-3, left).mean() / 1e-3)
    numeric = approx_fprime(values, lambda at: huber.huber(at, n, d, target)[0], 1e-7)
    assert slopes == pytest.approx(numeric, rel=1e-3, abs=1e-5)


def test_the_constants_of_losses_without_noise_are_found_again():
    size, tokens = (
        numpy.array(values, float) for values in zip(*((n, d) for n in SIZES for d in LENGTHS), strict=True)
    )
    found, _ = huber.fit_constants(numpy.array([size, tokens, losses(KNOWN, size, tokens)]))
    assert max(off(found, KNOWN).values()) < 1e-3


def test_e_and_the_exponents_are_found_again_within_5_percent_beside_noise_of_0_3_percent():
    found, _ = huber.fit_constants(noisy(3e-3))
    assert max(off(found, REFIT, ("E", "alpha", "beta")).values()) < 0.05


def test_all_constants_are_found_again_within_5_percent_beside_noise_of_0_05_percent():
    """A and B stand on the far side of an extrapolation to one parameter: at 0.3 % of noise they are 20 % off."""
    found, _ = huber.fit_constants(noisy(5e-4))
    assert max(off(found, REFIT).values()) < 0.05


def test_the_published_points_give_the_constants_of_the_refit():
    found, _ = huber.fit_constants(chinchilla())
    away = off(found, REFIT)
    assert max(away[name] for name in ("alpha", "beta", "E")) < 0.01
    assert max(away[name] for name in ("A", "B")) < 0.05


@pytest.mark.slow
def test_the_bootstrap_over_the_published_points_gives_the_standard_errors_of_the_refit():
    points = chinchilla()
    errors = numpy.std(huber.bootstrap(points, huber.fit_constants(points)[0], 200), axis=0)
    rounding = {"A": 0.005, "B": 0.005, "E": 0.005, "alpha": 0.005, "beta": 0.005}
    for name, error in zip(CONSTANTS, errors, strict=True):
        assert abs(error - REFIT.deviations[name]) < 0.15 * REFIT.deviations[name] + rounding[name], name


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (lambda n, d: n < 50_000 or d < 600_000, None),
        (lambda n, d: n == 40_000, "4 runs for five constants: at least 7"),
        (lambda n, d: n < 200_000, "2 numbers of parameters in 8 runs: at least 3"),
        (lambda n, d: d < 1_500_000, "2 numbers of tokens in 8 runs: at least 3"),
    ],
)
def test_a_design_that_cannot_determine_a_law_is_refused_in_one_line(kept, told):
    found = [one for one in rungs() if kept(one.total, one.tokens)]
    if told is None:
        assert fit_law(ladder(found), "total", 2).law.E > 0
        return
    with pytest.raises(ValueError, match=re.escape(told)):
        fit_law(ladder(found), "total", 2)


def test_tokens_that_are_a_fixed_multiple_of_the_parameters_are_refused():
    sizes = [10_000 * 2**i for i in range(9)]
    with pytest.raises(ValueError, match="fixed power"):
        fit_law(ladder([rung(n, 20 * n, KNOWN.loss(n, 20 * n)) for n in sizes]), "total", 2)


def test_a_larger_run_is_predicted_from_smaller_ones_and_is_not_fitted_itself():
    larger = rung(1_600_000, 8_000_000, 99.0)
    found = fit_law(ladder([*rungs(), larger], larger), "total", 10)
    (one,) = found.predictions
    assert one.expected == pytest.approx(KNOWN.loss(1_600_000, 8_000_000), rel=1e-3)
    assert not one.inside
    assert larger.name not in [one.name for one in found.rungs]


def test_the_interval_of_a_run_is_wider_than_the_law_s_and_grows_with_the_scatter():
    draws = tuple((KNOWN.A, KNOWN.B, 0.5 + 0.00001 * k, KNOWN.alpha, KNOWN.beta) for k in range(-20, 21))
    scatter = numpy.array([1.0, -1.0] * 10)  # in equal parts, so that the ends are known
    law, larger = replace(KNOWN, draws=draws), rung(1_600_000, 8_000_000, 0.6)
    small, large = (predict(law, larger, "total", noise * scatter) for noise in (1e-3, 1e-2))
    assert large.run[0] < small.run[0] < small.law[0] < small.expected < small.law[1] < small.run[1] < large.run[1]
    above = numpy.log(large.run[1] / large.expected)
    assert above == pytest.approx(1e-2 * (20 / 15) ** 0.5, rel=0.05)  # 20 runs gave five constants


def test_the_runs_of_the_largest_budget_are_held_out_unless_others_are_named():
    found = [*rungs(), rung(500_000, 8_000_000, 1.0)]

    def held_out(word):
        return [one.name for one in ladder(found).holding_out(word, "total").rungs if one.held_out]

    assert held_out("") == ["500000,8000000"]
    assert held_out("none") == []
    assert {name.split(",")[0] for name in held_out("gpt_40k,gpt_100k")} == {"40000", "100000"}
    assert held_out("40000,500000") == ["40000,500000"]
    with pytest.raises(ValueError, match="holdout=gpt_9k: no finished run of that name; the sizes are gpt_40k, "):
        held_out("gpt_9k")


def test_the_isoflop_reading_finds_the_best_size_of_a_budget_without_the_law():
    law = Law("bent", A=2e3, B=2e3, E=0.2, alpha=0.6, beta=0.6)  # whose best sizes are those that are trained
    sizes, lengths = [round(4e4 * 2**i) for i in range(6)], [round(1e5 * 2**i) for i in range(7)]
    curves = minima([rung(n, d, law.loss(n, d)) for n in sizes for d in lengths], "total")
    assert 1 <= len(curves) <= 4
    assert all(each.best == pytest.approx(law.parameters(each.budget), rel=0.2) for each in curves)


def test_what_a_law_cannot_have_the_shape_of_is_told():
    def told(residuals):
        return [*patterned(LawReading("total", KNOWN, rungs(), residuals, []))]

    both = numpy.array([numpy.log(one.total / 1.3e5) * numpy.log(one.tokens / 1.4e6) for one in rungs()])
    assert "larger sizes gain more" in told(-0.03 * both)[0]
    assert "smaller sizes gain more" in told(0.03 * both)[0]
    assert told(numpy.random.default_rng(3).normal(0, 0.003, len(both))) == []


def test_an_exponent_that_samples_of_the_runs_put_far_apart_is_not_called_known():
    draws = tuple((KNOWN.A, KNOWN.B, KNOWN.E, 0.1 + 0.01 * k, KNOWN.beta) for k in range(40))
    told = [*undetermined(LawReading("total", replace(KNOWN, draws=draws), rungs(), numpy.zeros(16), []))]
    assert told == ["The runs hardly determine alpha: 0.11 to 0.48."]


def test_runs_of_one_loss_get_no_law_and_an_earlier_one_does_not_stay(tmp_path):
    for one in rungs():
        folder(tmp_path, replace(one, loss=2.5))
    KNOWN.save(tmp_path / "law.json")
    told = r"do not follow the law, and no best size is known: alpha and beta at an end .* removed.*law\.json"
    with pytest.raises(ValueError, match=told):
        scaling(str(tmp_path), holdout="none", draws=100)
    assert not any((tmp_path / name).exists() for name in ("law.json", "fit.json", "fit.png"))


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_runs_whose_loss_rises_with_size_or_with_tokens_get_no_law(name):
    rise = 0.2 * numpy.log([one.total if name == "alpha" else one.tokens for one in rungs()])
    found = [replace(one, loss=one.loss + float(more)) for one, more in zip(rungs(), rise, strict=True)]
    with pytest.raises(NoLaw, match=f"{name} at an end of what a fit tries"):
        fit_law(ladder(found), "total", 3)


@pytest.mark.slow
def test_of_ladders_without_a_law_all_are_refused_and_of_those_with_one_none():
    """Twelve runs with 1 % of noise, 3 ladders each; a law on each axis alone is none."""
    n, d = (numpy.array(each, float) for each in zip(*((n, d) for n in SIZES[:3] for d in LENGTHS), strict=True))
    truths = {"noise": n * 0 + 2.5, "tokens alone": 1 + 300 / d**0.4, "size alone": 1 + 30 / n**0.4,
              "law": losses(KNOWN, n, d)}  # fmt: skip
    refused = dict.fromkeys(truths, 0)
    for name, truth in truths.items():
        for seed in range(3):
            noise = numpy.exp(0.01 * numpy.random.default_rng(seed).standard_normal(12))
            points = numpy.array([n, d, truth * noise])
            found, _ = huber.fit_constants(points)
            refused[name] += bool(Law(name, *found, draws=huber.bootstrap(points, found, 10)).undetermined)
    print(f"refused of 3: {refused}")
    assert refused == {"noise": 3, "tokens alone": 3, "size alone": 3, "law": 0}


def test_losses_of_other_windows_or_contexts_are_told_of(tmp_path):
    for number, one in enumerate(rungs()[:4]):
        place = folder(tmp_path, one, batch={"context": 64 if number == 3 else 128})
        windows = "null" if number else "160"
        (place / "config.yaml").write_text(f"seed: 0\nobserve: {{validation: {{windows: {windows}}}}}\n")
    cells = find([tmp_path])
    told = " ".join(against_one_law(cells, rungs()[:4]))
    assert "observe.validation.windows is all or 160: losses on different texts are not comparable." in told
    assert "The runs have contexts of 64 or 128 tokens" in told
    assert "windows" not in " ".join(against_one_law(cells[1:3], rungs()[:4]))
    short = {"digest": "d", "vocab_size": 257, "train_tokens": 10**8, "validation_tokens": 160 * 128 + 1}
    alike = [replace(cell, record=cell.record | {"data": short}) for cell in cells[:3]]  # 160 are all that there are
    assert "windows" not in " ".join(against_one_law(alike, rungs()[:4]))


@pytest.mark.slow
def test_folders_of_runs_become_a_page_a_figure_and_a_law_that_plans_can_choose(tmp_path, capsys):
    runs, page = tmp_path / "runs" / "scaling", tmp_path / "scaling"
    for one in rungs():
        folder(runs, one)
    folder(runs, rung(1_600_000, 8_000_000, 1.5, "larger"))
    folder(runs, rung(999, 1000, 3.0, "half"), state="running")
    page.mkdir()
    readme = page / "README.md"
    readme.write_text(
        "# before\n<!-- fit: written by python -m gptx fit scaling runs draws=100 -->\nwhat stood there\n<!-- /fit -->\nafter\n"
    )
    scaling(str(runs), holdout="larger", draws=100, readme=str(page))
    text, told = readme.read_text(), capsys.readouterr().out
    assert "what stood there" not in text
    assert text.startswith("# before")
    assert text.endswith("after\n")
    assert all(said in text for said in ("half is killed; left out.", "outside", "torch 2.13"))
    assert "outside" in told
    assert {"fit.png", "fit.json", "law.json"} <= {file.name for file in page.iterdir()}
    facts = json.loads((page / "fit.json").read_text())
    assert len(facts["total"]["runs"]) == 17
    law = law_named(str(page / "law.json"))
    assert max(off([getattr(law, name) for name in CONSTANTS], KNOWN).values()) < 1e-2
    assert (law.units, law.vocab, len(law.draws)) == ("nats a byte", 257, 100)
    assert law.text == 10**8
    assert any("half is killed" in warning for warning in law.warnings)
    again = {file.name: file.read_bytes() for file in page.iterdir()}
    pages(str(page))  # from fit.json alone, to the last digit
    assert {file.name: file.read_bytes() for file in page.iterdir()} == again


def test_the_law_that_plans_read_counts_every_parameter_whatever_was_asked_for(tmp_path):
    half = {"total": LawReading("total", KNOWN, rungs(), 0.003 * numpy.cos(numpy.arange(16)), [])}
    half["non_embedding"] = replace(half["total"], count="non_embedding", law=replace(KNOWN, A=1.0))
    for order in (["total", "non_embedding"], ["non_embedding", "total"]):
        fitted([half[count] for count in order], ladder(rungs())).beside["law.json"](tmp_path / "law.json")
        assert json.loads((tmp_path / "law.json").read_text())["A"] == KNOWN.A


@pytest.mark.slow
def test_a_fit_as_html_is_the_chart_of_budgets_with_the_runs_on_it(tmp_path):
    larger = rung(1_600_000, 8_000_000, 0.8, "larger")
    law_figure(fit_law(ladder([*rungs(), larger], larger), "total", 3), tmp_path / "fit.html")
    text = (tmp_path / "fit.html").read_text()
    assert all(name in text for name in ("larger", "40000,500000"))


def test_a_run_that_diverged_is_refused_by_its_name(tmp_path):
    for one in [*rungs(), rung(999, 1000, float("nan"), "broken")]:
        folder(tmp_path, one)
    with pytest.raises(ValueError, match="broken: its validation/loss is nan"):
        scaling(str(tmp_path))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"count": "some"}, "count=some: total or non_embedding"),
        ({"draws": 5}, "draws=5: at least 100"),
        ({"out": "fit.pdf"}, "out=fit.pdf: the name must end in"),
        ({"readme": "nowhere"}, "nowhere/README.md: no such file"),
        ({"holdout": "gpt_9k"}, "holdout=gpt_9k: no finished run"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_fitted(tmp_path, words, told):
    folder(tmp_path, rungs()[0])
    with pytest.raises(ValueError, match=re.escape(told)):
        scaling(str(tmp_path), **words)


def test_runs_of_different_tokenizers_are_not_of_one_law(tmp_path):
    data = {"digest": "d", "tokenizer": "gpt2", "vocab_size": 50257, "train_tokens": 1}
    first, second, *_ = rungs()
    folder(tmp_path, first)
    folder(tmp_path, second, data=data)
    with pytest.raises(ValueError, match="different tokenizers, gpt2 and bytes"):
        scaling(str(tmp_path))


@pytest.mark.slow
def test_the_command_needs_no_torch(tmp_path):
    for one in rungs()[:3]:
        folder(tmp_path, one)
    program = ("import sys; from gptx.__main__ import main\nsys.argv[1:1] = ['fit', 'scaling']\ntry: main()\n"
               "except SystemExit as end: print(end)\nprint('torch' in sys.modules)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    *_, said, loaded = done.stdout.splitlines()
    assert "2 runs for five constants" in said
    assert loaded == "False"
