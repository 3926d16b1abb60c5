"""The network against transformers' GPT-2, Llama and Qwen 3, formulas, published counts, and what a language model must not do."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from gptx.config.build import build
from gptx.config.compose import composed
from gptx.ingredients.model.gpt import (
    GPT,
    MLP,
    Attention,
    attend,
    attend_by_products,
    parameter_counts,
    relu2,
    rotated,
    rotations,
    within_documents,
)

SHAPE = {"vocab_size": 65, "context": 16, "width": 32, "depth": 3, "heads": 4}
LLAMA = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "tied": False, "bias": False}


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


@pytest.mark.parametrize(("kv_heads", "tied", "qk_norm"), [(4, False, False), (2, False, False), (1, True, True)])
def test_logits_and_gradients_are_those_of_transformers_llama_and_qwen3(kv_heads, tied, qk_norm):
    torch.manual_seed(1)
    config, kind = (Qwen3Config, Qwen3ForCausalLM) if qk_norm else (LlamaConfig, LlamaForCausalLM)
    llama = kind(
        config(
            vocab_size=65, hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=kv_heads, head_dim=8, max_position_embeddings=16, rms_norm_eps=1e-5,
            tie_word_embeddings=tied, attn_implementation="eager",
        )
    )  # fmt: skip
    model, tokens = ours(**LLAMA | {"kv_heads": kv_heads, "tied": tied, "qk_norm": qk_norm}), sequences()
    with torch.no_grad():
        for parameter in llama.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    rows = model.token.weight.shape[0] - 65
    model.load_state_dict({name: F.pad(tensor, (0, 0, 0, rows)) if name in ("token.weight", "head.weight") else tensor
                           for name, tensor in llama_renamed(llama.state_dict(), tied).items()})  # fmt: skip
    logits = llama(tokens).logits
    torch.testing.assert_close(model(tokens), logits, rtol=1e-4, atol=1e-5)
    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    loss_of(model, tokens).backward()
    gradients = llama_renamed({name: p.grad for name, p in llama.named_parameters()}, tied)
    assert len(gradients) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        found = parameter.grad[:65] if name in ("token.weight", "head.weight") else parameter.grad
        torch.testing.assert_close(found, gradients[name], rtol=1e-3, atol=1e-6, msg=name)


def llama_renamed(tensors: dict, tied: bool) -> dict:
    """Tensors of transformers' Llama or Qwen 3 under our names; queries, keys and values are one matrix here."""
    names = {
        "model.embed_tokens": "token", "model.layers": "blocks", "model.norm": "norm", "lm_head": "head",
        "input_layernorm": "norm1", "post_attention_layernorm": "norm2", "self_attn.o_proj": "attention.out",
        "self_attn.q_norm": "attention.norm_q", "self_attn.k_norm": "attention.norm_k",
        "gate_proj": "gate", "up_proj": "up", "down_proj": "down",
    }  # fmt: skip
    found = {}
    for name, tensor in tensors.items():
        for old, new in names.items():
            name = name.replace(old, new)
        if "q_proj" in name:
            rest = [tensors[f"model.{name.replace('blocks', 'layers').replace('q_proj', f'{x}_proj')}"] for x in "kv"]
            found[name.replace("self_attn.q_proj", "attention.qkv")] = torch.cat([tensor, *rest])
        elif "k_proj" not in name and "v_proj" not in name and not (tied and name == "head.weight"):
            found[name] = tensor
    return found


def test_rope_is_a_rotation_of_complex_numbers():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 8, dtype=torch.float64)
    frequencies = torch.tensor([10_000.0 ** (-2 * i / 8) for i in range(4)], dtype=torch.float64)
    turns = torch.polar(torch.ones(16, 4, dtype=torch.float64), torch.arange(16.0)[:, None].double() * frequencies)
    expected = torch.complex(x[..., :4], x[..., 4:]) * turns
    found = rotated(x, rotations(torch.arange(16), 8))
    torch.testing.assert_close(torch.complex(found[..., :4], found[..., 4:]), expected, rtol=1e-5, atol=1e-5)


