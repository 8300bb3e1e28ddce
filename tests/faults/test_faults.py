"""A few rows of the fault table, so that `make test` sees what `make faults` shows of all of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_table import FAULTS
from mutants import MUTANTS
from run_faults import beyond_limits, describe, moved_after_latch, run

from fosp_core.ros.stamps import time_message
from fosp_msgs.msg import SafetyVerdict
from fosp_safety_monitor import judge


def test_every_check_of_the_safety_monitor_has_a_mutant_that_takes_it_out() -> None:
    rooms = [
        importlib.import_module(room.name)
        for room in pkgutil.walk_packages(judge.__path__, "fosp_safety_monitor.judge.")
    ]
    found = {name for room in rooms for name in vars(room) if name.startswith("check_")}
    assert len(found) > 30
    assert found <= {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("program", ["run_faults.py", "mutants.py"])
def test_a_program_of_the_makefile_finds_all_that_it_imports(program: str, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name(program)), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_the_table_has_at_least_40_faults_and_no_name_twice() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40


@pytest.mark.timeout(180)
def test_the_robot_is_stopped_in_time_by_each_of_a_few_faults(ros_environment: Any, tmp_path: Path) -> None:
    quick = [fault for fault in FAULTS if fault.quick]
    assert len(quick) >= 6
    outcomes = []
    for outcome in run(quick, tmp_path):
        print(describe(outcome))
        outcomes.append(outcome)
    assert [o.fault for o in outcomes if not o.ok] == []
    assert len(outcomes) == len(quick)
    boxes = [path for path in tmp_path.rglob("black_box_*") if path.is_dir()]
    assert boxes, "every stop leaves a black box"
    assert os.listdir(boxes[0])


def test_the_suite_would_see_commands_beyond_the_limits() -> None:
    from graph_under_fault import SentCommand

    from fosp_bringup.paths import robot_path
    from fosp_core.robot.config import read_robot

    robot = read_robot(robot_path("sim_arm"))

    def stream(*speeds: float) -> list[SentCommand]:
        return [SentCommand(0.01 * i, 0.01 * i, (speed, 0.0, 0.0)) for i, speed in enumerate(speeds)]

    assert beyond_limits(stream(0.0, 0.04, 0.08, 0.12), robot) == 0
    assert beyond_limits(stream(0.3, 0.301, 0.302), robot) == 2, "speed"
    assert beyond_limits(stream(0.0, 0.2), robot) == 1, "acceleration"
    assert beyond_limits(stream(0.0, float("nan")), robot) == 1


def test_the_suite_would_see_motion_after_a_latch_and_takes_no_earlier_stop_for_one() -> None:
    from graph_under_fault import SentCommand

    def stream(*speeds: float) -> list[SentCommand]:
        return [SentCommand(0.1 * i, 0.1 * i, (speed, 0.0, 0.0)) for i, speed in enumerate(speeds)]

    def verdict(decision: int, decided_s: float) -> SafetyVerdict:
        return SafetyVerdict(decision=decision, decided=time_message(round(decided_s * 1e9)))

    latch = [verdict(SafetyVerdict.STOP, 0.05), verdict(SafetyVerdict.LATCH, 0.45)]
    assert not moved_after_latch(stream(0.1, 0.0, 0.0, 0.1, 0.1, 0.05, 0.0, 0.0), latch), (
        "stopped, moved, latched, braked"
    )
    assert moved_after_latch(stream(0.1, 0.0, 0.0, 0.1, 0.1, 0.05, 0.0, 0.05), latch)
    assert not moved_after_latch(stream(0.1, 0.0, 0.1), latch[:1]), "never latched"
