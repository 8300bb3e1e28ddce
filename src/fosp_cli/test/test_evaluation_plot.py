"""The picture of an evaluation: its rows, its intervals, and the files that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from fosp_cli.evaluation.plot import RateRow, check_picture_file, earlier_rows, rates_figure, rows_of
from fosp_core.errors import UserError


def evaluation(**changed: Any) -> dict[str, Any]:
    return {
        "scenario": {"task": "safe_reach"},
        "monitor": "on",
        "policy": "bundle",
        "episodes": 50,
        "success_rate": 0.9,
        "success_ci95": [0.79, 0.96],
        "violation_rate": 0.02,
        "violation_ci95": [0.0, 0.1],
        **changed,
    }


def test_one_evaluation_is_a_row_with_the_names_it_was_asked_for() -> None:
    assert rows_of(evaluation(), "ours", "safe_reach") == [
        RateRow("safe_reach", "ours", 50, (0.9, 0.79, 0.96), (0.02, 0.0, 0.1))
    ]


def test_ways_of_monitoring_are_told_apart_by_name() -> None:
    both = [evaluation(bundle="ours", scenario_name="a", monitor=way) for way in ("on", "off")]
    assert [row.name for row in rows_of({"evaluations": both}, "", "")] == ["ours, monitor on", "ours, monitor off"]


def test_the_bars_are_the_intervals_and_every_scenario_is_a_group() -> None:
    rows = [
        RateRow(scenario, name, 50, (0.5, 0.4, 0.6), (0.1, 0.05, 0.2)) for scenario in ("a", "b") for name in ("x", "y")
    ]
    figure = rates_figure(rows, "title")
    success, violation = figure.axes
    bars = [line.get_xdata() for line in success.lines if len(np.atleast_1d(line.get_xdata())) == 2]
    assert [list(bar) for bar in bars] == [[0.4, 0.6]] * 4
    assert {text.get_text() for text in success.texts} >= {"a", "b"}
    assert violation.get_xlim()[1] >= 0.2
    heights = [float(np.atleast_1d(line.get_ydata())[0]) for line in success.lines[::2]]
    assert len(set(heights)) == 4, "no row lies upon another"


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_is_the_format(suffix: str, begins: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"plot{suffix}"
    check_picture_file(path)
    rates_figure(rows_of(evaluation(), "ours", "safe_reach"), "title").savefig(path)
    assert path.read_bytes().startswith(begins)
    if suffix == ".png":
        assert float(np.std(imread(path))) > 0.01


def test_another_suffix_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"\.png, \.svg or \.pdf"):
        check_picture_file(Path("plot.gif"))


def test_an_earlier_evaluation_is_read_from_its_json(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(evaluation()))
    (row,) = earlier_rows(path)
    assert (row.scenario, row.name) == ("safe_reach", "before")
    path.write_text(json.dumps({"evaluations": [evaluation(bundle="a", scenario_name="s")]}))
    assert [row.name for row in earlier_rows(path)] == ["before: a"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"evaluations": 3}', json.dumps(evaluation(success_ci95=[0.9, 0.1])), "null"]
)
def test_a_file_that_is_none_of_an_evaluation_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(content)
    with pytest.raises(UserError, match="no JSON of fosp eval"):
        earlier_rows(path)
    with pytest.raises(UserError, match="cannot be read"):
        earlier_rows(tmp_path / "nothing.json")
