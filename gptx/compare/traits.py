"""What the levels of a factor have in common, in words: a schedule rises at first, falls at the end, or neither."""

from gptx.ingredients import schedule
from gptx.runs.cells import Cell

SAMPLES = 500  # updates at which a schedule is looked at
FLAT = 1 - 1e-6  # of the peak: what is above is at the peak


def traits(cells: list[Cell], factors: dict[str, list[str]], levels: list[dict[str, str]]) -> dict:
    """For each factor that is a schedule or a value of one: level -> {"warmup": there is one, "cool-down": there is
    one}. A factor is left out where one of its levels has no such answer, or more than one. `levels` are the cells'."""
    found = {}
    for factor in factors:
        if factor.split(".")[0] != "schedule":
            continue
        seen: dict[str, list] = {}
        for cell, level in zip(cells, levels, strict=True):
            shape = shaped(cell.config)
            if shape not in seen.setdefault(level[factor], []):
                seen[level[factor]].append(shape)
        if all(len(shapes) == 1 and shapes[0] for shapes in seen.values()):
            found[factor] = {level: dict(shapes[0]) for level, shapes in seen.items()}
    return found


def shaped(config: dict) -> tuple[tuple[str, bool], ...] | None:
    """Whether the schedule of a resolved config rises at first and falls at the end; None for any other."""
    node, steps = config.get("schedule") or {}, config.get("steps")
    module, _, name = str(node.get("_target_")).rpartition(".")
    function = getattr(schedule, name, None)
    if module != schedule.__name__ or function is None or not steps:
        return None
    values = {key: value for key, value in node.items() if not key.startswith("_")}
    updates = {1, steps, *(1 + round(i * (steps - 1) / SAMPLES) for i in range(SAMPLES))}
    try:
        rates = {step: function(step, **values) for step in updates}
    except (TypeError, ValueError):  # written by another version
        return None
    peak = max(rates.values()) * FLAT
    return ("warmup", rates[1] < peak), ("cool-down", rates[steps] < peak)
