"""A day on each robot that people own: the graph of real_robot.launch.py in front of a played driver.

One short day, with a UR, is part of `make test`. The whole days (`long`) begin with commissioning, have all messages of
the vendors, and run through `fosp up` and, where ROS brings it, through the real `ros2 launch`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_vendor_messages import missing_tools, vendor_variables
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry
from played_driver import BEST_EFFORT
from rclpy.duration import Duration
from recording_rig import DEADMAN, STOP, Gamepad, contents
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_bringup.commissioning_record import uncommissioned_because
from fosp_core import topics
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import SafetyVerdict
from fosp_msgs.srv import ResetEpisode

pytestmark = pytest.mark.timeout(180)

TESTS = Path(__file__).parent
ACTIVE = re.compile(r"lifecycle_manager.*: active\s*$", re.MULTILINE)
FIRST_MOTION_S = 30.0
STOP_S = 0.5
"""Time within which commands are zero after a protective stop; the test's own threads are in it."""
QUIET_S = 1.0
PATIENT = """/**/lifecycle_manager: {ros__parameters: {heartbeat_s: 3.0}}
/**/safety_monitor_node: {ros__parameters: {heartbeat_gap_s: 3.0}}
"""
"""Parameters for a busy machine, on which a node may be held up for a moment; that has tests of its own."""
STILL = 1e-6
"""m: two target poses that differ by less are one."""


@dataclass
class Day:
    """A graph on one robot, and the hand of a person."""

    graph: Any
    folder: Path
    file: Path
    variables: Mapping[str, str]
    kind: str
    started: list[subprocess.Popen[bytes]]
    robot: RobotConfig = field(init=False)
    commands: list[Any] = field(init=False)
    verdicts: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.robot = read_robot(self.file)
        message = PoseStamped if self.robot.command_type == "PoseStamped" else TwistStamped
        self.commands = self.graph.listen(message, self.robot.command_topic, qos.RECORD)
        self.verdicts = self.graph.listen(SafetyVerdict, topics.VERDICT, qos.RECORD)
        self.gamepad = Gamepad(self.graph)
        self.hand = self.graph.node.create_publisher(Bool, "hand/protective_stop", qos.STEP)

    # -- processes ------------------------------------------------------------------------------------
    def start(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        with self.log_file(name).open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in words],
                env=dict(self.variables),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.txt"

    def log(self, name: str) -> str:
        return self.log_file(name).read_text(errors="replace")

    def start_driver(self) -> subprocess.Popen[bytes]:
        """Start the driver, and say to Servo that it takes twists, where its messages are there."""
        slower = [200] if self.kind in ("franka", "crisp") else []  # as docs/robots/franka.md advises
        process = self.start("driver", sys.executable, TESTS / "played_driver.py", self.file, self.kind, *slower)
        if self.kind in ("ur", "franka") and "servo_status" in {ready.kind for ready in self.robot.ready}:
            words = [sys.executable, TESTS / "played_driver.py", "take_twists"]
            assert subprocess.run(words, env=dict(self.variables), check=False).returncode == 0
        return process

    def commission(self) -> None:
        """Run `fosp commission` with a person who agrees, and end the driver."""
        driver = self.start_driver()
        done = subprocess.run(
            [*FOSP, "commission", "--robot", str(self.file), "--operator", "Ada"],
            input="y\n" * 200,
            env=dict(self.variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        self.robot = read_robot(self.file)
        assert uncommissioned_because(self.file, self.robot) == ""
        end(driver)

    def launch(self, way: Callable[[Day], list[object]], wait_until: Any) -> subprocess.Popen[bytes]:
        """Start the driver and the graph, and wait until the graph is active."""
        topic = {"topic": self.robot.pose_topic} if self.robot.pose_topic else {"topic": self.robot.state_topic}
        of = {} if self.robot.pose_topic else {"type": "Odometry"}
        goal = {"kind": "goal", "goal": [9.0, 0.0, 0.0], "within_m": 0.1, "success": True, **topic, **of}
        (self.folder / "rules.yaml").write_text(yaml.safe_dump({"time_limit_s": 120.0, "rules": [goal]}))
        (self.folder / "patient.yaml").write_text(PATIENT)
        share = 0.5 if uncommissioned_because(self.file, self.robot) else 0.05  # the same speed
        wanted = [0.0, share, 0.0] if self.robot.kind == "arm" else [0.5, 0.0]
        write_tiny_bundle(self.folder / "bundle", self.robot, policy_action=wanted)
        self.start_driver()
        self.commands.clear()  # those of commissioning
        self.verdicts.clear()
        process = self.start("graph", *way(self))

        def up() -> bool:
            assert process.poll() is None, self.log("graph")[-3000:]
            return ACTIVE.search(self.log("graph")) is not None

        wait_until(up, 90.0, "an active graph")
        return process

    # -- what is seen ---------------------------------------------------------------------------------
    def motion(self, index: int = -1) -> tuple[float, ...]:
        """Return the motion that a command asks for, per axis: a twist, or the step of a target pose."""
        if self.robot.command_type != "PoseStamped":
            linear, angular = self.commands[index].twist.linear, self.commands[index].twist.angular
            return linear.x, linear.y, linear.z, angular.z
        if len(self.commands) < 2 or index % len(self.commands) == 0:
            return (0.0,) * 3
        before, after = (self.commands[i].pose.position for i in (index - 1, index))
        steps = (after.x - before.x, after.y - before.y, after.z - before.z)
        return tuple(step if abs(step) > STILL else 0.0 for step in steps)

    def moves(self) -> bool:
        return bool(self.commands) and any(self.motion())

    def stood(self, since: int = 0) -> bool:
        return not any(any(self.motion(index)) for index in range(since, len(self.commands)))

    def last(self) -> str:
        return f"last: {self.verdicts[-1].reason_text}" if self.verdicts else "no verdict"

    # -- what is said ---------------------------------------------------------------------------------
    def engage(self) -> str:
        answer = self.graph.call(Trigger, "/safety_monitor_node/engage", Trigger.Request())
        return "" if answer.success else str(answer.message)

    def begin_episode(self) -> str:
        answer = self.graph.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=-1))
        return "" if answer.success else str(answer.message)


