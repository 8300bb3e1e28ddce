"""`fosp eval`: what it prints and writes for one bundle and for several, and how it refuses and stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run
from fosp_cli.commands import evaluate
from fosp_cli.evaluation.tables import difference
from fosp_core.bundle.bundle import read_manifest, write_bundle
from fosp_core.robot.config import read_robot

pytestmark = pytest.mark.slow

CONTRACT = [
    *("scenario", "bundle_id", "episodes", "success_rate", "success_ci95", "violation_rate", "violation_ci95"),
    *("cost_per_episode", "return_mean", "steps_mean", "veto_rate", "stop_rate", "latency_ms", "per_episode"),
]
EVAL = [sys.executable, "-m", "fosp_cli.cli", "eval"]


def tiny_bundle(folder: Path, name: str, action: tuple[float, float, float]) -> Path:
    """A bundle for safe_reach of nets with known outputs, whose actors always want `action`."""
    any_task = folder / "any_task" / name
    write_tiny_bundle(any_task, read_robot(robot_path("sim_arm")), policy_action=action)
    manifest = read_manifest(any_task)
    files = {file: any_task / file for file in manifest.files}
    write_bundle(folder / name, manifest.model_copy(update={"task": "safe_reach"}), files)
    return folder / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles `calm` and `moving` and the scenarios first.yaml and second.yaml."""
    folder = tmp_path_factory.mktemp("made")
    tiny_bundle(folder, "calm", (0.0, 0.0, 0.0))
    tiny_bundle(folder, "moving", (0.2, 0.1, 0.0))
    for name, seed in (("first", 1), ("second", 100)):
        content = {"task": "safe_reach", "seed": seed, "episodes": 2, "max_steps": 5}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def evaluated(*arguments: object) -> int:
    return run(["eval", *(str(argument) for argument in arguments), "--workers", "1"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that the command prints when it refuses."""
    code = evaluated(*arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), lines
    return lines[0]


def test_one_bundle_on_one_scenario_writes_what_the_contract_says(made: Path, tmp_path: Path, capsys: Any) -> None:
    assert evaluated("--bundle", made / "calm", "--scenario", made / "first.yaml", "--json", tmp_path / "out") == 0
    figures = json.loads((tmp_path / "out").read_text())
    assert [key for key in figures if key in CONTRACT] == CONTRACT
    assert (figures["monitor"], figures["policy"]) == ("on", "bundle")
    assert figures["promised_miss_rate"] == 0.05
    assert figures["bundle_id"] == read_manifest(made / "calm").id
    assert figures["scenario"]["seed"] == 1
    assert [episode["episode"] for episode in figures["per_episode"]] == [0, 1]
    assert "success rate" in capsys.readouterr().out


@pytest.fixture(scope="module")
def compared(made: Path) -> tuple[dict[str, Any], str]:
    """JSON and stdout of two bundles on two scenarios."""
    done = subprocess.run(
        [
            *(
                *EVAL,
                "--bundle",
                "moving",
                "--compare",
                "calm",
                "--scenario",
                "first.yaml",
                "--scenario",
                "second.yaml",
            ),
            *("--json", "out.json"),
        ],
        cwd=made,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((made / "out.json").read_text()), done.stdout


def test_every_bundle_is_run_on_every_scenario(compared: tuple[dict[str, Any], str]) -> None:
    figures, _ = compared
    rows = [(row["scenario_name"], row["bundle"]) for row in figures["evaluations"]]
    assert rows == [("first", "moving"), ("first", "calm"), ("second", "moving"), ("second", "calm")]
    assert all(set(CONTRACT) < set(row) for row in figures["evaluations"])
    assert [row["scenario"]["seed"] for row in figures["evaluations"]] == [1, 1, 100, 100]
    assert (figures["monitor"], figures["through_ros"]) == ("on", False)


def test_the_difference_is_the_first_bundle_minus_the_other(compared: tuple[dict[str, Any], str]) -> None:
    figures, _ = compared
    means = {(row["scenario_name"], row["bundle"]): row["return_mean"] for row in figures["evaluations"]}
    assert len(figures["comparisons"]) == 2
    for row in figures["comparisons"]:
        assert (row["first"], row["second"], row["episodes"]) == ("moving", "calm", 2)
        name = row["scenario_name"]
        assert row["return_difference"] == pytest.approx(means[name, "moving"] - means[name, "calm"], abs=2e-4)
        low, high = row["return_difference_ci95"]
        assert low <= row["return_difference"] <= high
        assert row["success_difference_ci95"][0] < 0 < row["success_difference_ci95"][1]


def test_the_tables_have_a_line_per_row_even_in_a_pipe(compared: tuple[dict[str, Any], str]) -> None:
    _, printed = compared
    lines = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    assert len(lines) == 4 + 2
    assert [line[1].strip() for line in lines[4:]] == ["moving - calm"] * 2


def test_two_ways_of_monitoring_are_run_on_the_same_episodes(made: Path, tmp_path: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml", "--policy", "greedy")
    assert evaluated(*start, "--monitor", "on", "--monitor", "shadow", "--json", tmp_path / "out") == 0
    figures = json.loads((tmp_path / "out").read_text())
    assert [(row["monitor"], row["policy"]) for row in figures["evaluations"]] == [
        ("on", "greedy"),
        ("shadow", "greedy"),
    ]
    assert [row["hindsight"] is None for row in figures["evaluations"]] == [True, False]
    (compared,) = figures["comparisons"]
    assert (compared["first"], compared["second"]) == ("calm (monitor on)", "calm (monitor shadow)")
    assert "false brakes" in capsys.readouterr().out


def test_what_the_evaluation_cannot_do_through_ros_is_refused(made: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml", "--through-ros")
    assert "in-process only" in refused(capsys, *start, "--policy", "greedy")
    assert "with the monitor on" in refused(capsys, *start, "--monitor", "on", "--monitor", "off")
    assert "once" in refused(capsys, *start, "--monitor", "on", "--monitor", "on")


def test_differences_are_marked_when_their_interval_excludes_zero() -> None:
    figures = {"success_difference": 0.12, "success_difference_ci95": [0.031, 0.205]}
    assert difference(figures, "success", 100) == "+12.0 (+3.1 to +20.5) *"
    figures = {"return_difference": 0.5, "return_difference_ci95": [-0.25, 1.25]}
    assert difference(figures, "return", 1) == "+0.50 (-0.25 to +1.25)"


def test_differences_of_cost_are_never_marked() -> None:
    figures = {"cost_difference": 0.5, "cost_difference_ci95": [0.25, 1.25]}
    assert difference(figures, "cost", 1) == "+0.50 (+0.25 to +1.25)"


def test_bundles_follow_compare_with_and_without_repeating_it() -> None:
    a, b, c = Path("/"), Path("/tmp"), Path("/usr")
    assert evaluate._bundle_paths(a, [b, c], []) == evaluate._bundle_paths(a, [b], [c]) == [a, b, c]
    assert evaluate._bundle_paths(None, [a], [b]) == [a, b]


def test_folders_of_one_name_are_told_apart_by_their_paths() -> None:
    assert evaluate._labels([Path("runs/a"), Path("b/")]) == ["a", "b"]
    assert evaluate._labels([Path("a/bundle"), Path("b/bundle")]) == ["a/bundle", "b/bundle"]
    assert evaluate._labels([Path("x/one.v2.yaml")]) == ["one.v2"]


def test_a_bundle_of_another_task_is_refused(made: Path, capsys: Any) -> None:
    line = refused(capsys, "--bundle", made / "calm", "--scenario", "safe_goal")
    assert "bundle is for task 'safe_reach', the scenario is 'safe_goal'" in line
    other = made / "any_task" / "calm"
    line = refused(capsys, "--bundle", made / "moving", "--compare", other, "--scenario", made / "first.yaml")
    assert f"{other}: bundle is for task 'tiny'" in line


def test_unknown_scenarios_and_bundles_are_refused(made: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml")
    assert "no scenario 'safe_raech'" in refused(capsys, *start, "--scenario", "safe_raech")
    assert "nothing: no such bundle folder" in refused(capsys, *start, "--compare", made / "nothing")
    assert "own --scenario" in refused(capsys, *start, "--compare", made / "moving", "safe_goal")
    assert "unexpected" in refused(capsys, *start, made / "moving")
    assert "no bundle given" in refused(capsys, "--scenario", made / "first.yaml")


def test_what_there_is_nothing_to_compare_in_is_refused(made: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml")
    assert "is the same bundle as" in refused(capsys, *start, "--compare", made / "calm")
    assert "is given twice" in refused(capsys, *start, "--scenario", made / "first.yaml")


def test_a_json_that_cannot_be_written_is_refused_before_anything_is_run(made: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml", "--json")
    assert "is a folder" in refused(capsys, *start, made)
    assert "its folder cannot be made" in refused(capsys, *start, made / "first.yaml" / "out.json")


def test_a_plot_is_drawn_with_an_earlier_evaluation_beside(made: Path, tmp_path: Path, capsys: Any) -> None:
    start = ("--bundle", made / "calm", "--scenario", made / "first.yaml")
    assert evaluated(*start, "--json", tmp_path / "out.json", "--plot", tmp_path / "one.png") == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    beside = ("--plot", tmp_path / "two.svg", "--plot-with", tmp_path / "out.json")
    assert evaluated(*start, "--monitor", "on", "--monitor", "off", *beside) == 0
    assert (tmp_path / "two.svg").read_text().startswith("<?xml")
    capsys.readouterr()
    assert ".png, .svg or .pdf" in refused(capsys, *start, "--plot", tmp_path / "out.gif")
    assert "give --plot" in refused(capsys, *start, "--plot-with", tmp_path / "out.json")
    assert "no JSON of fosp eval" in refused(
        capsys, *start, "--plot", tmp_path / "a.png", "--plot-with", made / "first.yaml"
    )


def workers_of(process: subprocess.Popen[str]) -> list[Path]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path(f"/proc/{c}") for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def running(process: Path) -> bool:
    """Neither gone nor dead and only waiting for its parent to take note."""
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def started(made: Path) -> Iterator[tuple[subprocess.Popen[str], list[Path]]]:
    """An evaluation that would take minutes, in a session of its own as a terminal's, and its processes."""
    command = [*EVAL, "--bundle", "calm", "--scenario", "first.yaml", "--episodes", "5000", "--json", "stopped.json"]
    process = subprocess.Popen(
        command, cwd=made, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: workers_of(process) or process.poll() is not None)
        yield process, workers_of(process)
    finally:
        process.kill()


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("whom", ["everyone", "the command"])
def test_ctrl_c_and_a_stop_by_the_system_end_everything_in_silence(
    whom: str, made: Path, started: tuple[subprocess.Popen[str], list[Path]]
) -> None:
    process, workers = started
    if whom == "everyone":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert not (made / "stopped.json").exists()
    assert workers
    assert not any(running(worker) for worker in workers)


def test_processes_do_not_outlive_a_killed_evaluation(started: tuple[subprocess.Popen[str], list[Path]]) -> None:
    process, workers = started
    process.kill()
    assert workers
    wait_until(lambda: not any(running(worker) for worker in workers))
