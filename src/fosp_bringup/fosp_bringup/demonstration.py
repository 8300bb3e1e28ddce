"""Recording demonstrations with a person: bring the graph up, check it before the first motion, show how it goes."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fosp_bringup.graph_watch import GraphWatch
from fosp_bringup.keyboard import HELP, KeyboardDevice
from fosp_bringup.preflight import (
    Expected,
    Finding,
    check_commander,
    check_disk,
    check_exposure,
    check_goal,
    check_stream,
)
from fosp_bringup.stack import Stack
from fosp_bringup.supervisor import Supervisor
from fosp_core.specs import RobotConfig
from fosp_learner.episode_recorder import EPISODE_PREFIX
from fosp_learner.feedback_rules import AnyMeasuredRule, FeedbackConfig, GoalRule
from fosp_learner.recorded_topics import camera_topics, default_topics, frame_topic

OBSERVE_S = 3.0
ACTIVE_TIMEOUT_S = 60.0
STATE_HZ = 20.0
"""Least rate of the robot's state and pose: twice that at which the monitor would stop the robot."""
ESTOP_HZ = 10.0
DEVICE_HZ = 5.0
LIVE_PERIOD_S = 0.25
EPISODE_S = 30.0
"""Length of an episode, for the estimate of disk space."""
COMPRESSED = 0.7
"""Size of recorded images in relation to raw ones, at worst, for the estimate."""
_TOLD = ("teleop_node", "feedback_node", "recorder_node")
"""Nodes whose every line concerns the operator; of the others warnings and errors are shown."""


@dataclass(frozen=True)
class Session:
    """What is to be recorded: until `episodes` are there, or Ctrl-C. `keyboard`: the device is this terminal."""

    stack: Stack
    robot: RobotConfig
    out: Path
    episodes: int
    device_topic: str
    keyboard: bool = False
    rules: FeedbackConfig | None = None
    """None: the simulator judges."""


