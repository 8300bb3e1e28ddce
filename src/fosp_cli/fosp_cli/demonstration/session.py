"""Demonstrations by a person: start the graph, check it before the first motion, record, and show the progress."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Joy

from fosp_bringup.stack import Stack
from fosp_bringup.supervisor import Supervisor
from fosp_cli.demonstration.graph_watch import GraphWatch
from fosp_cli.demonstration.keyboard import HELP, keys_of_terminal
from fosp_cli.demonstration.preflight import (
    Brightness,
    CheckResult,
    Expected,
    Observed,
    check_commander,
    check_device,
    check_disk,
    check_exposure,
    check_goal,
    check_images,
    check_publisher,
    check_stream,
    recorded_bytes_per_s,
)
from fosp_cli.live_line import LiveLine
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_policy import teleoperation
from fosp_recording.episode_recorder import EPISODE_PREFIX
from fosp_recording.feedback_rules import AnyMeasuredRule, BumperRule, ButtonRule, FeedbackConfig, GoalRule
from fosp_recording.recorded_topics import camera_topics, episode_topics, frame_topic, image_topics, info_beside

OBSERVE_S = 3.0
ACTIVE_TIMEOUT_S = 60.0
STATE_HZ = 20.0
"""Least rate of the robot's state and pose: twice the rate below which the monitor stops the robot."""
ESTOP_HZ = 10.0
DEVICE_HZ = 5.0
LIVE_PERIOD_S = 0.25
EPISODE_S = 30.0
"""Length of an episode for the estimate of disk space."""
_TOLD = ("teleop_node", "feedback_node", "recorder_node")
"""Nodes whose every line is shown to the operator. Of other nodes warnings and errors are shown."""


@dataclass(frozen=True)
class Session:
    """A recording session. It ends after `episodes` episodes or with Ctrl-C."""

    stack: Stack
    robot: RobotConfig
    out: Path
    episodes: int
    device_topic: str
    keyboard: bool = False
    """The device is this terminal."""
    device_repeats: bool = True
    """The device must publish all the time, as one with a deadman button. Others may publish only when they move."""
    rules: FeedbackConfig | None = None
    """None when the simulator gives the feedback."""
    mapping: teleoperation.Mapping | None = None
    """Mapping of the device."""


