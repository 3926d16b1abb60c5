"""A mixture gives every source its share, visits its windows once, and is a function of the place in the run."""

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from gptx.config import validate
from gptx.config.build import build
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.mixture import BLOCK, Mixture, apportioned, proportioned
from gptx.runs.same import other_text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path):
    def make(letter: str, *, length: int = 3000, tokenizer: str = "bytes", context: int = 8):
        path = Path(tmp_path / f"{letter}.txt")
        path.write_text(letter * length)
        return text(
            path=str(path),
            validation_path=None,
            column=None,
            tokenizer=tokenizer,
            context=context,
            seed=0,
            validation=0.2,
            order="shuffled",
        )

    return make


@pytest.fixture
def mixture(corpus):
    def make(weights=None, *, seed: int = 0, **options):
        weights = weights or {"a": 0.5, "b": 0.3, "c": 0.2}
        return Mixture(sources={name: corpus(name, **options) for name in weights}, weights=weights, tokenizer="bytes",
                       context=8, seed=seed)  # fmt: skip

    return make


def origins(batch) -> list[str]:
    return [chr(int(row[1])) for row in batch.inputs]


def test_every_block_has_the_shares_of_the_weights_exactly(mixture):
    data = mixture()
    for first in (0, BLOCK, 7 * BLOCK):
        assert Counter(origins(data(first, BLOCK))) == {"a": 500, "b": 300, "c": 200}


@pytest.mark.parametrize(
    "weights", [{"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 0.0014, "b": 0.9986}, {"a": 0.12345, "b": 0.87655}]
)
def test_shares_are_within_one_of_a_block(weights):
    counts = apportioned(list(weights.values()), BLOCK)
    assert counts.sum() == BLOCK
    assert all(abs(count / BLOCK - weight) < 1 / BLOCK for count, weight in zip(counts, weights.values(), strict=True))


def test_the_sources_are_well_mixed_within_a_block(mixture):
    seen = origins(mixture()(0, BLOCK))
    changes = sum(before != after for before, after in itertools.pairwise(seen))
    expected = (1 - 0.5**2 - 0.3**2 - 0.2**2) * BLOCK  # of independent draws
    assert abs(changes - expected) < 4 * (BLOCK * 0.25) ** 0.5


def test_every_sequence_of_a_source_is_taken_once_and_in_its_turn(mixture):
    data = mixture()
    places = data.places(0, 5 * BLOCK)
    for source, count in enumerate((500, 300, 200)):
        numbers = places[places[:, 0] == source][:, 1]
        assert sorted(numbers.tolist()) == list(range(5 * count))
        assert all(
            set(numbers[k * count : (k + 1) * count]) == set(range(k * count, (k + 1) * count)) for k in range(5)
        )


def test_a_sequence_is_that_of_its_source(mixture):
    data = mixture()
    for i, (source, number) in enumerate(data.places(990, 20).tolist()):
        there = list(data.sources.values())[source](number, 1)
        assert torch.equal(data(990 + i, 1).inputs, there.inputs)
        assert torch.equal(data(990 + i, 1).targets, there.targets)


def test_a_batch_is_made_of_smaller_batches_wherever_it_begins(mixture):
    data, resumed = mixture(), mixture()
    for first in (0, 5, BLOCK - 3, 3 * BLOCK - 1):
        whole = data(first, 11)
        parts = resumed(first + 4, 7), resumed(first, 4)
        assert torch.equal(whole.inputs, torch.cat([parts[1].inputs, parts[0].inputs]))
        assert whole.inputs.dtype == torch.int64


def test_the_order_depends_on_the_seed_and_the_block(mixture):
    data = mixture()
    assert origins(data(0, 50)) != origins(mixture(seed=1)(0, 50))
    assert origins(data(0, 50)) != origins(data(BLOCK, 50))


def test_the_order_in_which_sources_are_written_does_not_matter(corpus):
    sources = {name: corpus(name) for name in "ab"}
    options = {"tokenizer": "bytes", "context": 8, "seed": 0}
    one = Mixture(sources=sources, weights={"a": 0.4, "b": 0.6}, **options)
    other = Mixture(sources=dict(reversed(sources.items())), weights={"b": 0.6, "a": 0.4}, **options)
    assert one.identity == other.identity
    assert torch.equal(one(0, 30).inputs, other(0, 30).inputs)


def test_validation_has_the_weights_shares_from_the_beginning_on(mixture):
    data = mixture()
    seen = origins(data.validation(0, data.validation_windows))
    for length in range(1, len(seen) + 1):
        count = Counter(seen[:length])
        assert all(abs(count[name] - weight * length) <= 1.5 for name, weight in data.weights.items())
    assert len(seen) == 2 * data.sources["a"].validation_windows  # a, the half, is the first to be used up
    assert len(set(map(tuple, data.validation_order.tolist()))) == len(seen)


def test_validation_is_the_same_in_one_go_or_in_parts(mixture):
    data = mixture(seed=5)
    whole = data.validation(0, 20)
    assert torch.equal(whole.targets, torch.cat([data.validation(0, 7).targets, data.validation(7, 13).targets]))
    assert torch.equal(whole.inputs, mixture(seed=0).validation(0, 20).inputs)


def test_a_small_source_limits_the_validation_windows():
    order = proportioned([0.5, 0.5], [10, 1000])
    assert np.bincount(order[:, 0]).tolist() == [10, 10]


def test_it_is_one_corpus_to_the_trainer(mixture, tmp_path):
    data = mixture()
    one = data.sources["a"]
    missing = {name for name in dir(one) if not name.startswith("_")} - set(dir(data))
    assert missing <= {
        "catalogue",
        "order",
        "sequences",
        "starts",
        "train_tokens",
        "validation_tokens",
        "train_contents",
        "validation_contents",
        "validation_lengths",
        "hold_out_without",
        "refuse_short",
        "where",
    }  # which no part outside gptx.ingredients.data reads
    assert set(one.identity) <= set(data.identity)
    assert data.identity["train_tokens"] == sum(len(source.train_tokens) for source in data.sources.values())
    data.save_tokenizer(tmp_path / "tokenizer.json")
    assert (tmp_path / "tokenizer.json").exists()
    assert "\n" not in str(data)
    assert "50.0% a (2,401 training tokens" in str(data)


def test_a_source_without_weight_gives_nothing(mixture):
    data = mixture({"a": 1.0, "b": 0})
    assert set(origins(data(0, 100))) == {"a"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 0.5, "b": 0.6}, r"data\.weights: a=0\.5, b=0\.6 add up to 1\.1, not 1"),
        ({"a": 0.5, "b": 0.4}, r"add up to 0\.9, not 1"),
        ({"a": 0.5, "b": 0.3, "z": 0.2}, r"data\.weights\.z=0\.2: no such source; sources: a, b"),
        ({"a": 1.0}, r"data\.weights\.b: a weight is needed for every source; sources: a, b"),
        ({"a": 1.5, "b": -0.5}, r"data\.weights\.b=-0\.5: 0, or at least 0\.001"),
        ({"a": 0.9999, "b": 0.0001}, r"data\.weights\.b=0\.0001: 0, or at least 0\.001"),
    ],
)
def test_weights_that_make_no_sense_are_refused_with_their_sum(corpus, weights, message):
    sources = {name: corpus(name) for name in "ab"}
    with pytest.raises(ValueError, match=message) as caught:
        Mixture(sources=sources, weights=weights, tokenizer="bytes", context=8, seed=0)
    assert "\n" not in str(caught.value)


