"""The book's own modules import each other as its notebooks do: by their names, from the book's folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book"))
