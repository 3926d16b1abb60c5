"""Every precision and way of execution on the best device here: a GPU where there is one, else the CPU."""

import pytest
import torch

from gptx.estimate.memory import Meter, predict_memory, predicted_peak

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.slow

SMALL = ["model.width=64", "model.context=64", "batch.tokens=1024", "batch.micro=8", "steps=20", "optim.lr=3e-3"]
SETTINGS = {
    "fp32 unfused": ["precision=fp32", "optim.fused=false"],
    "bf16": ["precision=bf16"],
    "fp16": ["precision=fp16"],
    "fp32 compiled": ["precision=fp32", "compile=compiled"],
    "bf16 compiled": ["precision=bf16", "compile=compiled"],
    "bf16 recompute": ["precision=bf16", "memory=recompute"],
    "auto": ["precision=auto"],
}


def losses(build, *overrides, folder="run"):
    trainer = build(*SMALL, f"device={DEVICE}", *overrides, folder=folder)
    found = []
    trainer.sinks.append(lambda step, scalars: found.append(scalars["train/loss"]))
    trainer.fit()
    return found


@pytest.fixture(scope="module")
def reference():
    return {}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_trains_as_eager_fp32_does(build, setting, reference):
    if not reference:
        reference["losses"] = losses(build, "precision=fp32", folder="reference")
    found = losses(build, *SETTINGS[setting])
    tolerance = 2e-4 if "fp32" in setting else 3e-2
    assert found == pytest.approx(reference["losses"], rel=tolerance)
    assert found[-1] < found[0] - 1


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: compares its first losses with those of the CPU")
def test_the_gpu_starts_from_the_weights_and_batches_of_the_cpu(build):
    assert losses(build, "precision=fp32", "steps=3") == pytest.approx(
        losses(build, "precision=fp32", "steps=3", "device=cpu", folder="cpu"), rel=1e-4
    )


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_a_run_resumes_bit_identically_on_the_gpu(build):
    whole = losses(build, "precision=bf16", "model.dropout=0.1", folder="whole")
    first = build(*SMALL, f"device={DEVICE}", "precision=bf16", "model.dropout=0.1", folder="cut")
    first.sinks.append(lambda step, scalars: setattr(first, "stopped", "SIGTERM" if step == 7 else ""))
    first.fit()
    second = build(*SMALL, f"device={DEVICE}", "precision=bf16", "model.dropout=0.1", folder="cut")
    assert second.checkpoints.restore(second)
    found = []
    second.sinks.append(lambda step, scalars: found.append(scalars["train/loss"]))
    second.fit()
    assert found == whole[7:]


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_a_save_in_the_background_holds_the_state_of_the_gpu_at_the_call(build):
    trainer = build(*SMALL, f"device={DEVICE}", "precision=bf16", "checkpoints.every=100")
    for step in (3, 20):
        trainer.steps = step
        trainer.fit()
        expected = {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}
        trainer.checkpoints.save(trainer)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.zero_()
        trainer.checkpoints.wait(strict=True)
        saved = trainer.checkpoints.newest()
        assert all(torch.equal(saved["model"][name], tensor) for name, tensor in expected.items())
        trainer.load_state_dict(saved)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: FlexAttention has no backward pass elsewhere")
@pytest.mark.parametrize("compile", ["eager", "compiled"])
def test_a_document_mask_by_flexattention_trains_as_the_boolean_mask_does(build, tmp_path, compile):
    (tmp_path / "text").mkdir()
    for i in range(200):
        (tmp_path / f"text/{i}.txt").write_text(f"{i} green bottles hanging on the wall")
    masked = ["model.mask=document", "model.positions=rope", "precision=fp32", f"data.path={tmp_path / 'text'}"]
    found = losses(build, *masked, f"compile={compile}")
    assert found == pytest.approx(losses(build, *masked, "device=cpu", folder="cpu"), rel=1e-3)


def test_the_predicted_memory_is_close_to_the_measured(composed, build):
    """Within 5 % where the tensors are counted exactly, on a GPU, and 10 % on a CPU, where the whole process is."""
    shapes = {
        "cuda": ["model=gpt2_124m", "batch.tokens=16384", "batch.micro=16", "model.vocab_multiple=50304"],
        "cpu": ["model.width=256", "model.depth=3", "model.context=128", "batch.tokens=2048", "batch.micro=16"],
    }
    words = [*shapes[DEVICE], f"device={DEVICE}", "steps=4", "checkpoints.every=1"]
    trainer = build(*words)
    predicted = predict_memory(composed(*words), trainer.data.vocab_size)
    meter = Meter(trainer.parallel.device)
    with meter.over(trainer.model, trainer.optimizer):
        trainer.fit()
    assert predicted_peak(predicted, meter.device) == pytest.approx(meter.peak, rel=0.05 if DEVICE == "cuda" else 0.1)