def test_different_tokenizers_are_refused_with_both_names(corpus):
    for other in ("chars", "bpe:258"):
        with pytest.raises(
            ValueError, match=rf"data\.sources\.b\.tokenizer={other} is not the mixture's data\.tokenizer=bytes"
        ):
            Mixture(sources={"a": corpus("a"), "b": corpus("b", tokenizer=other)}, weights={"a": 0.5, "b": 0.5},
                    tokenizer="bytes", context=8, seed=0)  # fmt: skip


def test_the_same_tokenizer_learnt_from_another_text_is_refused(corpus):
    with pytest.raises(ValueError, match=r"data\.sources\.a and data\.sources\.b have different vocabularies"):
        Mixture(sources={name: corpus(name, tokenizer="bpe:258") for name in "ab"}, weights={"a": 0.5, "b": 0.5},
                tokenizer="bpe:258", context=8, seed=0)  # fmt: skip


def test_another_context_is_refused(corpus):
    with pytest.raises(ValueError, match=r"data\.sources\.b\.context=4 is not the mixture's 8"):
        Mixture(sources={"a": corpus("a"), "b": corpus("b", context=4)}, weights={"a": 0.5, "b": 0.5}, tokenizer="bytes",
                context=8, seed=0)  # fmt: skip


def compose_mixture(words: list[str]):
    cfg = composed(words)
    validate.check(cfg)
    return cfg


def test_the_command_line_mixes_and_adds_sources(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name * 3000)
    more = ["data=mixture", f"data.sources.text.path={tmp_path / 'a.txt'}", "+data@data.sources.more=text",
            f"data.sources.more.path={tmp_path / 'b.txt'}", "+data.weights.more=0.25", "data.weights.text=0.75",
            "data.weights.stdlib=0"]  # fmt: skip
    cfg = compose_mixture(more)
    data = build(cfg.data)
    assert Counter(origins(data(0, BLOCK))) == {"a": 750, "b": 250}
    assert data.context == data.sources["more"].context == cfg.model.context


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+data.sources.text.pth=x", r"data\.sources\.text\.pth: .* did you mean 'data\.sources\.text\.path'"),
        ("data.weights.text=much", r"data\.weights"),
        ("data.sources.text.path=???", r"data\.sources\.text\.path: a value is needed"),
    ],
)
def test_a_mistake_inside_a_source_is_named_before_anything_is_read(override, message):
    with pytest.raises(ConfigError, match=message):
        compose_mixture(["data=mixture", "data.sources.text.path=x", override])


def test_a_mixture_is_the_same_where_a_source_was_renamed_and_another_where_one_was_changed(corpus, tmp_path):
    def mixed(first: str, words: str = "one"):
        path = tmp_path / first
        path.write_text(words * 1000)
        own = text(path=str(path), validation_path=None, column=None, tokenizer="bytes", context=8, seed=0, validation=0.2,
                   order="shuffled")  # fmt: skip
        sources = {"a": own, "b": corpus("b")}
        return Mixture(sources=sources, weights={"a": 0.5, "b": 0.5}, tokenizer="bytes", context=8, seed=0).identity

    one, other = mixed("one.txt"), mixed("other.txt")
    as_ever = {name: {k: v for k, v in part.items() if k != "content"} for name, part in one["sources"].items()}
    text_of_it = json.dumps([as_ever, {"a": 0.5, "b": 0.5}], sort_keys=True)
    assert one["digest"] == hashlib.sha256(text_of_it.encode()).hexdigest()  # of runs before there was a `content`
    assert other_text(one, other) == []
    told = other_text(one, mixed("one.txt", "two"))
    assert [phrase.split()[0] for phrase in told] == ["data.digest", "data.sources.a.digest"]
