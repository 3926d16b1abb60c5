"""The loss against formulas and PyTorch's own, its gradients in float64, and what it holds in memory."""

import gc
import math
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gptx.ingredients import memory
from gptx.ingredients.model.gpt import GPT
from gptx.ingredients.objective import NextToken, next_token

SHAPES = [{}, {"tied": False, "softcap": 2.0}, {"vocab_multiple": 1}]


def network(dtype=torch.float64, **changes) -> GPT:
    """A model whose logits are far from uniform."""
    torch.manual_seed(0)
    model = GPT(**{"vocab_size": 65, "context": 8, "width": 16, "depth": 1, "heads": 2} | changes).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model


def tokens(rows: int = 3) -> SimpleNamespace:
    drawn = torch.randint(65, (rows, 9), generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(inputs=drawn[:, :-1], targets=drawn[:, 1:])


def loss_and_gradients(objective, model, batch) -> list:
    model.zero_grad()
    loss = objective(model, batch)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters())]


def test_it_is_minus_the_log_of_the_probability_of_the_next_token():
    model, batch = network(), tokens()
    shares = model(batch.inputs).softmax(-1)
    picked = [shares[b, t, batch.targets[b, t]].log() for b in range(3) for t in range(8)]
    assert next_token(model, batch).item() == pytest.approx(-sum(picked).item() / 24)


def test_label_smoothing_is_pytorchs():
    model, batch = network(), tokens()
    expected = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(NextToken(label_smoothing=0.1)(model, batch), expected)


def test_z_loss_adds_the_mean_of_log_z_squared_and_its_gradient():
    model, batch = network(), tokens()
    found = loss_and_gradients(NextToken(z_loss=0.3), model, batch)

    def formula(model, batch):
        logits = model(batch.inputs)
        log_z = logits.exp().sum(-1).log()  # (B, T)
        nats = log_z - logits.gather(-1, batch.targets[..., None])[..., 0]
        return nats.mean() + 0.3 * (log_z**2).mean()

    torch.testing.assert_close(found, loss_and_gradients(formula, model, batch))


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize(
    "options", [{}, {"z_loss": 0.3}, {"label_smoothing": 0.1}, {"z_loss": 0.3, "label_smoothing": 0.1}]
)
@pytest.mark.parametrize("chunk", [1, 5, 24, 1000])
def test_in_chunks_the_loss_and_every_gradient_are_the_same(changes, options, chunk):
    model, batch = network(**changes), tokens()
    whole = loss_and_gradients(NextToken(**options), model, batch)
    torch.testing.assert_close(loss_and_gradients(NextToken(chunk=chunk, **options), model, batch), whole)


def test_in_chunks_autocast_rounds_as_it_does_for_the_whole():
    model, batch = network(torch.float32), tokens()
    with torch.autocast("cpu", torch.bfloat16):
        whole = loss_and_gradients(next_token, model, batch)
        found = loss_and_gradients(NextToken(chunk=5), model, batch)
    torch.testing.assert_close(found[0], whole[0], rtol=1e-6, atol=0)
    for a, b in zip(found[1:], whole[1:], strict=True):
        assert (a - b).norm() < 0.01 * b.norm()


