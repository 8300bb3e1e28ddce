"""`fosp record` with a person at a gamepad: in simulation, on a robot, and where the pre-flight check says no."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from geometry_msgs.msg import TwistStamped
from recording_rig import (
    DEADMAN,
    DISCARD,
    MARK,
    ROBOT,
    START,
    SUCCESS,
    Arm,
    Command,
    Gamepad,
    bare,
    contents,
    goal_rules,
)

from fosp_cli.cli import run
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import StepFeedback

pytestmark = pytest.mark.timeout(180)


class Terminal:
    """A pseudo-terminal with `fosp record` in its foreground: keys go in, what is shown comes out."""

    def __init__(self, arguments: list[str], variables: dict[str, str], folder: Path) -> None:
        self._controller, self._terminal = pty.openpty()
        self.settings = termios.tcgetattr(self._terminal)
        self.shown = ""
        # setsid makes it the controlling terminal, so that Ctrl-C is a signal, as in any terminal window.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "fosp_cli.cli", "record", *arguments],
            env={**bare(variables), "ROS_LOG_DIR": str(folder / "ros_log"), "TERM": "xterm"},
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while data := os.read(self._controller, 4096):
                self.shown += data.decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    @property
    def settings_now(self) -> list[Any]:
        return termios.tcgetattr(self._terminal)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        print(self.shown)
        os.close(self._terminal)
        os.close(self._controller)


@pytest.mark.long
def test_a_person_records_in_the_simulation_and_the_learner_takes_the_bags(
    record: Callable[..., Command], graph: Any, wait_until: Callable[..., Any], tmp_path: Path, capsys: Any
) -> None:
    scenario, out = tmp_path / "scenario.yaml", tmp_path / "bags"
    scenario.write_text(yaml.safe_dump({"task": "safe_reach", "seed": 3, "max_steps": 30}))
    gamepad = Gamepad(graph)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    command = record("--scenario", scenario, "--teleop", "gamepad", "--episodes", 2, "--out", out)
    wait_until(lambda: "ready:" in command.log or command.ended, timeout_s=90, what="a passed check")
    assert "ready:" in command.log, command.log
    for episode in range(2):
        gamepad.axes[1] = 0.0
        gamepad.hold(START)
        wait_until(
            lambda e=episode: feedback and feedback[-1].episode == e and not feedback[-1].is_last, what="a start"
        )
        gamepad.hold(DEADMAN)
        gamepad.axes[1] = -0.5
        wait_until(lambda: feedback[-1].is_last, what="the end of the episode")
        gamepad.hold()
    assert command.process.wait(60) == 0
    assert "2 episodes in" in command.log
    told = contents(out / "episode_000001", "/arm/twist_command", "/fosp/verdict")
    assert min(message.twist.linear.x for message in told["/arm/twist_command"]) < -0.05
    assert {message.reason_text for message in told["/fosp/verdict"]} >= {"the operator drives"}
    assert run(["bags", "check", str(out)]) == 0
    assert "2 of 2 bags can be trained on" in capsys.readouterr().out


@pytest.mark.long
def test_a_person_records_from_the_keyboard_of_a_terminal(
    ros_environment: Any, graph: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    scenario, out = tmp_path / "scenario.yaml", tmp_path / "bags"
    scenario.write_text(yaml.safe_dump({"task": "safe_reach", "seed": 3, "max_steps": 100}))
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    commands = graph.listen(TwistStamped, "arm/twist_command", qos.COMMAND_HISTORY)
    terminal = Terminal(
        ["--scenario", str(scenario), "--teleop", "keyboard", "--out", str(out)], ros_environment.variables, tmp_path
    )

    def driven(key: str) -> float:
        """Return the command, m/s along x, while a key is held: a terminal repeats it.

        It is let go for half of every two seconds: after a stop (a busy machine makes some) that is asked for.
        """
        if time.monotonic() % 2.0 > 1.0:
            terminal.type(key)
        return float(commands[-1].twist.linear.x) if commands else 0.0

    try:
        ended = terminal.process.poll
        wait_until(lambda: "space: hold" in terminal.shown or ended() is not None, 90, "a passed check")
        assert "space: hold" in terminal.shown, terminal.shown
        assert not terminal.settings_now[3] & (termios.ICANON | termios.ECHO), "keys come at once, and are not shown"
        terminal.type("n")
        wait_until(lambda: feedback and not feedback[-1].is_last, what="a start")
        wait_until(lambda: driven("s") < -0.05, what="motion while the key is held")
        wait_until(lambda: commands[-1].twist.linear.x == 0.0, what="a standstill after it was let go")
        terminal.type("m")
        wait_until(lambda: "marked" in terminal.shown, what="a mark")
        wait_until(lambda: "1/50 episodes" in terminal.shown, 30, "the end of the episode")
        terminal.type("\x03")
        assert terminal.process.wait(60) == 0, terminal.shown
        assert "1 episodes in" in terminal.shown
        assert terminal.settings_now == terminal.settings, "the terminal is left as it was"
    finally:
        terminal.close()
    (bag,) = out.glob("episode_*")
    told = contents(bag, "/fosp/mark", "/arm/twist_command")
    assert [message.data for message in told["/fosp/mark"]] == ["operator"]
    assert min(message.twist.linear.x for message in told["/arm/twist_command"]) < -0.05


@pytest.mark.long
def test_a_person_records_on_a_robot_with_buttons_for_success_mark_and_discard(
    record: Callable[..., Command], graph: Any, arm: Arm, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    out, button = tmp_path / "bags", {"kind": "button", "button": SUCCESS, "success": True}
    rules = goal_rules(tmp_path / "rules.yaml", button)
    gamepad = Gamepad(graph)
    feedback = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    command = record("--robot", ROBOT, "--feedback", rules, "--teleop", "gamepad", "--episodes", 1, "--out", out)
    wait_until(lambda: "ready:" in command.log or command.ended, timeout_s=90, what="a passed check")
    assert "ready:" in command.log, command.log

    def begin() -> None:
        count = len(feedback)
        gamepad.hold()
        wait_until(lambda: gamepad.buttons == [0] * 8, what="released buttons")
        gamepad.hold(START, DEADMAN)
        wait_until(lambda: any(m.is_first for m in feedback[count:]), what="a first frame")

    begin()
    gamepad.hold(DEADMAN)
    gamepad.axes[1] = 1.0
    wait_until(lambda: arm.position[0] > 0.52, timeout_s=30, what="motion")
    gamepad.hold(DISCARD)
    wait_until(lambda: list((out / ".discarded").glob("*")), what="the episode put aside")
    wait_until(lambda: feedback[-1].is_last, what="its end")
    wait_until(lambda: arm.commands[-1].twist.linear.x == 0.0, what="a standstill without the deadman button")

    gamepad.axes[1] = 0.0
    begin()
    gamepad.hold(DEADMAN, MARK)
    gamepad.axes[1] = 1.0
    limit = read_robot(ROBOT).workspace
    assert limit is not None
    wait_until(lambda: arm.position[0] > limit.upper[0] - 0.01, timeout_s=40, what="the wall")
    gamepad.hold(SUCCESS)
    assert command.process.wait(60) == 0, command.log
    assert max(arm.position) <= limit.upper[0] + 0.003
    (bag,) = out.glob("episode_*")
    told = contents(bag, "/fosp/feedback", "/fosp/mark", "/camera/color/image_raw")
    assert told["/fosp/feedback"][0].is_first
    assert (told["/fosp/feedback"][-1].is_last, told["/fosp/feedback"][-1].success) == (True, True)
    assert [message.data for message in told["/fosp/mark"]] == ["operator"]
    assert len(told["/camera/color/image_raw"]) > 20


def test_a_robot_that_is_not_there_is_found_before_anything_is_recorded(
    record: Callable[..., Command], tmp_path: Path
) -> None:
    out, robot = tmp_path / "bags", tmp_path / "robot.yaml"
    robot.write_text(yaml.safe_dump({**yaml.safe_load(ROBOT.read_text()), "estop_topics": ["estop"]}))
    command = record("--robot", robot, "--feedback", "arm_reach", "--teleop", "gamepad", "--out", out)
    assert command.process.wait(90) == 1
    for topic in ("camera/color/camera_info", "joint_states", "tool_pose", "joy"):
        assert f"!!  {topic}: nobody publishes it: start the" in command.log
    assert "!!  estop: nobody publishes it: its silence counts as pressed" in command.log
    assert "arm/twist_command: one publisher" in command.log
    assert "nothing is recorded" in command.log
    assert not list(out.glob("*_0*"))


def a_dead_image_topic(arm: Arm) -> None:
    arm.images_come = False


def a_clock_that_runs_ahead(arm: Arm) -> None:
    arm.ahead_s = 1.5


def a_second_commander(arm: Arm) -> None:
    arm.command_too()


@pytest.mark.parametrize(
    ("fault", "lines", "unsaid"),
    [
        pytest.param(
            a_dead_image_topic,
            ["camera/color/image_raw: no image in 3 s, although its camera_info comes: use larger socket buffers"],
            ["brightness", "exposure"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            a_clock_that_runs_ahead,
            [f"{topic}: stamped 1" for topic in ("camera/color/camera_info", "camera/color/image_raw", "joint_states")],
            ["no image", "nobody publishes"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            a_second_commander,
            ["arm/twist_command: 2 publishers: stop whatever else commands the robot"],
            ["no image", "nobody publishes", "in the future"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_each_fault_of_a_robot_has_a_line_of_its_own_before_anything_is_recorded(
    fault: Callable[[Arm], None],
    lines: list[str],
    unsaid: list[str],
    record: Callable[..., Command],
    graph: Any,
    arm: Arm,
    wait_until: Callable[..., Any],
    tmp_path: Path,
) -> None:
    Gamepad(graph)
    fault(arm)
    out, rules = tmp_path / "bags", goal_rules(tmp_path / "rules.yaml")
    command = record("--robot", ROBOT, "--feedback", rules, "--teleop", "gamepad", "--out", out)
    wait_until(lambda: "ready:" in command.log or command.ended, timeout_s=90, what="the verdict of the check")
    assert command.ended, command.log
    assert command.process.returncode == 1
    for line in lines:
        assert f"!!  {line}" in command.log
    for words in unsaid:
        assert words not in command.log
    assert "nothing is recorded" in command.log
    assert not list(out.glob("*_0*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --scenario NAME"),
        (["--teleop", "gamepad"], "needs --robot NAME and --feedback RULES"),
        (["--teleop", "keyboard", "--robot", "ur5e", "--feedback", "arm_reach"], "needs a terminal"),
        (["--teleop", "gamepad", "--seed", "1"], "leave them out"),
        (["--teleop", "wheel", "--robot", "ur5e", "--feedback", "arm_reach"], "no teleop 'wheel'"),
    ],
)
def test_wrong_usage_is_one_line(capsys: Any, monkeypatch: Any, tmp_path: Path, arguments: Any, message: str) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert run(["record", "--out", str(tmp_path / "bags"), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
