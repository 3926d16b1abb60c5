"""Write a small corpus as long runs have it: shuffled documents in shards, to be read one after another.

python experiments/poisoned_shard/shards.py FOLDER      24 files of JSONL, one document a row
"""

import json
import random
import sys
import sysconfig
from pathlib import Path

SHARDS, ROWS, CHARACTERS = 24, 256, 200  # rows of a shard, characters of a row at least


def main(folder: Path) -> None:
    """Cut the standard library into documents of a few lines, and deal some of them out."""
    library = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idle_test", "site-packages", "encodings"}
    documents = [
        document
        for path in sorted(library.rglob("*.py"))
        if not skipped & set(path.relative_to(library).parts) and not path.name.startswith("_sysconfigdata")
        for document in cut(path.read_text(encoding="utf-8", errors="replace"))
    ]
    random.Random(0).shuffle(documents)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        rows = documents[shard * ROWS : (shard + 1) * ROWS]
        text = "".join(json.dumps({"text": row}) + "\n" for row in rows)
        (folder / f"shard_{shard:02}.jsonl").write_text(text)


def cut(text: str) -> list[str]:
    """Pieces of whole lines of at least CHARACTERS characters; a shorter rest is left out."""
    pieces, lines, size = [], [], 0
    for line in text.splitlines(keepends=True):
        lines.append(line)
        size += len(line)
        if size >= CHARACTERS:
            pieces.append("".join(lines))
            lines, size = [], 0
    return pieces


if __name__ == "__main__":
    main(Path(sys.argv[1]))