def record(session: Session, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> int:
    """Run the session in the foreground. Return 0, or 1 when the graph did not come up, failed its check, or died."""
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
                    write("nothing is recorded: mend the lines marked with !! and start again")
                    return 1
                write(HELP if session.keyboard else "ready: the start button of the device begins an episode")
                recorded = _follow(session, watch, live, poll, lambda: supervisor.alive and not stopping.is_set())
        live.clear()
        write(f"{recorded} episodes in {session.out}; now: ./fosp bags check {session.out}")
        return int(bool(supervisor.died))
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def watched(session: Session) -> dict[str, str]:
    """Return the topics to watch all the time, with their types. Cameras are watched by their camera_info."""
    robot = session.robot
    recorded = episode_topics(robot)
    names = [frame_topic(robot), robot.state_topic, robot.command_topic]
    names += [robot.pose_topic] if robot.pose_topic else []
    names += camera_infos(robot)
    watched = {**{name: recorded[name] for name in names}, session.device_topic: "sensor_msgs/msg/Joy"}
    watched |= {rule.topic: rule.message_type for rule in _measured(session) if rule.topic not in image_topics(robot)}
    watched |= {topic: kind for topic, kind, _ in _silent(session) if topic not in watched}
    return {**watched, **dict.fromkeys(robot.estop_topics, "std_msgs/msg/Bool")}


def preflight(session: Session, watch: GraphWatch, poll: Callable[[], None]) -> list[CheckResult]:
    """Observe the graph for a few seconds and return the findings."""
    robot = session.robot
    poll()
    with watch.watching(image_topics(robot)):
        seen = watch.settle_exposure(_colour_images(robot), OBSERVE_S)
        observed = watch.observe(OBSERVE_S)
    findings = judge(session, observed, seen)
    needed = recorded_bytes_per_s(observed, episode_topics(robot)) * EPISODE_S * session.episodes
    try:
        session.out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(session.out).free
    except OSError as error:
        raise UserError(f"{session.out}: cannot hold the recording: {error.strerror or error}") from None
    findings.append(check_disk(free, int(needed)))
    joy = watch.newest.get(session.device_topic)
    if session.mapping is not None and joy is not None and not session.keyboard:
        device = deserialize_message(joy, Joy)
        lacking = teleoperation.missing_controls(session.mapping, robot.action, len(device.axes), len(device.buttons))
        findings.append(check_device(lacking))
    if session.rules is not None:
        findings += [check_goal(rule, robot) for rule in session.rules.rules if isinstance(rule, GoalRule)]
    if watch.cameras.trouble:
        findings.append(CheckResult(True, watch.cameras.trouble))
    return findings


def judge(session: Session, observed: Mapping[str, Observed], seen: Mapping[str, Brightness]) -> list[CheckResult]:
    """Return a finding for every topic that the session needs. `seen` holds each colour image topic."""
    findings = _check_cameras(session.robot, observed, seen)
    findings += [check_stream(expected, observed[expected.topic]) for expected in _expected(session)]
    findings += [check_publisher(topic, observed[topic].publishers, remedy) for topic, _, remedy in _silent(session)]
    command = session.robot.command_topic
    return [*findings, check_commander(command, observed[command].publishers)]


def camera_infos(robot: RobotConfig) -> list[str]:
    """Return the camera_info topic of every recorded image."""
    return [topic for topic, kind in camera_topics(robot).items() if kind.endswith("CameraInfo")]


def _colour_images(robot: RobotConfig) -> dict[str, str]:
    depth = {topics.of_camera(topics.DEPTH_IMAGE, camera.name) for camera in robot.cameras}
    return {topic: kind for topic, kind in image_topics(robot).items() if topic not in depth}


def _check_cameras(
    robot: RobotConfig, observed: Mapping[str, Observed], seen: Mapping[str, Brightness]
) -> list[CheckResult]:
    """Check each camera's camera_info, its images and, where these come, their brightness."""
    remedy, rate_hz = "start the camera's driver, or choose --camera realsense", robot.camera_frame_rate_hz
    findings = []
    for topic in image_topics(robot):
        info = info_beside(topic)
        images = check_images(Expected(topic, rate_hz, remedy), observed[topic], observed[info])
        findings += [check_stream(Expected(info, rate_hz, remedy), observed[info]), images]
        if topic in seen and observed[topic].ages_s:
            findings.append(check_exposure(topic, seen[topic]))
    return findings


def _expected(session: Session) -> list[Expected]:
    robot = session.robot
    driver = "start the robot's driver, or correct the topic in the robot file"
    expected = [Expected(robot.state_topic, STATE_HZ, driver)]
    if robot.pose_topic:
        expected.append(Expected(robot.pose_topic, STATE_HZ, driver))
    estop = "its silence counts as pressed: start its source, or remove it from estop_topics in the robot file"
    expected += [Expected(topic, ESTOP_HZ, estop) for topic in robot.estop_topics]
    expected.append(Expected(robot.command_topic, robot.command_rate_hz, "the monitor is not active: see its log"))
    if session.device_repeats and not session.keyboard:
        expected.append(Expected(session.device_topic, DEVICE_HZ, _device_remedy(session)))
    known = {one.topic for one in expected} | set(image_topics(robot))
    rules = "start what publishes it, or correct the topic in the feedback rules"
    expected += [Expected(r.topic, 1.0 / r.stale_s, rules) for r in _measured(session) if r.topic not in known]
    return expected


def _silent(session: Session) -> list[tuple[str, str, str]]:
    """Return the topics that may be silent for long but need a publisher: name, type, remedy."""
    device = (session.device_topic, "sensor_msgs/msg/Joy", _device_remedy(session))
    found = [] if session.device_repeats or session.keyboard else [device]
    known = {session.device_topic}
    for rule in session.rules.rules if session.rules is not None else ():
        if isinstance(rule, BumperRule | ButtonRule) and rule.topic not in known:
            remedy = "start what publishes it, or leave its rules out of the feedback rules"
            found.append((rule.topic, rule.message_type, remedy))
            known.add(rule.topic)
    return found


def _device_remedy(session: Session) -> str:
    node = "spacenav spacenav_node" if session.device_topic.startswith("spacenav") else "joy joy_node"
    return f"start the device's node, which publishes {session.device_topic} (ros2 run {node})"


def _measured(session: Session) -> tuple[AnyMeasuredRule, ...]:
    return session.rules.measured if session.rules is not None else ()


def _tell(findings: list[CheckResult], write: Callable[[str], None]) -> None:
    for finding in findings:
        write(f"ok  {finding.text}" if finding.ok else f"!!  {finding.text}: {finding.remedy}")


def _follow(
    session: Session, watch: GraphWatch, live: LiveLine, poll: Callable[[], None], alive: Callable[[], bool]
) -> int:
    """Show the status until there are enough episodes or the session is over, and return their number."""
    before = _finished(session.out)
    while alive():
        poll()
        watch.spin(0.04 if session.keyboard else LIVE_PERIOD_S)
        recorded = len(_finished(session.out) - before)
        line = status_line(session, watch, recorded)
        live.show(line, key=line.split("  ")[0])
        if recorded >= session.episodes:
            break
    return len(_finished(session.out) - before)


def status_line(session: Session, watch: GraphWatch, recorded: int) -> str:
    """Return a line with episodes, time, rates (of the slowest camera), lost frames, free disk space and trouble."""
    feedback = watch.feedback
    if feedback is None or feedback.is_last:
        state = "waiting"
    else:
        state = f"recording {time.monotonic() - watch.episode_since_s:4.1f} s" + (" COST" if feedback.cost > 0 else "")
    robot = session.robot
    shown = {"camera": camera_infos(robot), "state": [robot.state_topic], "commands": [robot.command_topic]}
    rates = ", ".join(f"{name} {min(map(watch.rate_hz, of)):.0f} Hz" for name, of in shown.items())
    free = shutil.disk_usage(session.out).free / 1e9
    trouble = f"  !! {watch.cameras.trouble}" if watch.cameras.trouble else ""
    lost = watch.cameras.dropped
    return f"{recorded}/{session.episodes} episodes  {state}  {rates}, {lost} lost  {free:.0f} GB{trouble}"


def _finished(out: Path) -> set[str]:
    return {path.name for path in out.glob(f"{EPISODE_PREFIX}*")}


def _pass_on(line: str, live: LiveLine, write: Callable[[str], None]) -> None:
    name = line[1 : line.find("]")]
    if name in _TOLD or "[WARN]" in line or "[ERROR]" in line or "[FATAL]" in line or name == "fosp":
        live.clear()
        write(line)


@contextlib.contextmanager
def _device(session: Session, watch: GraphWatch) -> Iterator[Callable[[], None]]:
    """Yield a function to call often. With a keyboard it reads keys and publishes them as a gamepad's state."""
    if not session.keyboard:
        yield lambda: None
        return
    with keys_of_terminal() as poll:
        yield lambda: watch.press(*poll())
