"""Every key of the recipe is given every strange value: it is refused in one line that names the key, or it is built."""

import json
import time

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gptx.config import arguments, command_line, compose, validate, values
from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.rules import examine
from gptx.estimate import capacity
from gptx.ingredients.data.rows import jsonl
from gptx.ingredients.model import generate
from gptx.plan.recipe import plan_recipe
from gptx.units import lengths

SMALL = ["model.width=16", "model.depth=1", "model.heads=2", "model.context=16", "batch.tokens=64", "log=[jsonl]",
         "data=text", "device=cpu", "steps=20", "precision=fp32"]  # fmt: skip
VARIANTS = [
    [],
    *([f"optim={name}"] for name in ("adafactor", "adamw_scratch", "sgd", "muon", "lion")),
    ["optim=schedule_free", "schedule=warmup"],
    *([f"schedule={name}"] for name in ("linear", "wsd", "inverse_sqrt", "range_test", "warmup")),
    *([f"inject={name}"] for name in ("drift", "loss_jump", "lr_bug", "nan_gradient")),
    ["inject=poisoned", "inject.documents=x"],
    ["guard=rollback"],
    ["batch=growing"],
    ["batch=short_first"],
    ["observe=[all,noise_scale,second_moment,target,parses,lr_range,custom]"],
    ["log=[console,jsonl,wandb,postmortem]"],
    ["memory=recompute", "compile=compiled", "parallel=fsdp", "objective=chunked", "parametrization=mup"],
]
STRANGE = [0, -1, 1, 0.5, 1e-300, 1e300, 10**10, 2**62, 2**63, 10**30, "1e9999", float("nan"), float("inf"), "", " ",
           "x\ny", "101%", "1e9999tok", "-5%", "0-3", None, True, [], {}, [1], {"a": 1}, "y" * 5000, "a\x1b[31mb"]  # fmt: skip
FEW = [-1, 1e-300, 10**10, 10**30, float("nan"), "x\ny", "1e9999tok", "0-3", True, [1], {"a": 1}]


HERE = capacity.within_room(capacity.this_machine, 1)


def in_room(room: capacity.Room):
    return capacity.within_room(lambda device: room, 1)


def composed(*words: str) -> DictConfig:
    return compose.composed([*SMALL, *words])


