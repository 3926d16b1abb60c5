"""Every option composes, builds and takes a step; every mistake gets one line that helps."""

import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gptx.config import command_line, compose, groups, paths, presets, rules, validate
from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS, ROWS, VALUES, decides
from gptx.config.keys import differences, recipe, slug
from gptx.estimate.capacity import examined
from gptx.sweeps import jobs
from gptx.trainer import Trainer

CONF = Path(paths.CONF)
OPTIMIZERS = ", ".join(sorted(file.stem for file in (CONF / "optim").glob("*.yaml")))
BIG = {
    "llama_124m",
    "gpt_10m",
    "gpt2_124m",
    "gpt2_350m",
    "gpt2_774m",
    "gpt2_1558m",
}  # built in test_model on the meta device
ELSEWHERE = {
    "data=stdlib",
    "data=shakespeare",
    "data=mixture",
    "data=hub",
    "data=tinystories",
    "data=openwebtext",
    "data=fineweb_edu",
    "data=wikitext",
    "inject=poisoned",
    "precision=tf32",
    "precision=fp8",
    "log=wandb",
    "inject=loss_jump",
}  # need a download, a GPU, or have tests of their own
OPTIONS = sorted(f"{f.parent.name}={f.stem}" for f in CONF.glob("*/*.yaml") if f.parent.name != "hydra")


def chosen(option):
    group, name = option.split("=")
    return f"{group}=[{name}]" if GROUPS[group].several else option


def observing(name):
    """Overrides that let every observer of an option look at every update."""
    names = [name] if name in ("validation", "all") else ["validation", name]
    if name == "lr_range":  # which ends the run, and must do so before the last look
        names.reverse()
    keys = [
        key for stem in names for key, node in OmegaConf.load(CONF / f"observe/{stem}.yaml").items() if "every" in node
    ]
    return [f"observe=[{','.join(names)}]", *(f"observe.{key}.every=1" for key in keys)]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o not in ELSEWHERE and o.split("=")[1] not in BIG])
