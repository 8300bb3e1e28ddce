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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image, JointState, Joy

from fosp_bringup.cli import run
from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import seconds
from fosp_core.specs import read_robot
from fosp_msgs.msg import StepFeedback

ROOT = Path(__file__).parents[1]
ROBOT = ROOT / "config" / "robots" / "sim_arm.yaml"
START, STOP, DISCARD, MARK, SUCCESS, DEADMAN = 7, 6, 3, 2, 0, 5

pytestmark = pytest.mark.timeout(180)


class Gamepad:
    """joy_node with a gamepad: repeats its state 20 times per second.

    The stick is let go for a moment every two seconds: after a stop (a busy machine makes some) that is asked for.
    """

    def __init__(self, graph: Any) -> None:
        self.axes, self.buttons, self._clock = [0.0] * 6, [0] * 8, graph.node.get_clock()
        self._count = 0
        self._publisher = graph.node.create_publisher(Joy, "joy", qos.STEP)
        graph.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        self._count = (self._count + 1) % 40
        message = Joy(axes=[0.0] * 6 if self._count < 5 else self.axes, buttons=self.buttons)
        message.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(message)

    def hold(self, *buttons: int) -> None:
        self.buttons = [int(i in buttons) for i in range(8)]


class Arm:
    """Camera, joint states and tool pose at 40 Hz of an arm that obeys its commands."""

    def __init__(self, graph: Any) -> None:
        self._node = graph.node
        self.position = [0.5, 0.0, 0.2]
        self.commands: list[TwistStamped] = []
        self._as_of = Time()
        self._image, self._info = Image(), CameraInfo(height=96, width=128)
        fill_image(self._image, np.full((96, 128, 3), 80, np.uint8))
        kinds = ((Image, topics.COLOR_IMAGE), (CameraInfo, topics.CAMERA_INFO))
        self._images, self._infos = (self._node.create_publisher(k, name, qos.IMAGE_SOURCE) for k, name in kinds)
        self._states = self._node.create_publisher(JointState, "joint_states", qos.STEP)
        self._poses = self._node.create_publisher(PoseStamped, "tool_pose", qos.STEP)
        self._node.create_subscription(TwistStamped, "arm/twist_command", self._obey, qos.COMMAND)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        """In a thread of its own: as regular as a driver, also beside a busy executor."""
        begin, ticks = time.monotonic(), 0
        while not self._ending.wait(max(0.0, begin + 0.025 * ticks - time.monotonic())):
            self._publish_state()
            self._publish_frame()
            ticks += 1

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _obey(self, message: TwistStamped) -> None:
        self.commands.append(message)
        self.position[0] += message.twist.linear.x * 0.01
        self._as_of = message.header.stamp

    def _publish_state(self) -> None:
        state, pose = JointState(name=["joint1"], position=[0.0]), PoseStamped()
        now = self._node.get_clock().now().to_msg()
        state.header.stamp, pose.header.stamp = now, now
        if seconds(now) - seconds(self._as_of) < 0.05:  # commands come; those still under way have not moved it yet
            pose.header.stamp = self._as_of
        pose.header.frame_id = "base_link"
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = self.position
        self._states.publish(state)
        self._poses.publish(pose)

    def _publish_frame(self) -> None:
        self._image.header.stamp = self._info.header.stamp = self._node.get_clock().now().to_msg()
        self._images.publish(self._image)
        self._infos.publish(self._info)


@pytest.fixture
def arm(graph: Any) -> Iterator[Arm]:
    arm = Arm(graph)
    yield arm
    arm.end()


class Command:
    """`fosp record` in a process of its own."""

    def __init__(self, arguments: list[str], variables: dict[str, str], folder: Path) -> None:
        self._log_file = folder / "record.txt"
        with self._log_file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fosp_bringup.cli", "record", *arguments],
                env={**variables, "ROS_LOG_DIR": str(folder / "ros_log")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")


@pytest.fixture
def record(ros_environment: Any, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*arguments: object) -> Command:
        started.append(Command([str(a) for a in arguments], ros_environment.variables, tmp_path))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            os.kill(command.process.pid, signal.SIGINT)
            command.process.wait(30)
        print(command.log)


class Terminal:
    """A pseudo-terminal with `fosp record` in its foreground: keys go in, what is shown comes out."""

    def __init__(self, arguments: list[str], variables: dict[str, str], folder: Path) -> None:
        self._controller, self._terminal = pty.openpty()
        self.settings = termios.tcgetattr(self._terminal)
        self.shown = ""
        # setsid makes it the controlling terminal, so that Ctrl-C is a signal, as in any terminal window.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "fosp_bringup.cli", "record", *arguments],
            env={**variables, "ROS_LOG_DIR": str(folder / "ros_log"), "TERM": "xterm"},
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


def contents(bag: Path, *names: str) -> dict[str, list[Any]]:
    """Messages of a bag by topic."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    with AnyReader([bag], default_typestore=typestore()) as reader:
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic in names]):
            found[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return found


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
        """What the robot is told, m/s along x, while a key is held: a terminal repeats it.

        It is let go for half of every two seconds: after a stop (a busy machine makes some) that is asked for.
        """
        if time.monotonic() % 2.0 > 1.0:
            terminal.type(key)
        return float(commands[-1].twist.linear.x) if commands else 0.0

    try:
        ended = terminal.process.poll
        wait_until(lambda: "space: halt" in terminal.shown or ended() is not None, 90, "a passed check")
        assert "space: halt" in terminal.shown, terminal.shown
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


def test_a_person_records_on_a_robot_with_buttons_for_success_mark_and_discard(
    record: Callable[..., Command], graph: Any, arm: Arm, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    rules, out = tmp_path / "rules.yaml", tmp_path / "bags"
    goal = {"kind": "goal", "topic": "tool_pose", "goal": [0.4, 0.2, 0.3], "within_m": 0.05, "success": True}
    button = {"kind": "button", "button": SUCCESS, "success": True}
    rules.write_text(yaml.safe_dump({"time_limit_s": 60.0, "rules": [goal, button]}))
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
    robot.write_text(yaml.safe_dump({**yaml.safe_load(ROBOT.read_text()), "estop_topic": "estop"}))
    command = record("--robot", robot, "--feedback", "arm_reach", "--teleop", "gamepad", "--out", out)
    assert command.process.wait(90) == 1
    for topic in ("camera/color/camera_info", "joint_states", "tool_pose", "joy"):
        assert f"!!  {topic}: nobody publishes it: start the" in command.log
    assert "!!  estop: nobody publishes it: its silence counts as pressed" in command.log
    assert "arm/twist_command: one publisher" in command.log
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
