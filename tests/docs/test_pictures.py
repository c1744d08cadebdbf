"""The picture of what a task costs shows the figures beside it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.plot import draw

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_the_picture_is_drawn_from_the_results(tmp_path: Path) -> None:
    draw(json.loads((FOLDER / "results.json").read_text())["rows"], tmp_path / "results.svg")
    assert (FOLDER / "results.svg").read_text() == (tmp_path / "results.svg").read_text()
