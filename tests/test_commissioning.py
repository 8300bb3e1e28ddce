"""Commissioning over real DDS: a healthy robot passes and its file is completed, each faulty one fails by its name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Bool

from fosp_bringup.commissioning_record import (
    STEPS,
    CommissioningRecord,
    StepRecord,
    read_record,
    robot_content,
    robot_hash,
    uncommissioned_because,
    write_record,
)
from fosp_bringup.commissioning_stack import commissioning_stack
from fosp_bringup.paths import robot_path
from fosp_cli.commissioning.dialogue import AbortedError
from fosp_cli.commissioning.session import Commissioning, commission
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).resolve().parents[1]
ESTOP = "cell/estop"
ROBOT = f"""# The arm of a cell that exists in tests only.
name: played_arm
kind: arm
action:
  frame_id: base_link
  axes:
    - {{name: linear.x, scale: 0.25}}   # m/s at action 1
    - {{name: linear.y, scale: 0.25}}
limits:
  linear.x: {{speed: 0.30, acceleration: 2.0, deceleration: 3.0}}
  linear.y: {{speed: 0.30, acceleration: 2.0, deceleration: 3.0}}
workspace:                            # measured with a tape
  lower: [0.30, -0.20, 0.10]
  upper: [0.70, 0.20, 0.40]
