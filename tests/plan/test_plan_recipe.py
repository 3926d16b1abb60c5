"""What the whole plan of a composition says: operations, loss, time, room and doubts, against published numbers."""

import re
import socket
from dataclasses import replace

import pytest
import torch
from test_plan import main

from gptx.config.errors import ConfigError
from gptx.estimate.effort import Effort, budget_warnings, critical_batch_size, effort, packing, proportion
from gptx.estimate.laws import PUBLISHED, Law
from gptx.estimate.memory import Footprint, predict_memory
from gptx.ingredients.batch import Batch
from gptx.ingredients.model.gpt import GPT
from gptx.ingredients.precision import Precision
from gptx.plan import machines
from gptx.plan.recipe import planned, predicted_losses
from gptx.units.hardware import device_named

BF16 = Precision(compute="bf16")


def whole(cfg, hardware: str = "", devices: int = 1, price: float | None = None, **more) -> str:
    """The plan of a config."""
    return "\n".join(planned(cfg, where=machines.hardware_of(hardware, devices, price), **more))


def spent(parameters=124_439_808, tokens=2_500_000_000, steps=5000, flops=854_654_976) -> Effort:
    return Effort(parameters, parameters, flops, tokens, steps, tokens // steps)


@pytest.fixture(scope="module")
def gpt2():
    with torch.device("meta"):
        return GPT(vocab_size=50_257, context=1024, width=768, depth=12, heads=12)


def test_gpt2_costs_what_nanogpt_counts(gpt2):
    found = effort(gpt2, Batch(tokens=524_288), steps=4768)
    assert found.parameters == 124_439_808
    assert found.body == 12 * (12 * 768**2 + 13 * 768) + 2 * 768
    assert f"{found.flops_per_token:.3e}" == "8.547e+08"
    assert found.flops == pytest.approx(8.547e8 * 2.49980e9, rel=1e-4)
    assert (found.tokens_per_parameter, found.chinchilla_multiple) == pytest.approx((20.09, 1.004), rel=1e-3)


def test_a_model_that_does_not_count_its_operations_has_six_a_parameter():
    found = effort(torch.nn.Linear(9, 11, bias=False), Batch(tokens=10), steps=3)
    assert (found.flops_per_token, found.flops, found.body) == (6 * 99, 6 * 99 * 30, 99)


def test_a_batch_that_grows_spends_fewer_tokens():
    grown = effort(torch.nn.Linear(1, 1), Batch(tokens=64, doublings=1, growth=10), steps=15)
    assert grown.tokens == 10 * 32 + 5 * 64


@pytest.mark.slow
def test_seven_billion_parameters_take_84_gb_of_weights_and_moments_and_112_with_gradients(composed):
    cfg = composed("model.width=4096", "model.depth=34", "model.heads=32", "model.context=32", "batch.tokens=32",
                   "batch.micro=1")  # fmt: skip
    found = predict_memory(cfg, vocab_size=37_376)
    assert f"{found.parameters / 1e9:.2f}" == "7.00"
    assert f"{(found.weights + found.moments) / 1e9:.3g}" == "84"
    assert f"{(found.weights + found.moments + found.gradients) / 1e9:.3g}" == "112"


def test_laws_predict_chinchilla_s_own_loss():
    """1.69 + 0.083 + 0.163, as equation 10 of arXiv:2203.15556 has it for 70B parameters and 1.4T tokens."""
    told = predicted_losses([PUBLISHED["hoffmann_rounded"]], spent(70_000_000_000, 1_400_000_000_000), 32_000)
    assert "1.937" in told[2]
    assert told[3].split()[-1] == "20"


def test_published_laws_say_nothing_of_bytes():
    (told,) = predicted_losses(list(PUBLISHED.values()), spent(), 257)
    assert "nats a subword token" in told
    assert "experiment=scaling" in told
    assert "besiroglu" not in told


def test_what_a_law_says_far_from_its_runs_is_called_extrapolated_and_worse_than_guessing_not_said():
    told = "\n".join(predicted_losses(list(PUBLISHED.values()), spent(tokens=50_000_000), 50_257))
    assert "extrapolated from runs of 1e18 to 1.3e22 FLOPs: hoffmann_rounded, hoffmann_tex, besiroglu" in told
    told = "\n".join(predicted_losses([PUBLISHED["besiroglu"]], spent(tokens=51_200), 50_257))
    assert "42 would be worse than guessing, 10.8" in told  # ln 50257 is 10.825
    assert "besiroglu           42" not in told
    assert "extrapolated" not in "\n".join(predicted_losses(list(PUBLISHED.values()), spent(), 50_257))


def test_a_batch_that_grows_is_told_by_its_largest(composed):
    told = whole(composed("batch=growing", "batch.tokens=256", "batch.doublings=1", "steps=20"))
    tokens = int(re.search(r"steps of up to 256 tokens = ([\d,]+) tokens", told)[1].replace(",", ""))
    assert tokens < 20 * 256


@pytest.mark.parametrize(("device", "precision", "said"), [
    ("a100", Precision(compute="fp8"), "a100 has no fp8: precision=bf16, fp16 or fp32"),
    ("v100", Precision(compute="fp32", tf32=True), "v100 has no tf32: precision=fp16 or fp32"),
])  # fmt: skip
def test_a_format_that_a_device_does_not_have_has_no_time_there(device, precision, said):
    assert list(machines.time_and_room(machines.hardware_of(device), spent(), precision, "", 1)) == [said]


def test_a_law_of_bytes_speaks_of_bytes_alone():
    own = Law("own", A=100, B=100, E=0.5, alpha=0.5, beta=0.5, units="nats a byte", vocab=257, warnings=("of 5 runs",))
    one_to_a_million = spent(10_000, 1_000_000)
    assert "1.600" in predicted_losses([own], one_to_a_million, 257)[2]  # 0.5 + 100/100 + 100/1000
    assert predicted_losses([own], one_to_a_million, 257)[3] == "own: of 5 runs"
    for other in (65, 256, 4096, 50_257):
        (told,) = predicted_losses([own], one_to_a_million, other)
        assert told.startswith("not predicted: own is of nats a byte, of a vocabulary of 257, not of a vocabulary of ")


def test_a_law_of_one_s_own_subwords_says_nothing_of_another_vocabulary():
    own = Law("own", A=100, B=100, E=0.5, alpha=0.5, beta=0.5, vocab=4096)
    assert "1.600" in predicted_losses([own], spent(10_000, 1_000_000), 4096)[2]
    assert "not predicted" in predicted_losses([own], spent(10_000, 1_000_000), 50_257)[0]


def test_time_on_a_device_is_that_of_the_speed_that_was_reported_there():
    """2.5B tokens at 442,000 tokens a second on each of 8 H100 (modded-nanogpt, track 3)."""
    assert machines.seconds(spent(), device_named("h100"), "bf16", 8) == pytest.approx(2.5e9 / 442e3 / 8, rel=0.01)


def test_cost_is_device_hours_times_the_price():
    told = list(machines.time_and_room(machines.hardware_of("h100", 8, 2.5), spent(), BF16, "no memory", 1))
    assert told[0].startswith("h100: 38% of 989.4 TFLOP/s in bf16")
    assert "12 min on 8, 1.58 device-hours, 3.95 at 2.5 each, without energy" in told[1]


def test_a_device_without_bf16_computes_in_fp32_where_it_may_and_says_so_where_not():
    assert machines.form(Precision(compute="auto"), device_named("t4")) == "fp32"
    (told,) = machines.time_and_room(machines.hardware_of("t4"), spent(), BF16, "", 1)
    assert told == "t4 has no bf16: precision=fp16 or fp32"


def test_a_share_that_was_seen_in_16_bits_is_said_to_be_assumed_elsewhere():
    told = list(
        machines.time_and_room(machines.hardware_of("a100"), spent(), Precision(compute="fp32", tf32=True), "", 1)
    )
    assert "49% of 156 TFLOP/s in tf32" in told[0]
    assert "assumed for tf32" in told[0]


def footprint(gigabytes: float) -> Footprint:
    part = int(gigabytes * 1e9) // 10
    return Footprint(part // 4, part, part, {"exp_avg": 2 * part}, 6 * part, 10 * part)


@pytest.mark.parametrize(("gigabytes", "shards", "said"), [
    (79, 1, "79 GB at the peak: fits on h100 with its 80 GB"),
    (81, 1, "does not fit on h100 with its 80 GB; the smallest that is listed and large enough is h100-nvl"),
    (200, 1, "larger than any listed hardware, of which b200 has the most, 180 GB"),
    (100, 4, "70 GB at the peak, with 1/4 of weights, gradients and moments: fits on h100"),
])  # fmt: skip
def test_room_is_judged_by_the_data_sheet(gigabytes, shards, said):
    assert said in machines.room_on(footprint(gigabytes), device_named("h100"), shards=shards)


def test_where_validation_sets_the_peak_weights_and_moments_are_sharded_and_no_gradients_are():
    """Of 100 bytes 30 are sharded in four: 70 + 7. Of an update's 50 they are 40: 10 + 10."""
    found = Footprint(2, 10, 10, {"exp_avg": 20}, step=50, validation=100)
    assert machines.required(found, 4) == 77
    assert machines.required(found, 1) == 100
    assert machines.required(replace(found, validation=20), 4) == 20


def test_without_a_device_only_what_fits_nowhere_is_said():
    nowhere = machines.hardware_of()
    assert not [
        line for line in machines.time_and_room(nowhere, spent(), BF16, footprint(179), 1) if "at the peak" in line
    ]
    assert "larger than any" in list(machines.time_and_room(nowhere, spent(), BF16, footprint(181), 1))[-1]


@pytest.mark.parametrize("size", [85e6, 302e6, 1.2e9])
def test_the_critical_batch_is_that_of_its_paper_at_20_tokens_a_parameter(size):
    assert critical_batch_size(20 * size) == pytest.approx(512 * 93.20 * (size / 1e6) ** 0.47, rel=0.01)


@pytest.mark.parametrize(("effort", "more", "said"), [
    (spent(steps=500), {}, "batch.tokens=5,000,000 is 10.8 times the critical batch .* about 463,796 .arXiv:2410.21676."),
    (spent(5_000_000, 1_000_000, 10), {}, "times the critical batch .*, an extrapolation from 85M-1.2B parameters"),
    (spent(steps=99), {}, "steps=99: warmup and cool-down are a handful of steps each"),
    (spent(), {"warmup": 251}, "schedule.warmup=251 is 5.02% of steps=5,000"),
    (spent(), {"train_tokens": 600_000_000}, "reads the text of 600,000,000 tokens 4.2 times"),
])  # fmt: skip
def test_a_warning_names_its_key_and_its_number(effort, more, said):
    assert [line for line in budget_warnings(effort, **more) if re.search(said, line)], list(
        budget_warnings(effort, **more)
    )


def test_a_share_that_was_rounded_up_to_whole_updates_raises_no_warning():
    assert not [*budget_warnings(spent(steps=10_001), warmup=501)]  # 5 % is 500.05


def test_an_ordinary_run_raises_no_warning():
    ordinary = spent(steps=10_000)
    assert not [
        *budget_warnings(ordinary, warmup=500, train_tokens=700_000_000),
        *proportion(ordinary, PUBLISHED["besiroglu"]),
        *packing(1024, 800),
    ]


@pytest.mark.parametrize(("tokens", "said"), [(300_000_000, "smaller"), (20_000_000_000, "larger")])
def test_far_from_the_tokens_a_parameter_of_a_law_the_better_size_is_said(tokens, said):
    judge = PUBLISHED["besiroglu"]
    (told,) = proportion(spent(tokens=tokens), judge)
    assert f"a {said} model reaches a lower loss" in told
    half_or_twice = spent().parameters * (0.5 if said == "smaller" else 2)
    assert judge.loss(half_or_twice, 6 * spent().parameters * tokens / 6 / half_or_twice) < judge.loss(
        spent().parameters, tokens
    )


def test_what_is_best_by_one_law_is_not_doubted_for_the_rule_of_another():
    own = replace(PUBLISHED["besiroglu"], name="own", A=48.2, vocab=257)  # its best sizes are far smaller
    size, tokens = own.optimum(2e18)
    plan = spent(parameters=round(size), tokens=round(tokens))
    assert tokens / size > 4 * 20
    assert not [*proportion(plan, own)]


def test_short_documents_in_long_sequences_are_doubtful():
    (told,) = packing(1024, 200)
    assert told.startswith("model.context=1,024 holds 5 documents of 200 tokens on average")


def test_the_plan_of_a_small_run(composed):
    told = whole(composed("steps=200", "precision=auto"), hardware="h100", price=2.0)
    for label in ("model", "run", "loss", "memory", "time"):
        assert f"\n{label:11}" in f"\n{told}"
    assert "200 steps of 256 tokens = 51,200 tokens" in told
    assert " epochs of " in told
    assert "a model so small" in told
    assert "counted as on cpu, in bfloat16" in told


def test_what_costs_more_than_is_counted_is_said(composed, monkeypatch):
    monkeypatch.setattr("gptx.plan.recipe.prediction", lambda *_: "not known")
    told = whole(composed("memory=recompute"), devices=2, vocab="257")
    assert "memory=recompute computes the blocks again: up to a third more than these times" in told
    assert "without the buckets of parallel=ddp" in told
    told = whole(composed(), vocab="257")
    assert "recompute" not in told
    assert "buckets" not in told


def test_a_plan_fetches_no_data_and_says_how_to_do_without(composed, monkeypatch, tmp_path):
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args) or [])
    cfg = composed()
    cfg.data = {"_target_": "gptx.ingredients.data.corpora.shakespeare", "path": None, "tokenizer": "bytes", "context": 32,
                "seed": 0, "validation": 0.1, "order": "shuffled"}  # fmt: skip
    with pytest.raises(ConfigError, match="data: it is not here, and a plan fetches nothing; vocab=257 plans without"):
        whole(cfg)
    assert not asked
    socket.getaddrinfo("gptx.invalid", 80)  # the network is back
    assert asked


@pytest.mark.parametrize(("words", "message"), [
    ("devices=²", "devices: '²' is not a valid int"),
    ("vocab=²", "vocab=²: a number above 0, such as 50257"),
    ("vocab=10000001", "vocab=10000001: a whole number of at most 10,000,000"),
    ("devices=0", "devices=0: how many there are, at least 1"),
    ("devices=3", "devices=3: batch.tokens=.* is not a multiple of"),
    ("price=2.5", "price=2.5: of which device"),
    ("price=dear hardware=h100", "price: 'dear' is not a valid float"),
    ("price=-1 hardware=h100", "price=-1.0: the price of one device for an hour"),
    ("hardware=h1000", "hardware=h1000: no such device; did you mean 'h100'"),
    ("probe=yes", "probe: 'yes' is not true or false"),
    ("law=chinchila", "law=chinchila: no such law or file"),
    ("vocab=many", "vocab=many: a number above 0"),
])  # fmt: skip
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(SystemExit, match=message) as error:
        main(["vocab=257"] * ("vocab" not in words) + words.split())
    assert "\n" not in str(error.value)
