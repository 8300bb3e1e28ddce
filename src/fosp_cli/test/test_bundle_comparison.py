"""`fosp bundle compare`, and the pages of the shipped bundles."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fosp_bringup.paths import robot_path
from fosp_bringup.stack import default_bundle
from fosp_cli.cli import run
from fosp_cli.evaluation.bundle_comparison import compared, comparison_page, differences_of
from fosp_cli.evaluation.bundle_pages import pages
from fosp_core.bundle.bundle import read_manifest
from fosp_core.robot.config import read_robot
from fosp_core.specs import Manifest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def first() -> Manifest:
    return read_manifest(default_bundle("safe_reach"))


def changed(manifest: Manifest, **training: Any) -> Manifest:
    settings = {**manifest.training["config"], "batch_size": 999}
    return manifest.model_copy(
        update={
            "id": "f" * 64,
            "kappa": manifest.kappa + 0.5,
            "metrics": {**manifest.metrics, "new": 1.0},
            "calibration": manifest.calibration.model_copy(update={"eps": manifest.calibration.eps + 0.01}),
            "training": {**manifest.training, "config": settings, **training},
        }
    )


def test_what_differs_is_told_by_kind_with_the_change_of_numbers(first: Manifest) -> None:
    found = {group.title: group for group in differences_of(first, changed(first, episodes=7))}
    rows = {row.name: row for group in found.values() for row in group.differences}
    assert set(rows) == {"kappa", "episodes", "batch_size", "new", "eps"}
    assert [row.name for row in found["Calibration"].differences] == ["eps"]
    assert [row.name for row in found["Training settings"].differences] == ["batch_size"]
    assert (rows["kappa"].change, rows["eps"].change) == ("+0.5", "+0.01")
    assert (rows["new"].first, rows["new"].second, rows["new"].change) == ("", "1", "")
    assert found["Specification"].equal > 5
    assert all(not group.differences for group in differences_of(first, first))


def test_the_page_has_both_reports_and_runs_nothing_of_them(tmp_path: Path, first: Manifest) -> None:
    folder = tmp_path / "bundle"
    report = tmp_path / "runs" / "pretrain" / "bundle" / "report"
    report.mkdir(parents=True)
    (report.parent / "run.json").write_text(json.dumps({"bundle": str(folder)}))
    (report / "index.html").write_text('<h1 class="x">its <script>alert(1)</script> report</h1>')
    one = compared(folder, first, tmp_path / "runs")
    other = compared(tmp_path / "o<t>her", changed(first, note="<b>"), tmp_path / "runs")
    page = comparison_page(one, other, differences_of(one.manifest, other.manifest))
    assert "<script" not in page
    (inside,) = re.findall(r'<iframe sandbox title="[^"]*" srcdoc="([^"]*)"', page)
    assert unescape(inside) == (report / "index.html").read_text()
    assert "There is no report" in page
    assert "&lt;b&gt;" in page
    assert "o<t>her" not in page
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing beside it is needed"


def test_a_report_of_another_bundle_of_the_same_name_is_not_taken(tmp_path: Path, first: Manifest) -> None:
    report = tmp_path / "runs" / "pretrain" / "bundle" / "report"
    report.mkdir(parents=True)
    (report / "index.html").write_text("of another")
    for content in ('{"bundle": "/elsewhere/bundle"}', "{", "[]"):
        (report.parent / "run.json").write_text(content)
        assert compared(tmp_path / "bundle", first, tmp_path / "runs").report == ""


def test_the_command_writes_the_page_and_prints_within_eighty_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from tiny_bundle import write_tiny_bundle

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    for name, action in (("a", (0.1, 0.0, 0.0)), ("b", (0.2, 0.0, 0.0))):
        write_tiny_bundle(Path(name), read_robot(robot_path("sim_arm")), policy_action=action)
    compare = ["bundle", "compare", "a", "b", "--out", "new/page.html"]
    assert run(compare) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert Path("new/page.html").read_text().startswith("<!doctype html>")
    assert run(["bundle", "compare", "a", "a"]) == 2
    assert "the same bundle" in capsys.readouterr().err
    Path("file").touch()
    assert run([*compare[:-1], "file/page.html"]) == 2


def test_the_page_of_every_shipped_bundle_is_up_to_date() -> None:
    folder = ROOT / "docs" / "bundles"
    command = "python -m fosp_cli.evaluation.bundle_pages docs/bundles"
    assert {path.name: path.read_text() for path in folder.glob("*.md")} == pages(), f"write them anew: {command}"
