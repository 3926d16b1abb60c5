"""Where conf/ and experiments/ are, in a checkout and in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent  # installed wheel : checkout
CONF = str(ROOT / "conf")
