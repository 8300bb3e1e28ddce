"""A newcomer's first minutes: where a training leads, what `up` shows, what a picture explains."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from fosp_bringup import neighbours, supervisor
from fosp_bringup.stack import default_bundle
from fosp_cli import live_line
from fosp_cli.commands import training, up
from fosp_cli.commands.demo import SHOWINGS, _episode_text, _tell
from fosp_cli.demonstration import status
from fosp_cli.evaluation.metrics import episode_result
from fosp_cli.pictures import Row, draw_contact_sheet
from fosp_core.bundle.bundle import read_manifest
from fosp_core.decisions import Decision

SOURCES = Path(__file__).parents[1] / "fosp_cli"
OWN_SETTINGS = {"doctor/environment.py", "bench/weight.py", "bench/message_costs.py", "bench/zone_stop.py"}
"""Programs that measure ROS itself, in an environment that their caller makes."""


def test_every_command_listens_through_the_client_that_takes_the_settings_of_the_stack() -> None:
    paths = [path for path in SOURCES.rglob("*.py") if re.search(r"\brclpy\.init\(", path.read_text())]
    assert {str(path.relative_to(SOURCES)) for path in paths} - OWN_SETTINGS == {"graph_client.py"}
    text = (SOURCES / "graph_client.py").read_text()
    assert text.index("os.environ.update(environment())") < text.index("rclpy.init(")


def test_a_training_ends_with_bundle_report_warnings_and_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").touch()
    manifest = read_manifest(default_bundle("safe_reach"))
    training._conclude(Path("runs/mine"), manifest, tmp_path / "report", ["calibration: too few violations"])
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"bundle  runs/mine: safe_reach for sim_arm, id {manifest.id}",
        f"report  {tmp_path / 'report' / 'index.html'}",
        "next    ./fosp eval --bundle runs/mine --scenario safe_reach --episodes 20",
        "        ./fosp up sim --scenario safe_reach --bundle runs/mine",
    ]
    assert told.err == "calibration: too few violations\n"


def test_a_warning_is_red_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(training.typer, "secho", lambda text, fg, err: told.append(fg))
    for terminal in (True, False):
        monkeypatch.setattr(training.sys, "stderr", SimpleNamespace(isatty=lambda terminal=terminal: terminal))
        training._warn("doubtful")
    assert told == [training.typer.colors.RED, None]


@pytest.mark.parametrize(
    ("terminal", "verbose", "raw"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_up_shows_a_status_on_a_terminal_and_every_line_when_asked_to(
    terminal: bool, verbose: bool, raw: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(live_line, "is_rich_terminal", lambda: terminal)
    monkeypatch.setattr(supervisor, "Supervisor", lambda described: SimpleNamespace(run=lambda: ran.append("raw") or 0))
    monkeypatch.setattr(status, "run_with_status", lambda described: ran.append("status") or 0)
    monkeypatch.setattr(neighbours, "choose_domain", lambda domain: 0)
    monkeypatch.chdir(tmp_path)
    assert up.up("sim", black_box=None, verbose=verbose) == 0
    assert ran == ["raw" if raw else "status"]


def test_the_results_of_a_demo_are_whole_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    episode = {"reached": True, "cost": 0.0, "steps": 100, "vetoes": 12, "substitutions": 10, "stops": 5}
    latency = {"p50": 11.5, "p99": 58.1, "max": 101.0}
    shown = [{"shows": showing.what, **episode} for showing in SHOWINGS]
    _tell({"episodes": shown, "image_to_command_ms": latency}, Path("runs/demo"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") == 9]
    assert [row[-4:] for row in cells if row[0].isdigit()] == [["100", "12", "10", "5"]] * len(SHOWINGS)
    assert " ".join(row[1] for row in cells[1:] if row[1]) == " ".join(showing.what for showing in SHOWINGS)


def test_the_stops_and_latches_of_an_episode_are_told_below_it() -> None:
    text = _episode_text(3, SHOWINGS[3], episode_result(4, True, 1.0, [0.0], [], 8, 0.05), ["LATCH: a node died"])
    assert text.splitlines()[1:] == ["    LATCH: a node died"]


def test_the_picture_of_bags_has_the_verdicts_and_a_legend_of_what_occurs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    explain = Figure.legend

    def legend(figure: Figure, handles: list[Any], **keywords: Any) -> Any:
        told.append([handle.get_label() for handle in handles])
        return explain(figure, handles=handles, **keywords)

    monkeypatch.setattr(Figure, "legend", legend)
    decisions = [(0.0, int(Decision.PASS)), (0.5, int(Decision.SUBSTITUTE)), (0.8, int(Decision.STOP))]
    draw_contact_sheet([Row("episode", [], [], "success", [0.7], [0.5], 1.0, decisions)], tmp_path / "sheet.png")
    assert told == [["cost", "mark", "PASS", "SUBSTITUTE", "STOP"]]
    assert (tmp_path / "sheet.png").stat().st_size > 1000