def test_every_option_makes_three_updates(build, option):
    if option == "compile=compiled":
        pytest.skip("tests/ingredients/test_checkpoints.py compiles")
    if option.startswith("model="):
        trainer = build(option, "model.context=32")
    elif option.startswith("observe="):
        trainer = build(*observing(option.removeprefix("observe=")))
    elif option.startswith("log="):
        trainer = build(f"log=[{option.removeprefix('log=')}]")
    else:
        trainer = build(option)
    trainer.steps = 3
    trainer.fit()
    assert trainer.step == 3
    assert 0 < trainer.latest["train/loss"] < 10


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_does_and_why(option):
    group, name = option.split("=")
    text = (CONF / group / f"{name}.yaml").read_text()
    assert text.startswith("#") or "#" in text, f"{option} has no comment"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_fits_the_signature_it_names(option):
    needed = {
        "data=text": "data.path=x",
        "data=mixture": "data.sources.text.path=x",
        "data=hub": "data.dataset=x",
        "inject=poisoned": "inject.documents=x",
    }
    extra = [needed[option]] if option in needed else []
    validate.check(compose.composed([chosen(option), *extra]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+optim.lrr=1", "optim.lrr: no such key; did you mean 'optim.lr'?"),
        (
            "+schedule.warmpu=3",
            "schedule.warmpu: no such key; did you mean 'schedule.warmup'?",
        ),
        (
            "+observe.validation.evry=3",
            "observe.validation.evry: no such key; did you mean 'observe.validation.every'?",
        ),
        ("+stepz=1", "stepz: no such key; did you mean 'steps'?"),
        ("question={vry: optim}", "question.vry: no such key; there are vary, best_over, per, baseline, at"),
        ("question={vary: optm}", "question.vary=optm: no such key; did you mean 'optim'?"),
        (
            "question={best_over: [optim.lr, parametrization.rates.al]}",
            "question.best_over=parametrization.rates.al: no such key; did you mean 'parametrization.rates.all'?",
        ),
        ("question={per: 'seed, nonsense.key'}", "question.per=nonsense.key: no such key"),
        ("optim.lr=fast", "optim.lr: 'fast' is not a valid"),
        ("model.width=wide", "model.width: 'wide' is not a valid int"),
        ("model.width=12.5", "model.width: 12.5 is not a valid int"),
        ("optim.betas=[0.9]", r"optim.betas\[1\]: "),
        ("steps=many", "steps: 'many' is not a length; write a number of steps"),
        ("schedule.warmup=0.02", "schedule.warmup: 0.02 is not a length; write .*2%"),
        ("seed=a", "seed: 'a' is not a valid int"),
        ("steps=0", "steps=0: a run makes at least 1 step"),
        ("steps=10%", "steps: 10% of what"),
        ("threads=0", "threads=0: at least 1"),
        ("name=../x", r"name='../x': a folder below runs/"),
        ("name=/tmp/x", "name='/tmp/x': a folder below runs/"),
        ("overwrite=maybe", "overwrite: 'maybe' is not true or false"),
        ("~schedule.total", "schedule.total: required by gptx.ingredients.schedule.cosine and not set"),
        ("data.path=???", "data.path: a value is needed; set data.path=..."),
        ("model.width=${data.wdth}", "model.width: Interpolation key 'data.wdth' not found"),
        ("optim._target_=os.system", "optim._target_: os.system is not in an allowed package .* allow_targets="),
        ("optim._target_=gptx.train.os.system", "gptx.train.os.system is nothing that conf/optim offers; known"),
        ("optim._target_=torch.load", "torch.load is not in an allowed package"),
        ("optim._target_=torch.optim.AdanW", "torch.optim has no AdanW; did you mean 'AdamW'?"),
        ("clip._target_=gptx.clipp.global_norm", "conf/clip offers; did you mean 'gptx.ingredients.clip.global_norm'?"),
    ],
)
def test_a_mistake_gets_one_line_that_names_the_key(composed, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        composed(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch.tokens=500"], "batch.tokens=500 is not a multiple of .* nearest that work: 384 or 512"),
        (["model.heads=5"], "model.heads=5 .* model.width=32"),
        (["schedule.warmup=7"], "schedule: warmup=7 steps is longer than the run, 6 steps"),
        (["model.context=4096", "batch.tokens=4096", "batch.micro=1"], "data: .*4,097"),
        (["device=cuda:77"], "device=cuda:77 is not there"),
        (["device=toaster"], "device=toaster is not there; this machine has cpu"),
        (["precision=tf32"], "precision=tf32 needs an NVIDIA GPU"),
        (["schedule.floor=-0.1"], "schedule.floor=-0.1: a share of the peak learning rate, from 0 to 1"),
        (["schedule=wsd", "schedule.floor=1.5"], "schedule.floor=1.5: a share of the peak learning rate"),
        (["clip.max_norm=0"], "clip.max_norm=0.*: above 0"),
        (["clip=scratch", "clip.max_norm=-1"], "clip.max_norm=-1.*: above 0"),
        (["optim=lion", "optim.betas=[2,0.9]"], r"optim.betas\[0\]=2.0: from 0 to below 1"),
        (["optim=muon", "optim.momentum=1.5"], "optim.momentum=1.5: from 0 to below 1"),
        (["optim=schedule_free", "schedule=constant", "optim.betas=[0,0.9]"], r"optim.betas=\[0.*above 0 and below 1"),
        (["optim.lr=inf"], "optim.lr: inf is not finite; numbers must be"),
        (["parametrization.rates.all=inf"], "parametrization.rates.all: inf is not finite"),
        (["precision=fp8"], "precision=fp8 needs an NVIDIA GPU of compute capability 8.9; on cpu use bf16"),
        (["precision=bf16_pure", "optim=schedule_free", "schedule=constant"], "bf16_pure keeps no average"),
        (
            ["batch=growing", "batch.doublings=1", "steps=1ktok"],
            "steps=1ktok: tokens are no clock for a batch that grows",
        ),
        (["batch=growing", "batch.doublings=1", "optim.beta2_half_life_tokens=100"], "beta2 is one for the whole run"),
        (["batch=growing", "batch.rule=cubic"], "batch.rule: 'cubic' is not a valid"),
        (["batch.micro=some"], "batch.micro.*: 'some' is not a valid"),
        (["from=nowhere"], "from=nowhere: no checkpoint there"),
        (
            ["precision.compute=int8"],
            r"precision.compute: 'int8' is not a valid choice of \['fp32', 'bf16', 'fp16', 'fp8', 'auto'\]",
        ),
        (["optim.lr=-1"], "optim.lr=-1.0: 0 or more"),
        (["checkpoints.keep=0"], "checkpoints.keep=0"),
        (["model.context=0"], "model.context=0: at least 1"),
        (["model.depth=0"], "model.depth=0"),
        (["model.width=0"], "model.width=0"),
        (["model.vocab_multiple=0"], "model.vocab_multiple=0"),
        (["batch.micro=0"], "batch.micro=0: at least 1"),
        (["batch.tokens=0", "schedule.warmup=1ktok"], "batch.tokens=0: a number of tokens"),
        (["observe.validation.windows=0"], "observe.validation.windows=0: at least 1"),
        (["objective.z_loss=-1"], "objective.z_loss=-1.0: at least 0"),
        (["objective=chunked", "objective.chunk=0"], "objective.chunk=0: at least 1"),
        (["memory=recompute", "memory.every=0"], "memory.every=0: at least 1"),
        (["model.dropout=1.5"], "model.dropout=1.5: at least 0, below 1"),
        (["model.norm=batchnorm"], r"model.norm: 'batchnorm' is not a valid choice of \['layernorm', 'rmsnorm'\]"),
        (["data.tokenizer=words"], "words"),
        (["data.path=nowhere.txt"], "nowhere.txt"),
    ],
)
def test_values_that_cannot_work_together_are_refused_in_one_line(build, composed, overrides, message):
    def start():
        rules.examine(composed(*overrides), 1)
        build(*overrides)

    with pytest.raises(ConfigError, match=message) as caught:
        start()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.lrr=1"], "optim.lrr: no such key; did you mean 'optim.lr'?"),
        (
            ["observe.validation.evry=1"],
            "observe.validation.evry: no such key; did you mean 'observe.validation.every'?",
        ),
        (["stesp=1"], "stesp: no such key; did you mean 'steps'?"),
        (
            ["optim=adamm"],
            f"optim=adamm: no such option; did you mean 'adamw'? Options: {OPTIMIZERS}$",
        ),
        (["schedule=zzz"], "schedule=zzz: no such option; Options: constant, cosine"),
        (["steps", "60"], "'steps' is no override; write key=value, such as steps=60"),
        (["observe=[foo]"], "observe=\\[foo\\]: no such option; Options: activations"),
        (["optin=adamw"], "optin: no such (key|ingredient); did you mean 'optim'?"),
    ],
)
def test_what_hydra_refuses_is_told_in_one_line_with_the_nearest_right_word(words, message):
    with pytest.raises(ConfigError) as caught:
        examined(words)
    told = str(caught.value)
    assert re.search(message.replace("?", r"\?"), told), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim", "sgd", "optim: expected an object with a _target_, got 'sgd'; choose an option of conf/optim"),
        ("observe", {"mine": {"every": 3}}, "observe.mine: expected an object with a _target_"),
        ("log", {"mine": 3}, "log.mine: expected an object with a _target_, got 3"),
        ("model", None, "model: expected an object"),
    ],
)
def test_an_ingredient_that_is_no_object_is_refused(composed, key, value, message):
    cfg = composed()
    cfg[key] = value
    with pytest.raises(ConfigError, match=message):
        validate.check(cfg)