command_topic: arm/twist_command
state_topic: joint_states
state_type: JointState
pose_topic: tool_pose
estop_topics: [{ESTOP}]           # the mushroom at the door
camera_frame_rate_hz: 20.0
"""
AT_ONCE = {"response_s": 0.001, "dead_time_s": 0.001}
"""Response of a robot file that says that the robot answers at once."""


@dataclass
class ScriptedOperator:
    """A person who reads, agrees, and presses the emergency stop when they are told to."""

    hand: Any
    """Publisher by which the emergency stop is pressed."""
    said: list[str] = field(default_factory=list)
    abort_at: str = ""
    """Text at which the operator breaks off."""
    agrees: bool = True

    def tell(self, text: str) -> None:
        self.said.append(text)
        print(text)
        if "Press it now" in text:
            self.hand.publish(Bool(data=True))
        if "Release it now" in text:
            self.hand.publish(Bool(data=False))

    def confirm(self, text: str) -> None:
        self.tell(text)
        if self.abort_at and self.abort_at in text:
            raise AbortedError("aborted by the operator")

    def ask(self, text: str) -> bool:
        self.tell(text)
        return self.agrees


@dataclass
class Cell:
    """A played robot, its file, and an operator."""

    start: Callable[..., Any]
    graph: Any
    folder: Path

    def __post_init__(self) -> None:
        self.robot_file = self.folder / "played_arm.yaml"
        self.robot_file.write_text(ROBOT)
        self.operator = ScriptedOperator(self.graph.node.create_publisher(Bool, f"hand/{ESTOP}", qos.STEP))

    def play(self, **settings: Any) -> None:
        """Start the robot with these settings of played_robot.py."""
        words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        played = self.folder / "as_played.yaml"  # the robot does not learn what is written into its file
        played.write_text(self.robot_file.read_text())
        self.start(played, *words)

    def passed(self, *steps: str, **values: float) -> None:
        """Put a record beside the file in which these steps have passed already, with these measured values."""
        lines = "".join(f"{key}: {value}\n" for key, value in values.items())
        self.robot_file.write_text(self.robot_file.read_text() + lines)
        robot = read_robot(self.robot_file)
        done = {name: StepRecord(result="passed", date="2026-11-29") for name in steps}
        record = CommissioningRecord(
            **{"robot": robot.name, "robot_sha256": robot_hash(robot), "robot_file": robot_content(robot)},
            **{"simulated": False, "operator": "Ada", "date": "2026-11-29", "software": "0", "steps": done},
        )
        write_record(self.robot_file, record)

    def commission(
        self, *steps: str, patience_s: float = 20.0, bundle: Path | None = None
    ) -> tuple[CommissioningRecord, bool]:
        session = Commissioning(
            robot_file=self.robot_file,
            stack=partial(commissioning_stack, self.robot_file),
            operator=self.operator,
            operator_name="Ada",
            out=self.folder / "pictures",
            software="0.1.0",
            steps=steps,
            bundle=bundle,
            patience_s=patience_s,
            write=print,
        )
        return commission(session)

    def failure(self, step: str, *steps: str, **options: Any) -> str:
        """Commission, which has to fail at `step`; return what was found there."""
        record, passed = self.commission(*steps, **options)
        assert not passed
        assert record.steps[step].result == "failed"
        assert uncommissioned_because(self.robot_file, read_robot(self.robot_file))
        return record.steps[step].findings[0]


@pytest.fixture
def cell(ros_environment: Any, graph: Any, tmp_path: Path) -> Iterator[Cell]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> None:
        program = [sys.executable, str(Path(__file__).with_name("played_robot.py")), *map(str, arguments)]
        started.append(subprocess.Popen(program, env=ros_environment.variables))

    yield Cell(start, graph, tmp_path)
    for process in started:
        process.kill()
        process.wait()


# -- healthy -----------------------------------------------------------------------------------------
@pytest.mark.long
def test_the_file_of_a_healthy_robot_holds_what_was_measured_and_its_comments(cell: Cell) -> None:
    cell.play(lag=0.1, dead=0.05)
    record, passed = cell.commission("checks", "direction", "response")
    assert passed, record
    robot = read_robot(cell.robot_file)
    assert robot.response_s == pytest.approx(0.1, rel=0.2)
    assert robot.dead_time_s == pytest.approx(0.05, abs=0.02)
    assert record.steps["response"].figures["median lag (s)"] == pytest.approx(0.1, rel=0.2)
    lines = [line for line in cell.robot_file.read_text().splitlines() if "measured by fosp commission, 20" not in line]
    assert lines == ROBOT.splitlines(), "comments and order stay"
    assert read_record(cell.robot_file) == record
    assert record.missing == STEPS[3:]


@pytest.mark.long
def test_a_healthy_robot_passes_and_then_its_speed_is_not_capped(cell: Cell) -> None:
    cell.play(lag=0.1, dead=0.05)
    cell.passed("checks", "direction", "response", response_s=0.1, dead_time_s=0.05)
    assert "is not complete: stopping" in uncommissioned_because(cell.robot_file, read_robot(cell.robot_file))
    record, passed = cell.commission()
    assert passed, record
    assert list(record.steps) == list(STEPS)
    assert record.missing == ()
    assert record.operator == "Ada"
    assert uncommissioned_because(cell.robot_file, read_robot(cell.robot_file)) == ""
    assert float(record.steps["estops"].figures[f"{ESTOP} rest after press (s)"]) < 0.8
    assert (cell.folder / "pictures" / "cameras.png").stat().st_size > 1000


@pytest.mark.long
def test_a_commissioning_that_was_broken_off_goes_on_where_it_ended(cell: Cell) -> None:
    cell.play()
    cell.operator.abort_at = "linear.x: "
    with pytest.raises(AbortedError):
        cell.commission()
    record = read_record(cell.robot_file)
    assert record is not None
    assert list(record.steps) == ["checks"]
    cell.operator.abort_at = "of 'played_arm'"  # before the first step of the second run
    with pytest.raises(AbortedError):
        cell.commission()
    cell.operator.abort_at, cell.operator.said = "", []
    cell.commission("direction")
    assert any("[1/1] direction" in line for line in cell.operator.said)
    record = read_record(cell.robot_file)
    assert record is not None
    assert list(record.steps) == ["checks", "direction"]


# -- faulty ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], r"told \+x, moved -y: axes are swapped; is the action frame"),
        pytest.param(
            [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
            r"told \+x, moved -x: the sign is inverted; is the action frame",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [[1, 0, 0], [0, 3, 0], [0, 0, 1]], r"[23]\.\d+ times as far: are commands in m/s", marks=pytest.mark.long
        ),
        ([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]], r"told \+x, moved \+x 0\.(4[5-9]|5[0-5]) times as far"),
        pytest.param(
            [[0.7, -0.7, 0], [0.7, 0.7, 0], [0, 0, 1]],
            r"told \+x, moved \+x and \+y: is the action frame",
            marks=pytest.mark.long,
        ),
        ([[0, 0, 0], [0, 1, 0], [0, 0, 1]], r"told \+x, did not move"),
    ],
    ids=["swapped", "inverted", "three times as fast", "half as fast", "turned", "standing"],
)
def test_a_robot_that_does_something_else_fails_by_the_name_of_it(cell: Cell, matrix: Any, said: str) -> None:
    cell.play(matrix=matrix)
    cell.passed("checks")
    assert re.search(said, cell.failure("direction", "direction"))


@pytest.mark.long
def test_a_long_lag_is_measured(cell: Cell) -> None:
    cell.play(lag=0.35, dead=0.1)
    cell.passed("checks", "direction")
    record, passed = cell.commission("response")
    assert passed, record
    robot = read_robot(cell.robot_file)
    assert robot.response_s == pytest.approx(0.35, rel=0.2)
    assert robot.dead_time_s == pytest.approx(0.1, rel=0.2)


@pytest.mark.long
def test_a_lag_that_a_robot_file_may_not_hold_fails_with_the_figure(cell: Cell) -> None:
    cell.play(lag=1.1)
    before = cell.robot_file.read_text()
    cell.passed("checks", "direction")
    said = cell.failure("response", "response")
    assert "a lag of 1." in said
    assert "response_s: Input should be less than or equal to 1" in said
    assert cell.robot_file.read_text() == before


def test_a_robot_that_drives_on_in_silence_is_braked_and_fails(cell: Cell) -> None:
    commands = cell.graph.listen(TwistStamped, "arm/twist_command", qos.COMMAND_HISTORY)
    cell.play(watchdog=0)
    cell.passed("checks", "direction", "response", **AT_ONCE)
    assert "the driver's own watchdog does not stop it" in cell.failure("watchdog", "watchdog")
    stamps = [message.header.stamp.sec + message.header.stamp.nanosec * 1e-9 for message in commands]
    silence_s, end = max((after - before, i + 1) for i, (before, after) in enumerate(pairwise(stamps)))
    assert 0.2 < silence_s < 0.6, "the stream was really cut, and not for long"
    assert commands[end - 1].twist.linear.x != 0.0
    assert all(message.twist.linear.x == 0.0 for message in commands[end:]), "zero commands at once"


@pytest.mark.long
def test_a_robot_with_a_watchdog_passes_the_silence(cell: Cell) -> None:
    cell.play(lag=0.1)
    cell.passed("checks", "direction", "response", response_s=0.1)
    record, passed = cell.commission("watchdog")
    assert passed, record
    assert 0.1 < record.steps["watchdog"].figures["rest after silence (s)"] < 0.6


@pytest.mark.long
def test_a_watchdog_that_takes_longer_than_the_file_says_fails(cell: Cell) -> None:
    cell.play(lag=0.2)  # as a driver whose time-out is longer
    cell.passed("checks", "direction", "response", **AT_ONCE)
    assert "command_timeout_s" in cell.failure("watchdog", "watchdog")


@pytest.mark.long
def test_a_robot_that_stops_later_than_its_limits_promise_fails(cell: Cell) -> None:
    cell.play(lag=0.12)
    cell.passed("checks", "direction", "response", **AT_ONCE)
    assert "its limits and response promise" in cell.failure("stopping", "stopping")


def test_an_emergency_stop_that_is_not_wired_fails(cell: Cell) -> None:
    cell.play(wired=0)
    cell.passed("checks", "direction", "response")
    said = cell.failure("estops", "estops", patience_s=3.0)
    assert said == f"{ESTOP}: no press arrived within 3 s: is the emergency stop wired to this topic?"


@pytest.mark.long
def test_a_picture_that_the_operator_does_not_know_fails(cell: Cell) -> None:
    cell.play()
    cell.operator.agrees = False
    assert "does not agree" in cell.failure("cameras", "cameras")


@pytest.mark.long
def test_a_picture_that_the_bundle_was_not_trained_on_fails_though_the_operator_agrees(cell: Cell) -> None:
    cell.robot_file.write_text(robot_path("sim_arm").read_text())
    cell.play()  # its camera shows noise
    said = cell.failure("cameras", "cameras", bundle=ROOT / "models" / "safe_reach")
    assert said.startswith("camera/color/image_raw: not the picture that the bundle was trained on: ")


@pytest.mark.long
def test_a_camera_and_an_emergency_stop_that_are_missing_fail_the_checks(cell: Cell) -> None:
    cell.play(camera=0)
    cell.robot_file.write_text(cell.robot_file.read_text().replace(ESTOP, "other/estop"))
    record, passed = cell.commission("checks")
    assert not passed
    found = record.steps["checks"].findings
    assert any("camera/color/image_raw: " in line for line in found)
    assert any(line.startswith("other/estop: nobody publishes it") for line in found)


def test_nothing_begins_while_somebody_else_commands_the_robot(cell: Cell) -> None:
    cell.play()
    cell.graph.node.create_publisher(TwistStamped, "arm/twist_command", qos.COMMAND)
    with pytest.raises(UserError, match=r"/probe publishes on arm/twist_command: stop whatever else"):
        cell.commission()
    assert read_record(cell.robot_file) is None


@pytest.mark.long
def test_a_step_that_relies_on_another_is_refused_before_it(cell: Cell) -> None:
    with pytest.raises(UserError, match=r"step 'stopping' needs checks, direction, response first: --steps checks,"):
        cell.commission("stopping")


# -- without a record --------------------------------------------------------------------------------
def test_a_capped_guard_says_so_and_refuses_a_cap_that_is_none(start_node: Any, graph: Any, wait_until: Any) -> None:
    seen = graph.listen(DiagnosticArray, "/diagnostics", qos.STEP)
    robot = ("-p", f"robot:={robot_path('sim_arm')}")
    node = start_node("fosp_safety_monitor.operator_guard_node", *robot, "-p", "speed_cap:=0.1")
    (status,) = wait_until(lambda: seen and seen[-1].status, 20, "diagnostics")
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith("speed capped at 0.1 of the limits")
    assert {value.key: value.value for value in status.values}["speed cap"] == "0.1"
    assert "no passed commissioning record" in node.log
    for wrong in ("0.0", "1.5", "-0.1"):
        refused = start_node("fosp_safety_monitor.operator_guard_node", *robot, "-p", f"speed_cap:={wrong}")
        assert refused.process.wait(20) == 2
        assert "parameter 'speed_cap' must be in [0.01, 1]" in refused.log


# -- the command, on simulated robots ----------------------------------------------------------------
def fosp(environment: Any, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fosp_cli.cli", *arguments],
        cwd=folder,
        env=environment.variables,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("name", ["sim_arm", "sim_base"])
def test_a_simulated_robot_is_commissioned_whole(ros_environment: Any, tmp_path: Path, name: str) -> None:
    robot_file = tmp_path / "my_robot.yaml"
    content = robot_path(name).read_text().replace("-0.38", "-0.12").replace("0.38", "0.12")  # fewer metres to go
    robot_file.write_text(content)
    practise = ["commission", "--robot", "my_robot.yaml", "--simulate", "--yes"]
    done = fosp(ros_environment, tmp_path, *practise, "--operator", "Ada", "--json", "record.json")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["passed"], record["simulated"], record["operator"]) == (True, True, "Ada")
    assert all(step["result"] == "passed" for step in record["steps"].values())
    robot = read_robot(robot_file)
    assert robot.dead_time_s + robot.response_s < 0.05
    assert "is of a simulated robot" in uncommissioned_because(robot_file, robot)
    before = yaml.safe_load(content)
    measured = {"dead_time_s": robot.dead_time_s, "response_s": robot.response_s}
    assert yaml.safe_load(robot_file.read_text()) == {**before, **measured}
    assert (tmp_path / "runs" / "commission" / name / "cameras.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--yes",), "--yes answers for the person beside the robot, so it needs --simulate"),
        (("--steps", "dance"), "no step 'dance'; there are: checks, direction,"),
    ],
)
def test_wrong_usage_is_one_line(ros_environment: Any, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "my_robot.yaml").write_text(robot_path("sim_arm").read_text())
    done = fosp(ros_environment, tmp_path, "commission", "--robot", "my_robot.yaml", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fosp: {said}")
    assert done.stderr.count("\n") == 1


def test_where_nobody_answers_nothing_moves(ros_environment: Any, tmp_path: Path) -> None:
    (tmp_path / "my_robot.yaml").write_text(robot_path("sim_base").read_text())
    done = fosp(ros_environment, tmp_path, "commission", "--robot", "my_robot.yaml", "--simulate")
    assert done.returncode == 1
    assert "nobody answers: the input has ended" in done.stderr
    assert not (tmp_path / "my_robot.commissioning.yaml").exists()
