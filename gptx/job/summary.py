"""What a run says when it starts and when it ends, in lines for people."""

import textwrap

import torch

from gptx import runs
from gptx.estimate.effort import Effort, counts, effort
from gptx.estimate.footprint import Footprint
from gptx.estimate.warnings import budget_warnings, imitation
from gptx.ingredients.data.text import beginning, decode
from gptx.ingredients.log import typed
from gptx.ingredients.model.generate import generate
from gptx.ingredients.precision import imitated
from gptx.trainer import stream
from gptx.units.amounts import amount, clock, power
from gptx.units.printable import printable


def hardware(trainer) -> dict:
    """Where the run computes."""
    device = trainer.parallel.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else runs.processor()
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "processes": trainer.parallel.world_size,
        "imitated": imitated(trainer.precision.on(device), device),
    }


def parameters(trainer) -> dict[str, int]:
    """Parameter counts, with and without embeddings; of GPT without the rows that pad its vocabulary."""
    total, body = counts(trainer.model)
    return {"total": total, "non_embedding": body}


def budget(trainer) -> Effort:
    """What the whole run amounts to."""
    return effort(trainer.model, trainer.batch, trainer.steps)


def batch(trainer) -> dict[str, int]:
    """How the tokens of an update are cut into sequences and spread."""
    return {
        "tokens": trainer.batch.tokens,
        "micro": trainer.micro_batch,
        "context": trainer.data.context,
        "accumulation": trainer.accumulation,
        "processes": trainer.parallel.world_size,
    }


def start(trainer, run, predicted: Footprint | str) -> list[str]:
    """The ingredients as they came out, what they will need of operations and memory, and what is doubtful."""
    spent = budget(trainer)
    total, body, tokens = spent.parameters, spent.body, spent.tokens
    data, cut, place = trainer.data, batch(trainer), hardware(trainer)
    train_tokens = data.identity["train_tokens"]
    doubtful = list(budget_warnings(spent, warmup=run.config["schedule"].get("warmup"), train_tokens=train_tokens))
    doubtful += imitation(place["imitated"])
    padding = sum(p.numel() for p in trainer.model.parameters()) - total
    dtype = str(trainer.precision.on(trainer.parallel.device)).removeprefix("torch.")
    return [
        f"run        {run.folder}",
        f"data       {data}",
        *[f"data       {remark}" for remark in getattr(data, "remarks", [])],
        f"model      {run.choices.get('model')}: {amount(total)} parameters, {amount(body)} without embeddings"
        + (f" ({amount(padding)} more pad the vocabulary)" if padding else ""),
        f"optimizer  {type(trainer.optimizer).__name__}: {groups(trainer.optimizer)}",
        f"batch      {cut['tokens']:,} tokens an update = {cut['micro']} sequences x {cut['context']} context x "
        f"{cut['accumulation']} accumulation x {cut['processes']} process{'es' if cut['processes'] > 1 else ''}"
        + warmups(trainer),
        f"length     {trainer.steps:,} updates, {amount(tokens)} tokens = {tokens / train_tokens:.2f} epochs",
        f"budget     {power(spent.flops)} FLOPs ({amount(spent.flops_per_token)} a token, 6N is {amount(6 * total)}), "
        f"{spent.tokens_per_parameter:.3g} tokens a parameter = {spent.chinchilla_multiple:.3g} x Chinchilla's 20",
        f"machine    {place['device']} ({place['name']}, {place['threads']} threads), {dtype}, "
        f"{run.choices.get('compile')}",
        f"memory     {predicted}",
        *[f"warning    {'; '.join(doubtful)}"] * bool(doubtful),
    ]


def warmups(trainer) -> str:
    """How batch, sequences and rate begin, where they are not those of the whole run."""
    recipe, context = trainer.batch, trainer.data.context
    told = {
        f"tokens grow from {recipe.tokens_at(1):,}": recipe.tokens_at(1) < recipe.tokens,
        f"sequences lengthen from {recipe.context_at(1, context)}": recipe.context_at(1, context) < context,
        f"rate x {recipe.rate(trainer.steps):.3g} ({recipe.rule} from {recipe.tuned_at} tokens)": recipe.rule
        != "unscaled",
    }
    return "".join(f"; {words}" for words, so in told.items() if so)


def groups(optimizer) -> str:
    """The parameter groups in short."""
    return "; ".join(
        f"{group.get('name', 'group')} {amount(sum(p.numel() for p in group['params']))} in "
        f"{len(group['params'])} tensors (weight decay {group.get('weight_decay', 0):g})"
        for group in optimizer.param_groups
    )


def end(trainer, folder, result: str, seconds: float, memory: str) -> list[str]:
    """The result, memory, a sample of text, and where to look further."""
    trouble = (folder / "postmortem.md").exists()
    return [
        f"finished in {clock(seconds)}: {result}",
        f"memory at the peak: {memory}",
        "",
        *textwrap.indent(printable(sample(trainer)), "    ").splitlines(),
        "",
        f"look further in {folder}:",
        *["  postmortem.md: something went wrong on the way"] * trouble,
        f"  {typed('sample', str(folder), 'temperature=0.8')}",
        f"  {typed('report', str(folder))}",
    ]


def sample(trainer, length: int = 300) -> str:
    """Text that the model writes unprompted; drawn from a generator of its own."""
    encoding, generator = trainer.data.encoding, torch.Generator().manual_seed(stream(trainer.seed, "sample"))
    first = beginning(encoding, "", documents=trainer.data.identity["train_documents"])
    with trainer.evaluation():
        tokens = generate(trainer.model, first, length=length, temperature=0.8, generator=generator)
        try:
            return "".join(decode(encoding, tokens))
        except ValueError as diverged:
            return f"no sample: {diverged}"