def test_a_users_own_class_is_built_once_its_package_is_allowed(composed, build, tmp_path, monkeypatch):
    (tmp_path / "mylib.py").write_text("import torch\nclass Mine(torch.optim.SGD):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = ["optim=sgd", "optim._target_=mylib.Mine"]
    with pytest.raises(ConfigError, match=r"mylib.Mine is not in an allowed package.*allow_targets=\[mylib.\]"):
        composed(*mine)
    assert type(build(*mine, "allow_targets=[mylib.]").optimizer).__name__ == "Mine"


def test_lengths_become_updates_before_anything_is_built(composed):
    cfg = composed("steps=200", "schedule.warmup=5%", "observe.validation.every=512tok", "checkpoints.every=25")
    assert (cfg.schedule.warmup, cfg.schedule.total, cfg.observe.validation.every, cfg.checkpoints.every) == (
        10,
        200,
        2,
        25,
    )


def test_a_folder_is_named_after_what_was_changed():
    assert slug([]) == "base"
    assert slug(["seed=1", "optim=sgd"]) == slug(["optim=sgd", "seed=1"]) == "optim=sgd,seed=1"
    assert slug(["name=x", "log=[jsonl]", "batch.micro=4", "hydra.verbose=true"]) == "base"
    assert slug(["batch.micro=4", "seed=1", "steps=9"], ("batch.micro", "seed")) == "batch.micro=4,seed=1"
    assert slug(["data.path=../books/one.txt"]) == "data.path=one.txt"
    assert len(slug(["x=" + "y" * 300])) <= 120
    assert slug(["x=" + "y" * 300]) != slug(["x=" + "y" * 301])


def test_the_recipe_holds_what_is_computed_and_not_how():
    old = {"optim": {"lr": 1.0}, "batch": {"tokens": 8, "micro": 1}, "device": "cpu", "log": {"jsonl": {}}}
    new = {"optim": {"lr": 2.0}, "batch": {"tokens": 8, "micro": 4}, "device": "cuda", "log": None}
    assert differences(recipe(old), recipe(new)) == ["optim.lr was 1.0, is 2.0"]


def test_every_group_of_conf_and_every_root_key_has_a_row_and_no_row_is_left_over():
    folders = {folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"hydra"}
    root = yaml.safe_load((CONF / "train.yaml").read_text()).keys() - {"defaults"}
    assert set(GROUPS) == folders
    assert set(VALUES) == root
    assert set(inspect.signature(Trainer).parameters) == folders - {"sweep"} | {"steps", "seed"}
    assert set(presets.defaults()) == folders


def test_what_a_key_decides_is_said_by_the_longest_key_above_it():
    assert decides("optim", "speed")
    assert not decides("optim.lr", "speed", "state", "digits")
    assert decides("model.width", "weights")
    assert not decides("model.mask", "weights")
    assert decides("batch.tokens", "batches")
    assert [key for key in ("batch.micro", "log.wandb.mode", "device", "experiment", "hydra/launcher", "optim")
            if decides(key, "result")] == ["optim"]  # fmt: skip
    words = {word for row in ROWS for text in (row.decides, *row.but.values()) for word in text.split()}
    assert words == set(re.findall(r"^(\w+)  ", groups.__doc__, re.MULTILINE))


SIGNS = ["长", "é", "a", "=", " ", "'", "[x]", "\U0001f680", "\udcff", ","]


def test_a_folder_s_name_fits_on_every_disk_whatever_its_signs_and_short_ones_are_as_they_were():
    for sign in SIGNS:
        for length in (1, 30, 70, 100, 119, 130, 300):
            name = slug([f"data.path='in/{sign * length}.txt'", "steps=3"])
            assert len(name.encode()) <= 255
            assert len(f"000,{slug([f'a={sign * length}'], ('a',), room=251)}".encode()) <= 255
            assert name != slug([f"data.path='in/{sign * (length + 1)}.txt'", "steps=3"])
    assert slug([f"data.path={'长' * 70}"]) == f"data.path={'长' * 70}"  # 220 bytes
    assert slug(["x=" + "y" * 300]) == "x=" + "y" * 108 + "-3a195b4b"


def test_two_texts_of_the_same_name_in_one_sweep_have_folders_of_their_own():
    lines = [["seed=0", f"data.path={folder}/x.txt"] for folder in ("a", "b")]
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": []}}})
    jobs.name_folders(config, lines)
    assert config.hydra.overrides.hydra == ["hydra.sweep.subdir=${gptx.whole_slug:data.path}"]
    assert [slug(line, ("data.path",), whole=True) for line in lines] == ["data.path=a_x.txt", "data.path=b_x.txt"]


@pytest.mark.parametrize("option", ["--config-dir {}", "--config-dir={}", "-cd {}", "hydra.searchpath=[file://{}]"])
@pytest.mark.parametrize("name", ["optim/adamw", "experiment/shakespeare_char", "train", "hydra/job_logging/default"])
def test_a_config_of_one_s_own_that_has_a_shipped_name_is_refused_and_another_is_not(tmp_path, option, name):
    words = option.format(tmp_path).split(" ")
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim/mine.yaml").touch()
    command_line.refuse_shadowed(words)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / f"{name}.yaml").touch()
    with pytest.raises(ConfigError, match=rf"{name}.yaml: Hydra would take .*(conf|experiments)/.*another name"):
        command_line.refuse_shadowed(words)
    command_line.refuse_shadowed(["--config-dir", paths.CONF])