FOSP = (sys.executable, "-m", "fosp_cli.cli")


def by_fosp_up(day: Day) -> list[object]:
    return [
        *(*FOSP, "up", day.file, "--bundle", day.folder / "bundle", "--feedback", day.folder / "rules.yaml"),
        *("--teleop", "gamepad", "--record", day.folder / "bags", "--params-file", day.folder / "patient.yaml"),
        "--verbose",
    ]


def by_ros2_launch(day: Day) -> list[object]:
    return [
        *("ros2", "launch", "fosp_bringup", "real_robot.launch.py", f"robot:={day.file}"),
        *(f"model:={day.folder / 'bundle'}", f"feedback:={day.folder / 'rules.yaml'}"),
        *("teleop:=gamepad", f"record:={day.folder / 'bags'}", f"black_box:={day.folder / 'box'}"),
        f"params_file:={day.folder / 'patient.yaml'}",
    ]


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture
def day(ros_environment: Any, graph: Any, tmp_path: Path) -> Iterator[Callable[..., Day]]:
    """`day(kind, name, variables, **changes)`: the shipped robot `name`, with `changes` of its file."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(kind: str, name: str, variables: Mapping[str, str] | None = None, **changes: Any) -> Day:
        file = tmp_path / "robot.yaml"
        file.write_text(yaml.safe_dump({"extends": name, "name": f"played_{name}", **changes}))
        return Day(graph, tmp_path, file, {**ros_environment.variables, **(variables or {})}, kind, started)

    yield begin
    for process in reversed(started):
        end(process)


# -- the hours of a day ------------------------------------------------------------------------------
def engage_in_an_episode(day: Day, wait_until: Any) -> None:
    """Nothing moves before an episode runs and somebody has engaged."""
    wait_until(lambda: day.commands, 10.0, "commands")
    wait_until(lambda: day.begin_episode() == "", 20.0, "an episode")
    wait_until(lambda: day.verdicts and day.verdicts[-1].reason == SafetyVerdict.REASON_NOT_ENGAGED, 10.0, day.last())
    assert day.stood(), "it moved before anybody engaged"
    wait_until(lambda: day.engage() == "", 20.0, "engaging")
    wait_until(day.moves, FIRST_MOTION_S, f"engaged motion; {day.last()}")


def stop_and_release(day: Day, wait_until: Any) -> None:
    """A protective stop stops the commands, and nothing moves after its release until somebody engages."""
    wait_until(lambda: day.hand.get_subscription_count() == 1, 5.0, "the driver")
    pressed_s = time.monotonic()
    day.hand.publish(Bool(data=True))
    wait_until(lambda: not day.moves(), 5.0, "a stop")
    assert time.monotonic() - pressed_s < STOP_S + 0.2
    assert day.engage() != "", "engaging while the robot is stopped"
    day.hand.publish(Bool(data=False))
    since = len(day.commands)
    until = time.monotonic() + QUIET_S
    wait_until(lambda: time.monotonic() > until, 2 * QUIET_S)
    assert len(day.commands) > since + QUIET_S * day.robot.command_rate_hz / 4
    assert day.stood(since), "it moved after the release"
    wait_until(lambda: day.engage() == "", 20.0, "engaging anew")
    wait_until(day.moves, FIRST_MOTION_S, f"motion after engaging anew; {day.last()}")


def take_over(day: Day, wait_until: Any, forward: int) -> None:
    """A person holds the gamepad's button and pushes the stick (`forward` 1 or -1); then the policy goes on."""
    frame = day.robot.operator_frame
    sign = -forward if frame is not None and abs(frame.yaw) > 1.6 else forward
    day.gamepad.axes[1] = float(forward)
    day.gamepad.hold(DEADMAN)
    wait_until(lambda: day.verdicts[-1].source == SafetyVerdict.SOURCE_OPERATOR, 10.0, f"a person; {day.last()}")
    wait_until(lambda: day.motion()[0] * sign > 0.0, 10.0, f"the way of the stick; {day.last()}")
    day.gamepad.hold()
    wait_until(lambda: day.verdicts[-1].source == SafetyVerdict.SOURCE_POLICY, 10.0, f"the policy; {day.last()}")
    wait_until(day.moves, FIRST_MOTION_S, f"motion after handing back; {day.last()}")


