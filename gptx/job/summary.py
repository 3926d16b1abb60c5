"""What a run prints at its start and at its end, and what its record says of it."""

import textwrap
from collections.abc import Iterator

import torch

from gptx.estimate.effort import Effort, budget_warnings, counts, effort, imitation
from gptx.estimate.memory import Footprint, Meter, predicted_peak
from gptx.ingredients.data.tokenizers import beginning, decode
from gptx.ingredients.log import RunInfo, shown, typed_command
from gptx.ingredients.model.generate import generate
from gptx.ingredients.precision import imitated
from gptx.runs import provenance
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import validation_words
from gptx.trainer import stream
from gptx.units.amounts import amount, clock, memory, power
from gptx.units.phrases import count, joined
from gptx.units.printable import printable


def run_facts(trainer) -> dict[str, dict]:
    """Device, size and batch of the run, as run.json has them."""
    device, processes, (parameters, body) = trainer.parallel.device, trainer.parallel.world_size, counts(trainer.model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else provenance.processor()
    return {
        "hardware": {"device": str(device), "name": name, "threads": torch.get_num_threads(), "processes": processes,
                     "imitated": imitated(trainer.precision.on(device), device)},
        "parameters": {"total": parameters, "non_embedding": body},
        "batch": {"tokens": trainer.batch.tokens, "micro": trainer.micro_batch, "context": trainer.data.context,
                  "accumulation": trainer.accumulation, "processes": processes},
        "budget": budget(trainer).record(),
    }  # fmt: skip


def budget(trainer) -> Effort:
    """The effort of the whole run."""
    return effort(trainer.model, trainer.batch, trainer.steps)


def start(trainer, run: RunInfo, predicted: Footprint | str, measured: dict) -> list[str]:
    """What is trained, on what and for how long, in seven lines."""
    spent, known, data = budget(trainer), run_facts(trainer), trainer.data.identity
    cut, place = known["batch"], known["hardware"]
    held_out = f", {amount(data['validation_tokens'])} validation tokens" if data.get("validation_tokens") else ""
    remarks = "".join(f"; {remark}" for remark in getattr(trainer.data, "remarks", []))
    dtype = str(trainer.precision.on(trainer.parallel.device)).removeprefix("torch.")
    auto = {"device": run.config["device"], "precision": run.choices.get("precision")}
    chosen = joined(f"{key}=auto" for key, option in auto.items() if option == "auto")
    asked = "; {asked} at {seconds_per_step:.3g} s a step".format(**measured) if measured else ""
    goes_on = f"; continues after step {trainer.step}" if run.start else ""
    size = predicted_peak(predicted, trainer.parallel.device)
    needed = predicted if size is None else f"{memory(size)} of memory"
    return [
        f"model      {run.choices.get('model')}: {amount(spent.parameters)} parameters, {amount(spent.body)} without "
        f"embeddings; optimizer {type(trainer.optimizer).__name__}",
        f"data       {data.get('name', type(trainer.data).__name__)}: {amount(data['train_tokens'])} training tokens"
        f"{held_out}{remarks}",
        f"batch      {cut['tokens']:,} tokens per step = {count(cut['micro'], 'sequence')} of {cut['context']} tokens x"
        f" {cut['accumulation']} accumulation x {cut['processes']} process{'es' * (cut['processes'] > 1)}"
        f"{_warmups(trainer)}",
        f"length     {trainer.steps:,} steps = {amount(spent.tokens)} tokens = "
        f"{spent.tokens / data['train_tokens']:.3g} epochs{asked}{goes_on}",
        f"device     {place['device']} ({place['name']}, {count(place['threads'], 'thread')}), {dtype}"
        + (f"; chosen by {chosen}" if chosen else ""),
        f"needs      {needed}; the time left (eta) is shown with the steps",
        f"kept in    {shown(run.folder)}",
    ]


def details(trainer, predicted: Footprint | str) -> list[str]:
    """What only the log file has of the start."""
    spent = budget(trainer)
    padding = f"{amount(spent.padding)} parameters only pad the vocabulary" if spent.padding else "no padding"
    groups = "; ".join(
        f"{group.get('name', 'group')} {amount(sum(p.numel() for p in group['params']))} in "
        f"{len(group['params'])} tensors (weight decay {group.get('weight_decay', 0):g})"
        for group in trainer.optimizer.param_groups
    )
    return [
        f"data       {trainer.data}",
        f"model      {padding}",
        f"optimizer  {type(trainer.optimizer).__name__}: {groups}",
        f"budget     {power(spent.flops)} FLOPs ({amount(spent.flops_per_token)} per token, 6N is "
        f"{amount(6 * spent.parameters)}), {spent.tokens_per_parameter:.3g} tokens per parameter = "
        f"{spent.chinchilla_multiple:.3g} x Chinchilla's 20",
        f"memory     {predicted}",
    ]


def warnings(trainer, run: RunInfo) -> Iterator[str]:
    """What should be changed about the recipe, a line each."""
    warmup, train_tokens = run.config["schedule"].get("warmup"), trainer.data.identity["train_tokens"]
    yield from budget_warnings(budget(trainer), warmup=warmup, train_tokens=train_tokens)
    device = trainer.parallel.device
    yield from imitation(imitated(trainer.precision.on(device), device))


def _warmups(trainer) -> str:
    """How batch, sequences and learning rate begin, if not as in the rest of the run."""
    recipe, tokens, first = trainer.batch, trainer.batch.tokens_at(1), trainer.batch.context_at(1, trainer.data.context)
    grows, lengthens = tokens < recipe.tokens, first < trainer.data.context
    rate = f"; learning rate x {recipe.rate(trainer.steps):.3g} ({recipe.rule} from {recipe.tuned_at} tokens)"
    told = f"; tokens grow from {tokens:,}" * grows + f"; sequences lengthen from {first}" * lengthens
    return told + rate * (recipe.rule != "unscaled")


def end(trainer, folder, seconds: float, predicted: Footprint | str, meter: Meter) -> list[str]:
    """Result, time, peak memory, a sample of text, and the next commands."""
    expected = predicted_peak(predicted, meter.device)
    peak = f"{memory(meter.peak)} (predicted {memory(expected)})" if expected is not None else memory(meter.peak)
    packages = ",".join(RunFolder(folder).config.get("allow_targets", []))  # of classes of one's own
    trust = [f"allow_targets=[{packages}]"] * bool(packages)
    trouble = [f"something went wrong on the way: see {folder}/postmortem.md"]
    return [
        f"finished in {clock(seconds)}: {validation_words(trainer.latest)}; peak memory {peak}",
        *trouble * (folder / "postmortem.md").exists(),
        "",
        *textwrap.indent(printable(_sample(trainer)), "    ").splitlines(),
        "",
        f'  {typed_command("sample", str(folder), *trust)} prompt="the "',
        f"  {typed_command('report', str(folder))}",
    ]


def _sample(trainer, length: int = 300) -> str:
    """Text that the model writes unprompted, drawn from a generator of its own."""
    encoding, generator = trainer.data.encoding, torch.Generator().manual_seed(stream(trainer.seed, "sample"))
    first = beginning(encoding, "", documents=trainer.data.identity["train_documents"])
    with trainer.evaluation():
        tokens = generate(trainer.model, first, length=length, temperature=0.8, generator=generator)
        try:
            return "".join(decode(encoding, tokens))
        except ValueError as diverged:
            return f"no sample: {diverged}"