def keys(node, path: str = ""):
    """Every key of the config, groups and list items included."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in inside:
        here = f"{path}[{name}]" if isinstance(node, list) else f"{path}.{name}".lstrip(".")
        if name != "_target_":
            yield here
            yield from keys(child, here)


def tried(cfg: DictConfig) -> str:
    """What a run of the config would be refused with before its data is read; "" where it is not."""
    try:
        examine(cfg, 1, HERE)
        for name in ("parallel", "inject", "compile"):
            build(cfg[name])
    except ConfigError as error:
        return str(error)
    return ""


def matrix(variants, strange, corpus, each: int) -> list[str]:
    """Complaints about complaints: of every key of the variants that none before it has, with `each` of the values in
    turn, so that neighbouring keys have other ones."""
    wrong, seen = [], set()
    for words in variants:
        base = composed(f"data.path={corpus}", *words)
        targets = {str(name): OmegaConf.select(base, f"{name}._target_") if base[name] else "" for name in base
                   if OmegaConf.is_dict(base[name])}  # fmt: skip
        for key in keys(OmegaConf.to_container(base)):
            group = key.split(".")[0].split("[")[0]
            if (key, targets.get(group)) in seen:
                continue
            seen.add((key, targets.get(group)))
            first = len(seen) * each
            for value in (strange[(first + i) % len(strange)] for i in range(each)):
                cfg = base.copy()
                try:
                    with open_dict(cfg):
                        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
                except OmegaConfBaseException:
                    continue
                started = time.process_time()
                told = tried(cfg)
                case = f"{key}={value!r:.40}: {told[:200]!r}"
                if time.process_time() - started > 2:
                    wrong.append(f"slow: {case}")
                if told and (not told.isprintable() or len(told) > 6000):
                    wrong.append(f"not one line: {case}")
                if told and key.split(".")[-1].split("[")[0] not in told and group not in told:
                    wrong.append(f"without the key: {case}")
    return wrong


def test_a_strange_value_is_refused_in_one_line_that_names_the_key(corpus):
    assert matrix(VARIANTS[:1], FEW, corpus, each=1) == []


@pytest.mark.slow
def test_every_strange_value_of_every_ingredient_is_refused_in_one_line_or_built(corpus):
    assert matrix(VARIANTS, STRANGE, corpus, each=2) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.width=10000000000"], "model.width=10000000000: .* parameters, .* this machine's cpu has "),
        (["model.width=30000"], "model.width=30000: .* take .* of memory"),
        (["model.vocab_multiple=10000000000"], "model.vocab_multiple=10000000000: "),
        (["model.context=1000000000", "batch.tokens=1000000000"], "model.context=1000000000: "),
        (["model.depth=1000000000"], "model.depth=1000000000: "),
        (["model.depth=20000"], "model.depth=20000: at least 1, at most 10,000"),
        (["batch.tokens=4611686018427387904"], "batch.tokens=4611686018427387904: "),
        (["batch.tokens=64e14"], "batch.tokens=6400000000000000: at most 1,000,000,000,000"),
        (["batch.tokens=640.5"], "batch.tokens: 640.5 is not a valid int"),
        (["batch.micro=1e10"], "the nearest that work: 160000000000, or batch.micro=4"),
        (["batch.micro=1e7", "batch.tokens=16e7"], "batch.micro=10000000: .* of memory"),
        (["threads=1e11"], "threads=100000000000: at least 1 and at most 1,024"),
        (["schedule.warmup=1e9999tok"], "schedule.warmup: '1e9999tok' is more than"),
        (["schedule.warmup=101%"], "schedule.warmup: 101%: .* at most 100%"),
        (["data.tokenizer=bpe:99999999999999999999"], "tokenizer=bpe:9+: a size from 257, .* to 10,000,000"),
        (["compile=compiled", "compile.mode=x"], "compile.mode: 'x' is not a valid .*max-autotune"),
        (["observe=[validation,samples]", "observe.samples.temperature=1e-300"], "temperature=1e-300: "),
        (["observe=[validation,samples]", "observe.samples.temperature=1e-9"], "temperature=1e-09 must be 0"),
        (["observe=[validation,samples]", "observe.samples.length=10000000000"], "length=10000000000 .* at most"),
        (["+optim._args_=5"], "optim._args_: "),
        (["+optim._convert_=banana"], "optim._convert_: "),
        (["+guard.detector._recursive_=false"], "guard.detector._recursive_: "),
        (["optim._partial_=banana"], "optim._partial_='banana': true or false"),
        (["+data._partial_=true"], "data._partial_=true: an object"),
        (["+guard.detector._partial_=true"], "guard.detector._partial_=true: an object"),
        (["+observe.validation._partial_=true"], "observe.validation._partial_=true: an object"),
        (["batch.tuned_at=0"], "batch.tuned_at=0: "),
        (["batch=growing", "batch.doublings=1", "batch.growth=1000"], "batch.growth=1000 is longer than the run, steps=20"),
        (["optim.eps=0"], "optim.eps=0.0: above 0"),
        (["optim=sgd", "optim.momentum=1"], "optim.momentum=1.0: from 0 to below 1"),
        (["optim=schedule_free", "schedule=warmup", "optim.weight_decay=-1"], "optim.weight_decay=-1.0: 0 or more"),
        (["seed=-1"], "seed=-1: a seed is a whole number from 0"),
        (["seed=0-3"], r"seed: '0-3' is not a valid int; write seed=0,1,2,3 or seed=range\(0,4\), with --multirun"),
        (["seed='0:3'"], "write seed=0,1,2,3"),
        (["model.depth=2..400"], r"model.depth: .*; write model.depth=range\(2,401\), with --multirun"),
        (["model.softcap=None"], "model.softcap=None: write null"),
        (["data.column=None"], "data.column=None: write null"),
        (["model.depth=true"], "model.depth=true: a number, not true or false"),
        (["name=' '"], "name=' ': a folder"),
        (["from=" + "y" * 300], "from=y"),
    ],
)  # fmt: skip
def test_a_value_without_a_meaning_is_refused(corpus, words, message):
    with pytest.raises(ConfigError, match=message) as caught:
        examine(composed(f"data.path={corpus}", *words), 1, HERE)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\tb", "a\x1b[2Jb", "a\x7fb", "a\x85b"])
def test_a_name_is_one_line(corpus, name):
    cfg = composed(f"data.path={corpus}")
    cfg.name = name
    with pytest.raises(ConfigError, match=r"name: .* has a control character"):
        validate.check(cfg)


def test_a_prompt_may_have_lines(corpus):
    cfg = composed(f"data.path={corpus}", "observe=[validation,samples]")
    cfg.observe.samples.prompt = "def x():\n\treturn"
    validate.check(cfg)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model={}", "'model={}': the name of an option alone is needed, as in model="),
        ("model=[nano]", "as in model=nano; options: gpt2_124m, "),
        ("model=../model/nano", "as in model=nano; "),
        ("optim=adamw.yaml", "as in optim=adamw; "),
        ("optim=''", "the name of an option alone"),
        ("model=null", "as in model="),
        ("observe=null", r"as in observe=\["),
        ("observe=[../observe/validation]", r"as in observe=\[validation\]; "),
        ("observe=[[validation]]", "the name of an option alone"),
        ("observe=[validation,validation]", r"observe=\[validation,validation\]: validation is there twice"),
        ("log=[jsonl,console,jsonl]", "jsonl is there twice"),
    ],
)
def test_a_group_takes_the_name_of_an_option_and_nothing_else(word, message):
    with pytest.raises(ConfigError, match=message):
        command_line.refuse_choices([word])


def test_what_chooses_options_is_left_alone():
    command_line.refuse_choices(["model=nano", "observe=[]", "observe=validation", "log=[jsonl]", "~guard", "optim=adamw,sgd",
                          "+experiment=x", "model.width=64", "optim.betas=[0.9,0.9]"])  # fmt: skip


def test_a_submitted_job_is_held_to_the_memory_that_it_asks_for(corpus):
    cfg = composed(f"data.path={corpus}", "model.width=4096")
    launcher = OmegaConf.create({"mem_gb": 1, "gpus_per_node": None, "gres": None})
    with pytest.raises(ConfigError, match=r"model.width=4096: .* take .* hydra.launcher.mem_gb has 1.07 GB"):
        examine(cfg, 1, in_room(capacity.asked(launcher, "auto")))
    for change in ({"mem_gb": None}, {"gpus_per_node": 1}, {"gres": "gpu:1"}, {"mem_gb": 64}):
        examine(cfg, 1, in_room(capacity.asked(OmegaConf.merge(launcher, change), "auto")))
    examine(cfg, 1, in_room(capacity.asked(launcher, "cuda")))


def test_what_the_optimizer_and_activations_need_is_predicted_where_arithmetic_comes_near(corpus):
    cfg = composed(f"data.path={corpus}", "model.width=512", "model.depth=4")  # 12.7M parameters
    examine(cfg, 1, in_room(capacity.Room(250e6, "a small machine", cpu=True)))
    with pytest.raises(ConfigError, match=r"take 2[01][0-9] MB of memory; a small machine has 150 MB"):
        examine(cfg, 1, in_room(capacity.Room(150e6, "a small machine", cpu=True)))  # weights and gradients alone fit


def test_a_users_own_model_is_counted_as_it_is_built(corpus, tmp_path, monkeypatch):
    (tmp_path / "ownmodel.py").write_text(
        "import torch\nclass Deep(torch.nn.Module):\n    def __init__(self, *, vocab_size: int, layers: int):\n"
        "        super().__init__()\n"
        "        self.layers = torch.nn.ModuleList(torch.nn.Linear(4000, 4000) for _ in range(layers))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = composed(f"data.path={corpus}", "allow_targets=[ownmodel.]", "data.context=16")
    cfg.model = {"_target_": "ownmodel.Deep", "_partial_": True, "layers": 1_000_000_000}
    with pytest.raises(ConfigError, match=r"model: more than .* parameters"):
        examine(cfg, 1, in_room(capacity.Room(1e9, "a small machine")))


@pytest.mark.parametrize("word", ["model.width=10000000000", "model.depth=1000000000", "batch.micro=1e10",
                                  "batch.tokens=4611686018427387904", "seed=0-3", "model=[nano]"])  # fmt: skip
def test_a_plan_refuses_them_too(word):
    with pytest.raises(SystemExit, match="error: ") as caught:
        arguments.call(plan_recipe, ["vocab=257", word])
    assert word.split("=")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_is_for_larger_machines_too(capsys):
    arguments.call(plan_recipe, ["vocab=257", "model.width=30000", "model.heads=30"])
    assert "larger than any listed hardware" in capsys.readouterr().out


@pytest.mark.slow
def test_a_wrong_option_of_a_sweep_is_told_as_that_of_a_run(command):
    found = command("train", "--multirun", "schedule=cosine,constnat")
    assert "schedule=constnat: no such option; did you mean 'constant'?" in found.stderr
    assert "search" not in found.stderr.lower()


@pytest.mark.parametrize("length", ["100.01%", "1e999tok", "9" * 400 + "%", "9" * 400 + "Ttok", 2**60, -1])
def test_a_length_ends(length):
    with pytest.raises(ValueError, match=r"more than|at most 100%|negative"):
        lengths.in_steps(length, steps=10, tokens=64)


def test_a_text_ends_and_has_a_temperature():
    for temperature, length, words in ((1e-300, 1, "temperature"), (1e9, 1, "temperature"), (0.8, 10**12, "length")):
        with pytest.raises(ValueError, match=words):
            generate.refuse_sampling(temperature, None, None, [0], length)
    generate.refuse_sampling(0, None, None, [0], 500)


def test_a_row_of_ten_thousand_brackets_is_named(tmp_path):
    file = tmp_path / "deep.jsonl"
    file.write_text(json.dumps({"text": "x"}) + "\n" + '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(ValueError, match=r"deep.jsonl line 2 is not JSON that can be read"):
        list(jsonl(file, "text"))


def test_arguments_of_commands_obey_the_same_rules():
    def command(*, seed: int = 0, share: float = 0.5, number: int | None = None, word: str = ""):
        """Does nothing."""

    for wrong in (
        "seed=-1",
        "seed=0-3",
        "share=1e-300",
        "share=nan",
        "number=1" + "0" * 30,
        "number=1..3",
        "word=a\nb",
    ):
        with pytest.raises(ConfigError, match=wrong.split("=")[0]):
            arguments.parse(command, [wrong])
    assert values.typed_value("3", int, "number") == 3


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("seed=" + "9" * 5000, "seed: a number of more than 4,300 digits"),
        ("observe=null", "'observe=null': the name of an option alone is needed, as in observe=["),
        ("optim=", "optim=: no such option"),
    ],
)
def test_what_hydra_says_without_the_key_is_said_with_it(word, told):
    with pytest.raises(Exception, match=r".") as caught:
        composed(word)
    assert str(command_line.explained(caught.value, [word])).startswith(told)