def record(session: Session, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> int:
    """Run the session in the foreground; 0, or 1 when the graph did not come up, failed its check, or died."""
    stopping = threading.Event()
    previous = {s: signal.signal(s, lambda *_: stopping.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    live = LiveLine()
    supervisor = Supervisor(session.stack, write=lambda line: _pass_on(line, live, write), colour=False)
    try:
        with supervisor, GraphWatch(watched(session), session.stack.namespace) as watch:
            failure = watch.wait_active(ACTIVE_TIMEOUT_S, lambda: supervisor.alive and not stopping.is_set())
            if failure:
                write(f"the graph is not active: {failure}; {supervisor.died}")
                return 1
            with _device(session, watch) as poll:
                findings = preflight(session, watch, poll)
                _tell(findings, write)
                if not all(finding.ok for finding in findings):
                    write("nothing is recorded: mend what is marked with !! and start again")
                    return 1
                write(HELP if session.keyboard else "ready: the start button of the device begins an episode")
                recorded = _follow(session, watch, live, poll, lambda: supervisor.alive and not stopping.is_set())
        live.end()
        write(f"{recorded} episodes in {session.out}; now: ./fosp bags check {session.out}")
        return int(bool(supervisor.died))
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def watched(session: Session) -> dict[str, str]:
    """Topics whose rates matter; of a camera its camera_info, which is as frequent as its images and small."""
    robot = session.robot
    recorded = default_topics(robot)
    names = [frame_topic(robot), robot.state_topic, robot.command_topic]
    names += [robot.pose_topic] if robot.pose_topic else []
    names += [topic for topic, kind in camera_topics(robot).items() if kind.endswith("CameraInfo")]
    watched = {**{name: recorded[name] for name in names}, session.device_topic: "sensor_msgs/msg/Joy"}
    watched |= {rule.topic: rule.message_type for rule in _measured(session)}
    return {**watched, robot.estop_topic: "std_msgs/msg/Bool"} if robot.estop_topic else watched


def preflight(session: Session, watch: GraphWatch, poll: Callable[[], None]) -> list[Finding]:
    """Observe the graph for a few seconds and judge it."""
    robot = session.robot
    images = [topic for topic, kind in camera_topics(robot).items() if "Image" in kind and "depth" not in topic]
    poll()
    settled, frame_bytes = watch.settle_exposure(images, OBSERVE_S)
    observed = watch.observe(OBSERVE_S)
    findings = [check_stream(expected, observed[expected.topic]) for expected in _expected(session)]
    findings.append(check_commander(robot.command_topic, observed[robot.command_topic].publishers))
    findings.append(check_exposure(settled))
    needed = frame_bytes * robot.camera_frame_rate_hz * EPISODE_S * session.episodes * COMPRESSED
    session.out.mkdir(parents=True, exist_ok=True)
    findings.append(check_disk(shutil.disk_usage(session.out).free, int(needed)))
    if session.rules is not None:
        findings += [check_goal(rule, robot) for rule in session.rules.rules if isinstance(rule, GoalRule)]
    if watch.camera_trouble:
        findings.append(Finding(True, f"camera: {watch.camera_trouble}"))
    return findings


def _expected(session: Session) -> list[Expected]:
    robot = session.robot
    driver = "start the robot's driver, or correct the topic in the robot file"
    camera = "start the camera's driver, or choose --camera realsense"
    infos = [topic for topic, kind in camera_topics(robot).items() if kind.endswith("CameraInfo")]
    expected = [Expected(topic, robot.camera_frame_rate_hz, camera) for topic in infos]
    expected.append(Expected(robot.state_topic, STATE_HZ, driver))
    if robot.pose_topic:
        expected.append(Expected(robot.pose_topic, STATE_HZ, driver))
    if robot.estop_topic:
        estop = "its silence counts as pressed: start its source, or remove estop_topic from the robot file"
        expected.append(Expected(robot.estop_topic, ESTOP_HZ, estop))
    expected.append(Expected(robot.command_topic, robot.command_rate_hz, "the monitor is not active: see its log"))
    if not session.keyboard and not session.device_topic.startswith("spacenav"):
        device = f"start the device's node, which publishes {session.device_topic} (ros2 run joy joy_node)"
        expected.append(Expected(session.device_topic, DEVICE_HZ, device))
    known = {one.topic for one in expected}
    rules = "start what publishes it, or correct the topic in the feedback rules"
    expected += [Expected(r.topic, 1.0 / r.stale_s, rules) for r in _measured(session) if r.topic not in known]
    return expected


def _measured(session: Session) -> tuple[AnyMeasuredRule, ...]:
    return session.rules.measured if session.rules is not None else ()


def _tell(findings: list[Finding], write: Callable[[str], None]) -> None:
    for finding in findings:
        write(f"ok  {finding.text}" if finding.ok else f"!!  {finding.text}: {finding.remedy}")


def _follow(
    session: Session, watch: GraphWatch, live: LiveLine, poll: Callable[[], None], alive: Callable[[], bool]
) -> int:
    """Until there are enough episodes, or it is over; the number of them."""
    before = _finished(session.out)
    while alive():
        poll()
        watch.spin(0.04 if session.keyboard else LIVE_PERIOD_S)
        recorded = len(_finished(session.out) - before)
        live.show(_line(session, watch, recorded))
        if recorded >= session.episodes:
            break
    return len(_finished(session.out) - before)


def _line(session: Session, watch: GraphWatch, recorded: int) -> str:
    feedback = watch.feedback
    if feedback is None or feedback.is_last:
        state = "waiting"
    else:
        state = f"recording {time.monotonic() - watch.episode_since_s:4.1f} s" + (" COST" if feedback.cost > 0 else "")
    robot = session.robot
    shown = {"camera": frame_topic(robot), "state": robot.state_topic, "commands": robot.command_topic}
    rates = ", ".join(f"{name} {watch.rate_hz(topic):.0f} Hz" for name, topic in shown.items())
    free = shutil.disk_usage(session.out).free / 1e9
    trouble = f"  !! {watch.camera_trouble}" if watch.camera_trouble else ""
    return f"{recorded}/{session.episodes} episodes  {state}  {rates}, {watch.dropped} lost  {free:.0f} GB{trouble}"


def _finished(out: Path) -> set[str]:
    return {path.name for path in out.glob(f"{EPISODE_PREFIX}*")}


def _pass_on(line: str, live: LiveLine, write: Callable[[str], None]) -> None:
    name = line[1 : line.find("]")]
    if name in _TOLD or "[WARN]" in line or "[ERROR]" in line or "[FATAL]" in line or name == "fosp":
        live.clear()
        write(line)


class LiveLine:
    """One line, overwritten in a terminal; elsewhere only when something but the figures changed."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._said = ""

    def show(self, line: str) -> None:
        if self._terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        elif line.split("  ")[0] != self._said:
            self._said = line.split("  ")[0]
            print(line, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="")

    def end(self) -> None:
        self.clear()


@contextlib.contextmanager
def _device(session: Session, watch: GraphWatch) -> Iterator[Callable[[], None]]:
    """A function to call often: with a keyboard, it reads keys and publishes them as a gamepad's state."""
    if not session.keyboard:
        yield lambda: None
        return
    import termios
    import tty

    device, descriptor = KeyboardDevice(), sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def poll() -> None:
        while select.select([descriptor], [], [], 0.0)[0]:
            key = os.read(descriptor, 1).decode(errors="replace")
            if not key:
                break
            device.press(key, time.monotonic())
        watch.press(*device.state(time.monotonic()))

    try:
        yield poll
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)
