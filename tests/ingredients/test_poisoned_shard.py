"""experiments/poisoned_shard in small: with guard=rollback a poisoned shard costs next to nothing, and is named."""

import re
import runpy
from types import SimpleNamespace

import pytest

from gptx.config import paths
from gptx.ingredients.log.jsonl import Jsonl
from gptx.ingredients.log.postmortem import Postmortem

EXPERIMENT = paths.ROOT / "experiments/poisoned_shard"
RECIPE = ["steps=300", "batch.tokens=1536", "batch.micro=24", "model.context=64", "model.width=64",
          "observe.validation.every=300", "observe.validation.windows=1000"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_with_a_poisoned_shard_ends_as_the_clean_one_where_the_guard_goes_back(build, tmp_path):
    runpy.run_path(str(EXPERIMENT / "shards.py"))["main"](tmp_path / "shards")
    losses = {}
    for arm in ("guard=none inject.documents=nothing", "guard=none", "guard=rollback"):
        folder = tmp_path / arm.replace(" ", ",")
        folder.mkdir()
        words = ["experiment=poisoned_shard", f"data.path={tmp_path / 'shards'}", "data.order=written", *RECIPE]
        trainer = build(*words, "inject.documents=shard_06*", *arm.split(), folder=folder.name)
        trainer.sinks.extend([Jsonl(), Postmortem()])
        for sink in trainer.sinks:
            sink.open(SimpleNamespace(folder=folder, start=0, steps=300))
        trainer.fit()
        for sink in trainer.sinks:
            sink.close("finished")
        losses[arm] = trainer.latest["validation/loss"]
    clean, poisoned, rescued = losses.values()
    assert abs(rescued - clean) < 0.02, losses
    assert poisoned - clean > 0.02, losses
    page = (folder / "postmortem.md").read_text()
    blamed = [table.split("`")[1] for table in page.split("| document |")[1:]]
    assert blamed[-1] == "shard_06.jsonl"  # after the rollback, judged by healthy weights
    assert all(name.startswith("shard_06.jsonl") for name in blamed)  # a batch of nothing else tells its rows apart
    assert re.search(r"went back from step \d+ to \d+ and on at sequence", page)
    assert not (tmp_path / "guard=none,inject.documents=nothing/postmortem.md").exists()