def test_rope_makes_scores_depend_on_the_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 16, 8)
    here, later = (torch.arange(16) + shift for shift in (0, 100))
    near, far = (rotated(q, rotations(p, 8)) @ rotated(k, rotations(p, 8)).mT for p in (here, later))
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
    for distance in range(16):
        diagonal = near[0, 0].diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    assert near[0, 0, :, 0].std() > 0.1


def test_rope_has_no_parameters_and_no_buffers():
    assert not [name for name in ours(**LLAMA).state_dict() if "position" in name or "rot" in name]


def test_relu2_and_swiglu_are_their_formulas():
    torch.manual_seed(0)
    x = torch.randn(5, 32)
    mlp = MLP(32, bias=False, dropout=0.0, bend=relu2)
    torch.testing.assert_close(mlp(x), (x @ mlp.up.weight.T).clamp(min=0) ** 2 @ mlp.down.weight.T)
    glu = MLP(32, bias=False, dropout=0.0, bend=F.silu, gated=True)
    gate = x @ glu.gate.weight.T
    torch.testing.assert_close(glu(x), (gate / (1 + torch.exp(-gate)) * (x @ glu.up.weight.T)) @ glu.down.weight.T)


@pytest.mark.parametrize(("width", "hidden"), [(768, 2048), (128, 384), (24, 64)])
def test_swiglu_is_eight_thirds_of_the_width_in_whole_64s(width, hidden):
    assert MLP(width, bias=False, dropout=0.0, bend=F.silu, gated=True).up.weight.shape == (hidden, width)


def test_qk_norm_bounds_the_scores_whatever_the_weights():
    torch.manual_seed(0)
    attention, x = Attention(32, heads=4, kv_heads=4, bias=False, dropout=0.0, qk_norm=True), torch.randn(2, 16, 32)
    before = attention(x)
    with torch.no_grad():
        attention.qkv.weight[:64] *= 1000.0  # queries and keys
    torch.testing.assert_close(attention(x), before, rtol=1e-3, atol=1e-3)


def test_the_softcap_is_the_formula_and_bounds_the_logits():
    plain, capped, tokens = ours(), ours(softcap=0.5), sequences()
    assert plain(tokens).abs().max() > 0.5
    torch.testing.assert_close(capped(tokens), 0.5 * torch.tanh(plain(tokens) / 0.5))


def test_the_output_scale_multiplies_the_logits_before_the_softcap():
    plain, scaled, tokens = ours(), ours(softcap=2.0), sequences()
    scaled.output_scale = 0.25
    torch.testing.assert_close(scaled(tokens), 2.0 * torch.tanh(0.25 * plain(tokens) / 2.0))


def test_a_softcap_in_bf16_is_computed_in_fp32():
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(softcap=15.0)(sequences()).dtype == torch.float32