def end_the_recorded_episode(day: Day, wait_until: Any) -> None:
    """The gamepad's stop button ends the episode; the robot stands, and the bag tells who drove."""
    day.gamepad.hold(STOP)
    (bag,) = wait_until(lambda: list((day.folder / "bags").glob("episode_*")), 30.0, "a bag")
    day.gamepad.hold()
    wait_until(lambda: not day.moves(), 5.0, "a stop at the end of the episode")
    told = contents(bag, "/fosp/feedback", "/fosp/verdict", "/" + day.robot.command_topic)
    assert (told["/fosp/feedback"][0].is_first, told["/fosp/feedback"][-1].is_last) == (True, True)
    drivers = {message.source for message in told["/fosp/verdict"]}
    assert {SafetyVerdict.SOURCE_POLICY, SafetyVerdict.SOURCE_OPERATOR} <= drivers
    assert told["/" + day.robot.command_topic]


def check_the_bags(day: Day) -> None:
    """The recording is good for training; the episode that Ctrl-C cut off is marked as incomplete."""
    (whole,) = (day.folder / "bags").glob("episode_*")
    check = [*FOSP, "bags", "check", str(whole), "--robot", str(day.file)]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def end_the_day(day: Day, process: subprocess.Popen[bytes], wait_until: Any) -> None:
    """SIGINT while the robot moves: it brakes, and everything ends with 0."""
    wait_until(lambda: day.begin_episode() == "", 20.0, "another episode")
    wait_until(day.moves, FIRST_MOTION_S, f"motion in another episode; {day.last()}")
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 0, day.log("graph")[-3000:]
    wait_until(lambda: not day.moves(), 3.0, "the last commands, which brake")
    refused = day.log("driver").count("refused")
    assert refused < 0.05 * len(day.commands), f"Servo refused {refused} commands"


