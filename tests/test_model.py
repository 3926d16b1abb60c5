"""The network against transformers' GPT-2, published counts, and what a language model must not do."""

import math

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from transformers import GPT2Config, GPT2LMHeadModel

from gptx import check, paths
from gptx.model.gpt import GPT, attend, attend_by_products, parameter_counts

SHAPE = {"vocab_size": 65, "context": 16, "width": 32, "depth": 3, "heads": 4}


def ours(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(**SHAPE | changes)


def theirs(*, dropout: float = 0.0, biases: bool = True) -> GPT2LMHeadModel:
    """A random GPT-2 of SHAPE in which no bias and no gain has its initial value."""
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=65, n_positions=16, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0,
        embd_pdrop=dropout, attn_pdrop=dropout, resid_pdrop=dropout, attn_implementation="eager",
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train(dropout > 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
            if name.endswith("bias") and not biases:
                parameter.zero_()
    return model


def renamed(tensors: dict) -> dict:
    """Tensors of GPT2LMHeadModel under our names; its Conv1D keeps matrices as (in, out)."""
    names = {
        "transformer.wte": "token", "transformer.wpe": "position", "transformer.h": "blocks", "transformer.ln_f": "norm",
        "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out",
        "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down",
    }  # fmt: skip
    found = {}
    for name, tensor in tensors.items():
        matrix = ".c_" in name and name.endswith("weight")
        for old, new in names.items():
            name = name.replace(old, new)
        if name != "lm_head.weight":
            found[name] = tensor.T if matrix else tensor
    return found


def load_gpt2(model: GPT, gpt2: GPT2LMHeadModel) -> None:
    """Copy the weights of transformers' GPT-2 into ours."""
    state = renamed(gpt2.state_dict())
    rows = model.token.weight.shape[0] - model.vocab_size
    state["token.weight"] = F.pad(state["token.weight"], (0, 0, 0, rows))
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in model.state_dict()})


def sequences() -> torch.Tensor:
    return torch.randint(65, (4, 16), generator=torch.Generator().manual_seed(2))


