"""A day on each robot that people own: the graph of real_robot.launch.py in front of a played driver.

`fosp up` starts what `ros2 launch fosp_bringup real_robot.launch.py` starts: tests/test_launch.py holds them together.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import SafetyVerdict
from fosp_msgs.srv import ResetEpisode

pytestmark = pytest.mark.timeout(180)

TESTS = Path(__file__).parent
PROGRAM = {"kind": "bool", "topic": "io_and_status_controller/robot_program_running", "transient_local": True}
FIRST_MOTION_S = 30.0
STOP_S = 0.5
"""Time within which commands are zero after a protective stop; the test's own threads are in it."""
QUIET_S = 1.0


@dataclass
class Day:
    """A graph on one robot, and the hand of a person."""

    graph: Any
    robot: RobotConfig
    process: subprocess.Popen[bytes]
    log: Path
    driver_log: Path
    commands: list[Any]
    verdicts: list[Any]

    def moves(self) -> bool:
        return bool(self.commands) and any(self.twist(self.commands[-1]))

    @staticmethod
    def twist(command: Any) -> tuple[float, ...]:
        linear, angular = command.twist.linear, command.twist.angular
        return linear.x, linear.y, linear.z, angular.z

    def engage(self) -> str:
        answer = self.graph.call(Trigger, "/safety_monitor_node/engage", Trigger.Request())
        return "" if answer.success else str(answer.message)

    def begin_episode(self) -> str:
        answer = self.graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=-1))
        return "" if answer.success else str(answer.message)


@pytest.fixture
def day(ros_environment: Any, graph: Any, tmp_path: Path, wait_until: Any) -> Iterator[Callable[..., Day]]:
    """`day(kind, name, changes)`: the graph on the shipped robot `name`, with `changes` of its file."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(kind: str, name: str, **changes: Any) -> Day:
        file, rules = tmp_path / "robot.yaml", tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump({"extends": name, "name": f"played_{name}", **changes}))
        robot = read_robot(file)
        topic = {"topic": robot.pose_topic} if robot.pose_topic else {"topic": robot.state_topic, "type": "Odometry"}
        goal = {"kind": "goal", "goal": [9.0, 0.0, 0.0], "within_m": 0.1, "success": True, **topic}
        rules.write_text(yaml.safe_dump({"time_limit_s": 120.0, "rules": [goal]}))
        wanted = [0.0, 0.5, 0.0] if robot.kind == "arm" else [0.5, 0.0]
        write_tiny_bundle(tmp_path / "bundle", robot, policy_action=wanted)
        commands = graph.listen(TwistStamped, robot.command_topic, qos.RECORD)
        verdicts = graph.listen(SafetyVerdict, topics.VERDICT, qos.RECORD)
        logs = [tmp_path / "driver.txt", tmp_path / "fosp.txt"]
        words = [
            [sys.executable, str(TESTS / "played_driver.py"), str(file), kind],
            [
                *(sys.executable, "-m", "fosp_cli.cli", "up", str(file), "--bundle", str(tmp_path / "bundle")),
                *("--feedback", str(rules), "--verbose"),
            ],
        ]
        for arguments, log in zip(words, logs, strict=True):
            with log.open("wb") as output:
                started.append(
                    subprocess.Popen(
                        arguments,
                        env=ros_environment.variables,
                        cwd=tmp_path,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        day = Day(graph, robot, started[-1], logs[1], logs[0], commands, verdicts)
        active = re.compile(r"lifecycle_manager.*: active\s*$", re.MULTILINE)

        def up() -> bool:
            assert day.process.poll() is None, logs[1].read_text()[-3000:]
            return active.search(logs[1].read_text(errors="replace")) is not None

        wait_until(up, 60.0, "an active graph")
        return day

    yield begin
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def live_through(day: Day, wait_until: Any) -> None:
    """Engaged motion, a protective stop, no motion after its release until somebody engages, and a clean end."""
    hand = day.graph.node.create_publisher(Bool, "hand/protective_stop", qos.STEP)
    wait_until(lambda: day.commands, 10.0, "commands")
    wait_until(lambda: day.begin_episode() == "", 20.0, "an episode")
    wait_until(lambda: day.verdicts and day.verdicts[-1].reason == SafetyVerdict.REASON_NOT_ENGAGED, 10.0, "a verdict")
    assert not any(any(day.twist(command)) for command in day.commands), "it moved before anybody engaged"
    wait_until(lambda: day.engage() == "", 20.0, "engaging")
    wait_until(day.moves, FIRST_MOTION_S, f"engaged motion; last: {day.verdicts[-1].reason_text}")
    wait_until(lambda: hand.get_subscription_count() == 1, 5.0, "the driver")

    pressed_s = time.monotonic()
    hand.publish(Bool(data=True))
    wait_until(lambda: not day.moves(), 5.0, "a stop")
    assert time.monotonic() - pressed_s < STOP_S + 0.2
    assert day.engage() != "", "engaging while the robot is stopped"

    hand.publish(Bool(data=False))
    since = len(day.commands)
    until = time.monotonic() + QUIET_S
    wait_until(lambda: time.monotonic() > until, 2 * QUIET_S)
    assert len(day.commands) > since + QUIET_S * day.robot.command_rate_hz / 4
    assert not any(any(day.twist(command)) for command in day.commands[since:]), "it moved after the release"
    wait_until(lambda: day.engage() == "", 20.0, "engaging anew")
    wait_until(day.moves, FIRST_MOTION_S, "motion after engaging anew")

    day.process.send_signal(signal.SIGINT)
    assert day.process.wait(40) == 0, day.log.read_text()[-3000:]
    assert not day.moves(), "it ended without braking"
    refused = day.driver_log.read_text().count("refused")
    assert refused < 0.05 * len(day.commands), f"Servo refused {refused} commands that were too old"


def test_a_day_on_a_universal_robots_arm(day: Callable[..., Day], wait_until: Any) -> None:
    live_through(day("ur", "ur5e", ready=[PROGRAM]), wait_until)


@pytest.mark.long
def test_a_day_on_a_turtlebot(day: Callable[..., Day], wait_until: Any) -> None:
    """It has no protective stop of its own; a node beside it says every 10 ms whether it may drive."""
    may_drive = {"kind": "bool", "topic": "base/may_drive", "timeout_s": 0.5}
    live_through(day("turtlebot", "turtlebot4", ready=[may_drive]), wait_until)
