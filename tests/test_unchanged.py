"""The working tree trains the same numbers as the last commit; `python tests/unchanged.py COMMIT` proves more."""

import shutil
import subprocess

import pytest
from unchanged import ROOT, differences


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="needs the repository")
def test_the_working_tree_trains_as_the_last_commit_to_the_bit():
    changed = subprocess.run(
        ["git", "-C", ROOT, "status", "--porcelain", "gptx", "conf"], capture_output=True, text=True
    )
    if not changed.stdout:
        pytest.skip("the working tree is the last commit")
    assert differences("HEAD", ["adamw", "muon"], quick=True) == []