def live_through(day: Day, way: Callable[[Day], list[object]], wait_until: Any, forward: int = 1) -> None:
    process = day.launch(way, wait_until)
    engage_in_an_episode(day, wait_until)
    stop_and_release(day, wait_until)
    take_over(day, wait_until, forward)
    end_the_recorded_episode(day, wait_until)
    end_the_day(day, process, wait_until)


# -- the days ----------------------------------------------------------------------------------------
PROGRAM = {"kind": "bool", "topic": "io_and_status_controller/robot_program_running", "transient_local": True}
MAY_DRIVE = {"kind": "bool", "topic": "base/may_drive", "timeout_s": 0.5}
"""A base has no protective stop of its own; a node beside it says every 10 ms whether it may drive."""
CAMERA = {"camera_frame_rate_hz": 40.0}
CELL = {"franka": {"lower": [0.42, -0.15, 0.22], "upper": [0.58, 0.15, 0.38]}}
CELL |= {"ur": {"lower": [-0.58, -0.15, 0.22], "upper": [-0.42, 0.15, 0.38]}, "crisp": CELL["franka"]}
DAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "ur5e": ("ur", {"workspace": CELL["ur"], **CAMERA}),
    "franka_fr3": ("franka", {"workspace": CELL["franka"], **CAMERA}),
    "fr3": ("crisp", {"workspace": CELL["crisp"], **CAMERA}),
    "turtlebot4": ("turtlebot", {"ready": [MAY_DRIVE]}),
    "diff_drive": ("diff_drive", {"ready": [MAY_DRIVE], **CAMERA}),
}
"""Robot -> its driver, and what the played cell changes: a small workspace, which is commissioned in less time."""


def has_ros2_launch() -> bool:
    """Return whether `ros2 launch fosp_bringup` can be called: launch_ros is there, and the workspace was sourced."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("fosp_bringup")
    except PackageNotFoundError:
        return False
    return shutil.which("ros2") is not None and importlib.util.find_spec("launch_ros") is not None


def test_a_day_on_a_universal_robots_arm(day: Callable[..., Day], wait_until: Any) -> None:
    live_through(day("ur", "ur5e", ready=[PROGRAM]), by_fosp_up, wait_until)


# -- the wire ----------------------------------------------------------------------------------------
MEASURED_S = 2.0
LATE = 0.3
"""Share of its rate by which a played driver may be slower on a busy machine."""


@pytest.mark.long
@pytest.mark.parametrize("name", DAYS)
def test_a_played_driver_is_on_the_wire_what_its_facts_say(day: Callable[..., Day], wait_until: Any, name: str) -> None:
    """Types, quality of service and rates are those that were read in the driver's sources (driver_facts.yaml)."""
    if missing_tools():
        pytest.skip(f"the vendors' messages cannot be built without {', '.join(missing_tools())}")
    facts = yaml.safe_load((TESTS / "driver_facts.yaml").read_text())["facts"].values()
    of_robot = [fact for fact in facts if name in {**fact.get("robots", {}), **fact.get("ready", {})}]
    of_robot = [fact for fact in of_robot if {"topic", "type"} <= set(fact)]
    played = day(DAYS[name][0], name, vendor_variables(), **CAMERA)
    played.start("driver", sys.executable, TESTS / "played_driver.py", played.file, played.kind)
    node, robot = played.graph.node, played.robot
    published = {robot.state_topic, robot.pose_topic, *(ready.topic for ready in robot.ready)}
    heard: dict[str, int] = {}
    for fact in of_robot:
        topic = fact["topic"]
        of = node.get_publishers_info_by_topic if topic in published else node.get_subscriptions_info_by_topic
        ends = wait_until(lambda of=of, topic=topic: [end for end in of(topic) if "played" in end.node_name], 20, topic)
        assert [end.topic_type for end in ends] == [fact["type"].replace("/", "/msg/")]
        profile = ends[0].qos_profile
        assert profile.reliability.name.lower() == fact.get("reliability", "reliable")
        assert profile.durability.name.lower() == fact.get("durability", "volatile")
    rates = {fact["topic"]: fact for fact in of_robot if "rate_hz" in fact and fact["topic"] in published}
    known = {robot.state_topic: f"{robot.state_type}", robot.pose_topic: "PoseStamped"}
    for topic in set(rates) & set(known):
        heard[topic] = 0

        def count(_: bytes, topic: str = topic) -> None:
            heard[topic] += 1

        message = {"JointState": JointState, "Odometry": Odometry, "PoseStamped": PoseStamped}[known[topic]]
        node.create_subscription(message, topic, count, BEST_EFFORT, raw=True)
    wait_until(lambda: all(heard.values()), 10.0, "messages")
    before, begin_s = dict(heard), time.monotonic()
    wait_until(lambda: time.monotonic() - begin_s > MEASURED_S, 2 * MEASURED_S)
    for topic, count_before in before.items():
        rate_hz = (heard[topic] - count_before) / (time.monotonic() - begin_s)
        assert (1.0 - LATE) * rates[topic]["rate_hz"] < rate_hz < 1.1 * rates[topic]["rate_hz"], topic


