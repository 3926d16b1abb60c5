"""Where conf/ and experiments/ are, in a checkout and in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent  # installed wheel : checkout
CONF = str(ROOT / "conf")


def register() -> None:
    """Make Hydra know the experiments; harmless when repeated."""
    from gptx.config import search_path

    search_path.register()
