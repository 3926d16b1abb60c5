"""Write the pages of experiments again:  python -m gptx pages experiments/*"""

import shlex
from importlib import import_module
from pathlib import Path

from gptx.config import arguments
from gptx.report.readme import rewrite, rewrite_index
from gptx.show import marked


def pages(*folders: str) -> None:
    """Write the generated parts of experiments' pages again, and the index of all pages.

      python -m gptx pages experiments/*

    FOLDERS are experiments' folders, such as experiments/warmup. A page is written from results.json or fit.json; one
    without them only gets its row in the index.
    """
    for folder in map(Path, folders):
        if rewrite(folder):
            print(f"{folder / 'README.md'}: written from results.json")
        words = shlex.split(marked.command(folder / "README.md", "fit"))
        subject = next(filter(words.count, ("scaling", "critical_batch", "lr_range")), "")
        if subject and (folder / "fit.json").exists():
            fit = getattr(import_module(f"gptx.fit.{subject}"), subject)
            options = [word for word in words if word.startswith(("count=", "draws=", "grid="))]  # not in fit.json
            arguments.call(fit, [str(folder / "fit.json"), *options, f"readme={folder}"])
    for parent in filter(rewrite_index, dict.fromkeys(Path(folder).parent for folder in folders)):
        print(f"{parent / 'README.md'}: written from the pages")