class Largest(TorchDispatchMode):
    """The most elements that any result of an operation had."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        found = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max(self.elements, *found, 0)
        return result


@pytest.mark.parametrize("options", [{}, {"z_loss": 0.3, "label_smoothing": 0.1}])
def test_in_chunks_no_tensor_has_the_logits_of_more_positions_than_a_chunk(options):
    model, batch = network(torch.float32, vocab_multiple=1), tokens(rows=40)
    with Largest() as whole:
        NextToken(**options)(model, batch).backward()
    with Largest() as sliced:
        NextToken(chunk=32, **options)(model, batch).backward()
    assert whole.elements == 40 * 8 * 65
    assert sliced.elements <= max(32 * 65, 40 * 8 * 4 * 16)  # a slice of logits, or the MLP's hidden layer


def test_the_whole_is_as_it_was_before_there_were_options():
    model, batch = network(torch.bfloat16), tokens()
    logits = model(batch.inputs)
    assert torch.equal(next_token(model, batch), F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten()))
    assert next_token(model, batch).dtype == torch.float32


@pytest.mark.parametrize("chunk", [None, 1, 7, 100])
@pytest.mark.parametrize(
    "options", [{"z_loss": 0.3}, {"label_smoothing": 0.1}, {"z_loss": 0.3, "label_smoothing": 0.1}]
)
def test_a_loss_that_is_more_than_cross_entropy_carries_that_too(options, chunk):
    model, batch = network(), tokens()
    loss = NextToken(chunk=chunk, **options)(model, batch)
    torch.testing.assert_close(loss.cross_entropy, next_token(model, batch).detach())
    assert not loss.cross_entropy.requires_grad
    assert abs(loss - loss.cross_entropy) > 1e-3
    assert not hasattr(NextToken(chunk=chunk)(model, batch), "cross_entropy")


@pytest.mark.parametrize(
    "words",
    [["objective=z_loss", "objective.z_loss=0.1"], ["objective.label_smoothing=0.2"],
     ["objective=chunked", "objective.chunk=7", "objective.label_smoothing=0.2"],
     ["objective.label_smoothing=0.2", "precision=fp16", "memory=recompute"]],
)  # fmt: skip
def test_perplexity_is_of_the_cross_entropy_over_all_micro_batches(build, words):
    plain, other = (
        build("batch.micro=2", "optim.lr=0", "steps=2"),
        build("batch.micro=2", "optim.lr=0", "steps=2", *words),
    )
    for trainer in (plain, other):
        trainer.fit()
    rough = 2e-3 if "precision=fp16" in words else 1e-6
    found, expected = other.latest, plain.latest
    assert found["train/cross_entropy"] == pytest.approx(expected["train/loss"], rel=rough)
    assert found["train/perplexity"] == math.exp(found["train/cross_entropy"])
    assert abs(found["train/loss"] - found["train/cross_entropy"]) > 1e-3
    assert "train/cross_entropy" not in expected
    assert expected["train/perplexity"] == math.exp(expected["train/loss"])


def test_validation_is_plain_cross_entropy_whatever_is_trained_on(build):
    def losses(*overrides):
        trainer = build("optim.lr=0", *overrides)
        trainer.fit()
        return trainer.latest["train/loss"], trainer.latest["validation/loss"]

    plain = losses()
    assert losses("objective=chunked", "objective.chunk=7") == pytest.approx(plain, rel=1e-6)
    trained, validated = losses("objective=z_loss", "objective.z_loss=0.1")
    assert validated == plain[1]
    assert trained == pytest.approx(plain[0] + 0.1 * math.log(257) ** 2, rel=0.01)  # log Z of nearly equal logits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_loss": -1e-4}, "z_loss=-0.0001: at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: at least 0, below 1"),
        ({"chunk": 0}, "chunk=0: at least 1"),
    ],
)
def test_values_without_a_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        NextToken(**options)


@pytest.mark.parametrize("transform", [memory.store, memory.recompute])
def test_in_chunks_ddp_exchanges_every_gradient_once(transform, tmp_path):
    model, batch = network(), tokens()
    expected = loss_and_gradients(next_token, model, batch)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = [DistributedDataParallel(transform(model))]
        found = loss_and_gradients(lambda net, b: NextToken(chunk=5)(wrapped[0], b), model, batch)
        wrapped.clear()  # before its group: the last to let go of a group waits for gloo's thread, here with the GIL
        gc.collect()
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_in_chunks_a_compiled_network_gives_the_same_and_is_compiled_once():
    batches = [SimpleNamespace(inputs=b.inputs, targets=b.targets.roll(i, 0)) for i in range(4) for b in [tokens()]]
    model = network(torch.float32)
    expected = [loss_and_gradients(NextToken(chunk=8), model, batch) for batch in batches]
    torch._dynamo.reset()
    compiled = torch.compile(model)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch, right in zip(batches, expected, strict=True):
            found = loss_and_gradients(lambda net, b: NextToken(chunk=8)(compiled, b), model, batch)
            torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-5)