@pytest.mark.parametrize("form", [attend, attend_by_products])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_grouped_queries_masks_and_scales_are_the_formula(form, scale):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 10, 8, requires_grad=True) for heads in (4, 2, 2))
    allowed = torch.rand(2, 1, 10, 10).gt(0.5).tril() | torch.eye(10, dtype=torch.bool)
    for mask in (None, allowed):
        seen = torch.ones(10, 10).tril().bool() if mask is None else mask[:, 0]
        rows = []
        for head in range(4):
            scores = q[:, head] @ k[:, head // 2].mT * (scale or 8**-0.5)
            rows.append(scores.masked_fill(~seen, -math.inf).softmax(-1) @ v[:, head // 2])
        expected, found = torch.stack(rows, dim=1), form(q, k, v, mask=mask, scale=scale)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        weights = torch.randn_like(expected)
        for got, right in zip(*(torch.autograd.grad((y * weights).sum(), (q, k, v)) for y in (found, expected)),
                              strict=True):  # fmt: skip
            torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-5)


def test_a_scale_of_attention_is_as_good_as_larger_queries():
    torch.manual_seed(0)
    attention, x = Attention(32, heads=4, kv_heads=4, bias=False, dropout=0.0, qk_norm=False), torch.randn(2, 16, 32)
    attention.scale = 3 * 8**-0.5
    scaled, attention.scale = attention(x), None
    with torch.no_grad():
        attention.qkv.weight[:32] *= 3
    torch.testing.assert_close(scaled, attention(x))


def packed() -> tuple[torch.Tensor, list[slice]]:
    """Two sequences of several documents each, the first one cut; token 64 is the end of text."""
    tokens = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(3))
    tokens[0, [4, 5, 11]] = tokens[1, 0] = 64
    return tokens, [(0, slice(0, 4)), (0, slice(4, 5)), (0, slice(5, 11)), (0, slice(11, 16)), (1, slice(0, 16))]


@pytest.mark.parametrize("changes", [{}, LLAMA | {"kv_heads": 2, "qk_norm": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_documents_packed_under_a_mask_are_documents_run_one_by_one(changes, dtype):
    tokens, documents = packed()
    model, alone = ours(mask="document", **changes), ours(mask="cross", **changes)
    weights = torch.randn(2, 16, 65, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = model(tokens)
        each = [(alone(tokens[row : row + 1, place]), weights[row : row + 1, place]) for row, place in documents]
    exact = dtype == torch.float32
    close = {"rtol": 1e-4, "atol": 1e-6} if exact else {"rtol": 0.05, "atol": 0.02}
    for (row, place), (expected, _) in zip(documents, each, strict=True):
        torch.testing.assert_close(logits[row : row + 1, place], expected, **close)
    (logits * weights).sum().backward()
    sum((found * weight).sum() for found, weight in each).backward()
    for (name, a), b in zip(model.named_parameters(), alone.parameters(), strict=True):
        error = (a.grad - b.grad).norm() / b.grad.norm().clamp(min=1e-9)
        assert error < (1e-5 if exact else 0.03), name


@pytest.mark.parametrize("changes", [{}, LLAMA])
def test_without_an_end_of_text_the_document_mask_changes_nothing(changes):
    tokens = sequences() % 64
    torch.testing.assert_close(ours(mask="document", **changes)(tokens), ours(**changes)(tokens))


def test_flexattention_sees_what_the_boolean_mask_sees(monkeypatch):
    starts = torch.tensor([[0] * 5 + [5] * 7 + [12] * 4 + [16] * 24, [0] * 30 + [30] * 10])
    dense, blocks = within_documents(starts, blocks=False), within_documents(starts, blocks=True)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 40, 16) for heads in (4, 2, 2))
    monkeypatch.setattr(
        "gptx.ingredients.model.gpt.compiled_flex", lambda function: function
    )  # the CPU has its eager form only
    torch.testing.assert_close(attend(q, k, v, mask=blocks, scale=0.3), attend(q, k, v, mask=dense, scale=0.3))


def test_a_document_mask_trains_the_same_however_the_batch_is_cut_and_stored(build, tmp_path):
    (tmp_path / "text").mkdir()
    for i in range(60):
        (tmp_path / f"text/{i}.txt").write_text(f"{i} green bottles")  # two and more in each sequence of 32 bytes
    text = f"data.path={tmp_path / 'text'}"

    def results(*overrides):
        trainer = build(text, "steps=3", *overrides)
        assert (trainer.data(0, 8).inputs == 256).sum() > 8
        trainer.fit()
        return [trainer.latest[key] for key in ("train/loss", "train/grad_norm", "validation/loss")]

    whole = results("model.mask=document", "batch.micro=8")
    assert results("model.mask=document", "batch.micro=2") == pytest.approx(whole, rel=1e-5)
    assert results("model.mask=document", "batch.micro=8", "memory=recompute") == pytest.approx(whole, rel=1e-6)
    assert results("batch.micro=8")[2] != pytest.approx(whole[2], rel=1e-6)


@pytest.mark.parametrize("changes", [{}, LLAMA])
def test_zero_out_makes_every_block_the_identity_and_leaves_the_other_weights(changes):
    plain, zero = ours(**changes), ours(init="zero_out", **changes)
    x = torch.randn(2, 16, 32)
    for block in zero.blocks:
        assert torch.equal(block(x), x)
    for (name, a), b in zip(plain.named_parameters(), zero.parameters(), strict=True):
        same = not name.endswith(("out.weight", "down.weight"))
        assert torch.equal(a, b) == same, name
        assert same or not b.any(), name


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
@pytest.mark.parametrize("changes", [{}, LLAMA | {"kv_heads": 2, "qk_norm": True}, {"mask": "document"}])
def test_the_future_does_not_change_the_past(dtype, changes):
    model, tokens = ours(**changes).eval(), sequences()
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 65
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-6)
    assert (before[:, 9:] != after[:, 9:]).any(-1).all()


@pytest.mark.parametrize("tied", [True, False])
def test_padding_of_the_vocabulary_is_never_predicted_and_never_learnt(tied):
    model, tokens = ours(vocab_multiple=64, tied=tied), sequences()
    head = model.token if tied else model.head
    assert model.token.weight.shape == head.weight.shape == (128, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        assert not head.weight.grad[65:].any()
        optimizer.step()
    assert not model.token.weight[65:].any()
    assert not head.weight[65:].any()
    before = model(tokens)
    with torch.no_grad():
        head.weight[65:] = 100.0
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
    cfg = composed([f"model={name}"])
    with torch.device("meta"):
        return build(cfg.model)(vocab_size=50257)


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
    assert parameter_counts(model) == (total, total - (50257 + 1024) * model.width)


def test_llamas_count_has_the_head_and_leaves_out_padding():
    body = 12 * (4 * 768 * 768 + 3 * 768 * 2048 + 2 * 768) + 768
    assert parameter_counts(preset("llama_124m")) == (body + 2 * 50257 * 768, body)


def test_grouped_queries_count_fewer_keys_and_values():
    full, grouped = (parameter_counts(ours(bias=False, kv_heads=kv))[0] for kv in (4, 1))
    assert full - grouped == 3 * 2 * (32 - 8) * 32


@pytest.mark.parametrize("name", ["gpt2_124m", "llama_124m"])
def test_operations_per_token_are_nanogpts_for_124m(name):
    model = preset(name)  # V is 50,304 with its padding; arXiv:2204.02311, appendix B
    assert model.flops_per_token() == 6 * (12 * 12 * 768**2 + 50304 * 768) + 12 * 12 * 768 * 1024
    assert f"{model.flops_per_token():.3e}" == "8.547e+08"


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, "model.kv_heads=3 does not divide model.heads=4; the nearest that do: 2 or 4"),
        ({"kv_heads": 0}, "model.kv_heads=0 does not divide model.heads=4; the nearest that do: 1"),
        ({"positions": "rotary"}, "model.positions=rotary: one of learned, rope"),
        ({"norm": "batch"}, "model.norm=batch: one of layernorm, rmsnorm"),
        ({"mlp": "glu"}, "model.mlp=glu: one of gelu, relu2, swiglu"),
        ({"init": "orthogonal"}, "model.init=orthogonal: one of gpt2, zero_out"),
        ({"mask": "causal"}, "model.mask=causal: one of cross, document"),
        ({"positions": "rope", "width": 12}, "model.positions=rope turns pairs; 12/4 = 3 dimensions are odd"),
        ({"dropout": 1.5}, "model.dropout=1.5: at least 0, below 1"),
        ({"dropout": -0.1}, "model.dropout=-0.1: at least 0, below 1"),
        ({"softcap": 0.0}, "model.softcap=0.0: above 0"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        ours(**changes)