def loss_of(model: GPT, tokens: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("vocab_multiple", [1, 64])
def test_logits_loss_and_gradients_are_those_of_transformers_gpt2(bias, vocab_multiple):
    gpt2, model, tokens = theirs(biases=bias), ours(bias=bias, vocab_multiple=vocab_multiple), sequences()
    load_gpt2(model, gpt2)
    expected = gpt2(tokens, labels=tokens)
    loss = loss_of(model, tokens)
    torch.testing.assert_close(model(tokens), expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=1e-5)
    expected.loss.backward()
    loss.backward()
    gradients = renamed({name: p.grad for name, p in gpt2.named_parameters()})
    for name, parameter in model.named_parameters():
        found = parameter.grad[:65] if name == "token.weight" else parameter.grad
        torch.testing.assert_close(found, gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_dropout_strikes_where_gpt2s_does():
    gpt2, model, tokens = theirs(dropout=0.3), ours(dropout=0.3), sequences()
    load_gpt2(model, gpt2)
    torch.manual_seed(5)
    expected = gpt2(tokens).logits
    torch.manual_seed(5)
    torch.testing.assert_close(model.train()(tokens), expected, rtol=1e-5, atol=1e-5)


def test_dropout_is_off_in_evaluation():
    model, tokens = ours(dropout=0.5), sequences()
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
    torch.testing.assert_close(model(tokens), ours(dropout=0.0)(tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_future_does_not_change_the_past(dtype):
    model, tokens = ours().eval(), sequences()
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 65
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-6)
    assert (before[:, 9:] != after[:, 9:]).any(-1).all()


def test_padding_of_the_vocabulary_is_never_predicted_and_never_learnt():
    model, tokens = ours(vocab_multiple=64), sequences()
    assert model.token.weight.shape == (128, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        assert not model.token.weight.grad[65:].any()
        optimizer.step()
    assert not model.token.weight[65:].any()
    before = model(tokens)
    with torch.no_grad():
        model.token.weight[65:] = 100.0
    assert model(tokens).shape == (4, 16, 65)
    assert torch.equal(model(tokens), before)


def test_padding_changes_neither_the_initial_weights_nor_the_logits():
    plain, padded, tokens = ours(vocab_multiple=1), ours(vocab_multiple=64), sequences()
    assert plain.token.weight.shape == (65, 32)
    torch.testing.assert_close(padded(tokens), plain(tokens), rtol=0, atol=1e-6)


def test_initial_weights_are_gpt2s():
    model = ours(width=256, depth=8, context=128, vocab_size=512)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        else:
            expected = 0.02 / math.sqrt(2 * 8) if name.endswith(("out.weight", "down.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.02), name
            assert abs(parameter.mean().item()) < 0.02 * expected, name


def test_the_first_loss_is_that_of_a_uniform_guess():
    assert loss_of(ours(), sequences()).item() == pytest.approx(math.log(65), abs=0.1)


@pytest.mark.parametrize("length", [1, 5, 16])
def test_both_forms_of_attention_are_the_formula(length):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, length, 8, requires_grad=True) for _ in range(3)]
    rates = torch.randn(2, 3, length, 8)

    def formula(q, k, v):
        scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(8)
        return torch.softmax(scores.masked_fill(~torch.ones(length, length).tril().bool(), -math.inf), -1) @ v

    results = []
    for form in (formula, attend, attend_by_products):
        output = form(*inputs)
        results.append((output, *torch.autograd.grad((output * rates).sum(), inputs)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[2], results[0], rtol=1e-5, atol=1e-6)


def test_attention_in_bf16_differs_from_fp32_by_rounding_only():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 64, 8) for _ in range(3))
    exact = attend(q, k, v)
    for form in (attend, attend_by_products):
        torch.testing.assert_close(form(q.bfloat16(), k.bfloat16(), v.bfloat16()).float(), exact, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("form", [attend, attend_by_products])
def test_dropout_of_attention_keeps_the_expectation(form):
    torch.manual_seed(0)
    q, k, ones = torch.randn(32, 4, 32, 8), torch.randn(32, 4, 32, 8), torch.ones(32, 4, 32, 8)
    dropped = form(q, k, ones, dropout=0.5)
    assert dropped.std() > 0.1
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(form(q, k, ones), ones)


def preset(name: str) -> GPT:
    """The model of conf/model as it is written there, without memory for its weights."""
    GlobalHydra.instance().clear()
    paths.register()
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose("train", [f"model={name}"])
    with torch.device("meta"):
        return check.build(cfg.model)(vocab_size=50257)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2_124m", 124_439_808),
        ("gpt2_350m", 354_823_168),
        ("gpt2_774m", 774_030_080),
        ("gpt2_1558m", 1_557_611_200),
    ],
)
def test_presets_have_gpt2s_published_parameter_counts(name, total):
    model = preset(name)
    assert parameter_counts(model) == (total, total - (50257 + 1024) * model.position.embedding_dim)


def test_the_count_is_that_of_transformers_and_leaves_out_padding():
    assert parameter_counts(ours(vocab_multiple=64))[0] == theirs().num_parameters()
    assert parameter_counts(ours(vocab_multiple=64)) == parameter_counts(ours(vocab_multiple=1))


@pytest.mark.parametrize(("heads", "nearest"), [(5, "4 or 8"), (0, "1"), (77, "32")])
def test_heads_that_do_not_divide_the_width_are_refused_with_the_nearest_that_do(heads, nearest):
    with pytest.raises(ValueError, match=rf"^model.heads={heads} does not divide model.width=32; .*: {nearest}$"):
        ours(heads=heads)


def test_more_tokens_than_the_context_are_refused():
    with pytest.raises(ValueError, match=r"^model.context=16: .* 17 tokens$"):
        ours()(torch.zeros(1, 17, dtype=torch.long))