@pytest.mark.long
def test_the_played_servo_takes_twists_only_when_told_so_and_refuses_old_stamps(
    day: Callable[..., Day], wait_until: Any
) -> None:
    if missing_tools():
        pytest.skip(f"the vendors' messages cannot be built without {', '.join(missing_tools())}")
    played = day("franka", "franka_fr3", vendor_variables(), **CAMERA)
    words = [sys.executable, TESTS / "played_driver.py"]
    played.start("driver", *words, played.file, "franka", 100)
    node, robot = played.graph.node, played.robot
    poses = played.graph.listen(PoseStamped, robot.pose_topic, BEST_EFFORT)
    twists = node.create_publisher(TwistStamped, robot.command_topic, qos.COMMAND)
    wait_until(lambda: poses and twists.get_subscription_count(), 20.0, "the driver")

    def moved_by(late_s: float, seconds: float = 1.0) -> float:
        """Command 0.1 m/s along x for a while, by stamps that are `late_s` old; return the way, m."""
        before, until = poses[-1].pose.position.x, time.monotonic() + seconds

        def send() -> bool:
            twist = TwistStamped()
            twist.header.stamp = (node.get_clock().now() - Duration(seconds=late_s)).to_msg()
            twist.twist.linear.x = 0.1
            twists.publish(twist)
            return time.monotonic() > until

        wait_until(send, 2 * seconds)
        return float(poses[-1].pose.position.x - before)

    assert abs(moved_by(0.0)) < 1e-3
    assert "the command type has not been set" in played.log("driver")
    done = subprocess.run([*map(str, words), "take_twists"], env=dict(played.variables), check=False)
    assert done.returncode == 0
    assert moved_by(0.0) > 0.05
    at = len(poses)
    wait_until(lambda: len(poses) > at + 50, 5.0, "poses after the last command")
    assert abs(poses[-1].pose.position.x - poses[-2].pose.position.x) < 1e-4, "it stops when the commands end"
    assert abs(moved_by(0.2)) < 1e-3
    assert "older than the time-out" in played.log("driver")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", [by_fosp_up, by_ros2_launch], ids=["fosp up", "ros2 launch"])
@pytest.mark.parametrize("name", DAYS)
def test_the_whole_day(day: Callable[..., Day], wait_until: Any, name: str, way: Any) -> None:
    if way is by_ros2_launch and not has_ros2_launch():
        pytest.skip("needs `ros2 launch` and a sourced workspace")
    if missing_tools():
        pytest.skip(f"the vendors' messages cannot be built without {', '.join(missing_tools())}")
    kind, changes = DAYS[name]
    on_robot = day(kind, name, vendor_variables(), **changes)
    on_robot.commission()
    live_through(on_robot, way, wait_until, forward=1 if on_robot.robot.kind == "arm" else -1)
    check_the_bags(on_robot)