@pytest.mark.parametrize("word", ['name="${"', 'optim.lr="${a"', 'model.positions="x ${oc.env:"'])
def test_a_broken_interpolation_is_named_as_such(word):
    with pytest.raises(HydraException) as caught:
        compose.composed([word])
    told = str(command_line.explained(caught.value, [word]))
    assert told.startswith(f"{word.partition('=')[0]}: not an interpolation that can be")


OWN = {  # a folder of one's own, as somebody who has not read the source would write it
    "mylib.py": """
        import torch
        class Mine(torch.optim.SGD):
            def __init__(self, params, lr=1e-3, sharpness=0.5):
                super().__init__(params, lr)
        class Look:
            def __init__(self, *, every: int): ...
        """,
    "optim/whole.yaml": "_target_: mylib.Mine\nlr: 1e-3",
    "optim/mine.yaml": "_target_: mylib.Mine\n_partial_: true\nlr: 1e-3",
    "observe/look.yaml": "_target_: mylib.Look\nevery: 3",
    "experiment/copied.yaml": (paths.ROOT / "experiments/warmup/experiment.yaml").read_text(),
    "experiment/bare.yaml": (paths.ROOT / "experiments/warmup/experiment.yaml").read_text().partition("\n")[2],
}
TRUSTED = "optim=mine", "allow_targets=[mylib.]"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """own("optim=mine"): the configs of the words, with a folder of one's own."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mylib", raising=False)  # of another test
    return lambda *words: examined(["--config-dir", str(tmp_path), *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lr=1e-3"], "lr: no such key; did you mean 'optim.lr'?"),
        (["optim.learning_rate=1e-3"], "optim.learning_rate: no such key; did you mean 'optim.lr'?"),
        (["optim.wd=0"], "optim.wd: no such key; did you mean 'optim.weight_decay'?"),
        (["batch_size=4"], "batch_size: no such key; did you mean 'batch.tokens'?"),
        (["epochs=3"], "epochs: no such key; did you mean 'steps'?"),
        (["max_iters=3"], "max_iters: no such key; did you mean 'steps'?"),
        (["n_layer=3"], "n_layer: no such key; did you mean 'model.depth'?"),
        (["model.n_head=3"], "model.n_head: no such key; did you mean 'model.heads'?"),
        (["n_embd=3"], "n_embd: no such key; did you mean 'model.width'?"),
        (["block_size=3"], "block_size: no such key; did you mean 'model.context'?"),
        (["width=3"], "width: no such key; did you mean 'model.width'?"),
        (["+lr=1e-3"], "lr: no such key; did you mean 'optim.lr'?"),
        (["guard.zzz=1"], "guard.zzz: no such key; gptx.ingredients.guard.doctor.Doctor has detector, "),
        (["data.path=x"], "data.path: no such key; add data=text"),
        (["schedule=constant", "schedule.floor=1"], "schedule.floor: no such key; add schedule=cosine, linear, range_test or wsd"),
        (["observe.samples.every=3"],
         "observe.samples: expected an object with a _target_, got {'every': 3}; add observe=[validation,samples]"),
        (["optim=sgd", "optim.dampenign=1"], "optim.dampenign: no such key; did you mean 'optim.dampening'?"),
        (["optim=sgd", "optim._target_=torch.optim.Adagrad", "optim.nesterov=true"],
         "optim.momentum: no such key; torch.optim.Adagrad has params, lr,"),
        ([*TRUSTED, "optim.sharpnes=1"], "optim.sharpnes: no such key; did you mean 'optim.sharpness'?"),
        ([*TRUSTED, "+optim.sharpnes=1"], "optim.sharpnes: no such key; did you mean 'optim.sharpness'?"),
        (["optim=whole", TRUSTED[1]], "optim: mylib.Mine needs 'params', which gptx gives it later; add _partial_: true"),
        (["optim=mine", "allow_targets=mylib."],
         "allow_targets: 'mylib.' is not a valid list[str]; write allow_targets=[mylib.]"),
        (["observe=[look]", TRUSTED[1]], "observe._target_: expected an object with a _target_, got 'mylib.Look'; choose an option of conf/observe, which stands"),
        (["batch.tokens=abc"], "batch.tokens: 'abc' is not a valid int"),
        (["optim=adamv"], "optim=adamv: no such option; did you mean 'adamw'? Options: adafactor, adam_l2,"),
        (["experiment=zzz"], "experiment=zzz: no such option; Options: ablation, accumulation,"),
    ],
)  # fmt: skip
def test_a_natural_mistake_gets_its_cure(own, words, told):
    with pytest.raises(ConfigError) as caught:
        own(*words)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert "_target_'?" not in str(caught.value)


def test_an_argument_that_the_file_of_an_option_leaves_out_is_set_like_any_other(own):
    assert own("optim=sgd", "optim.dampening=0.5")[""].optim.dampening == 0.5
    assert own(*TRUSTED, "optim.sharpness=2")[""].optim.sharpness == 2


def test_a_shipped_experiment_can_be_copied_with_and_without_its_header(own):
    copied, bare, shipped = (own(f"experiment={name}")[""] for name in ("copied", "bare", "warmup"))
    assert copied == bare == shipped
    assert own(*TRUSTED, "optim.lr=0.5")[""].optim.lr == 0.5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--lr 1e-3", "--lr: no such option; write optim.lr=1e-3"),
        ("--optim.lr=1e-3 seed=1", "--optim.lr: no such option; write optim.lr=1e-3"),
        ("--batch-size 64", "--batch-size: no such option; write batch.tokens=64"),
        ("-lr 1e-3", "-lr: no such option; write optim.lr=1e-3"),
        ("--foo", "--foo: no such option; values are set by key=value, as in optim.lr=1e-3"),
    ],
)
def test_a_value_that_is_typed_as_an_option_is_told_how_it_is_written(words, told):
    with pytest.raises(ConfigError) as caught:
        command_line.prepared(words.split())
    assert str(caught.value) == told


def test_options_of_hydra_come_before_the_overrides():
    for words in (
        "seed=1 --config-dir x",
        "-m seed=0,1",
        "--cfg job seed=1",
        "--multi seed=0,1",
        "--hydra-help",
        "-cd=x",
    ):
        given = command_line.prepared(words.split())
        assert sorted(given) == sorted(words.split())
        assert given == sorted(given, key=lambda word: "=" in word and not word.startswith("-"))


@pytest.mark.parametrize(
    "words", ["optim.lrr=1", "+optim.lrr=1", "optim=sgd optim.lrr=1", "experiment=gpt2_124m optim.lrr=1"]
)
def test_a_misspelt_key_is_refused_where_cfg_shows_the_config_and_an_option_that_no_file_has_is_not(words):
    with pytest.raises(ConfigError, match=r"^optim.lrr: no such key; did you mean"):
        command_line.prepared(["--cfg", "job", *words.split()])
    shown = ["--cfg", "job", "data=text", *words.replace("lrr", "lr").split()]  # data.path is shown as ???
    assert command_line.prepared(shown) == shown
    assert command_line.prepared(["-c=job", "optim=sgd", "optim.nesterov=true"])
