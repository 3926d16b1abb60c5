"""Exercise 12: which parameters are decayed."""

from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import composed
from gptx.show import figures

QUESTION = "Which parameters of a small Transformer are decayed, and which are spared?"
VOCABULARY = 257  # of bytes, so that no data is read


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """The groups as `gptx.plan decay` prints them, and whether each parameter is where it belongs."""
    import torch

    from gptx.config.build import build
    from gptx.plan.decay import decay

    arms = composed("model=nano", "decay=matrices,no_embeddings", *overrides)
    measured: dict[str, Number] = {}
    drawings = []
    passed = True
    for cfg in arms.values():
        with torch.device("meta"):
            model = build(cfg.model)(vocab_size=VOCABULARY)
        groups = build(cfg.decay)(model)
        option = cfg.decay._target_.rsplit(".")[-1]
        decayed = {id(p) for group in groups if group.get("weight_decay", 1) for p in group["params"]}
        linear = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Linear)}
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
        grouped = [id(p) for group in groups for p in group["params"]]
        every = {id(p): p for p in model.parameters()}
        measured[f"decay={option}: tensors decayed"] = len(decayed)
        measured[f"decay={option}: tensors spared"] = len(every) - len(decayed)
        measured[f"decay={option}: parameters decayed"] = sum(every[key].numel() for key in decayed)
        measured[f"decay={option}: parameters spared"] = sum(p.numel() for k, p in every.items() if k not in decayed)
        vectors = {key for key, p in every.items() if p.ndim < 2}
        passed &= sorted(grouped) == sorted(every) and not decayed & vectors and linear - embeddings <= decayed
        sizes = {
            f"{group['name']},\n{'decayed' if group.get('weight_decay', 1) else 'spared'}": sum(
                p.numel() for p in group["params"]
            )
            for group in groups
        }
        drawings.append(figures.bars(f"decay={option}", sizes, "{:,.0f}"))
    figures.save(figure, "Parameters in each group", *drawings)
    return Answer(
        QUESTION,
        f"gptx.plan decay with a vocabulary of {VOCABULARY}: every parameter by name under its group (the first shown)",
        measured,
        "each parameter is in exactly one group; no gain or bias is decayed; every matrix of a linear layer is",
        passed,
        figure,
        "its text spares embeddings and its code (two dimensions or more) decays them: decay=no_embeddings is the "
        "text, decay=matrices the code. A head that is tied to the embedding goes with it.",
        tuple(decay({"": next(iter(arms.values()))}, vocab=str(VOCABULARY))),
    )
