"""The simulated graph, every node a process of its own, with a relay between them, and what it tells its tester."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import yaml
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from people import People, consenting
from relay import INSIDE, Relay
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_bringup.paths import robot_path
from fosp_bringup.stack import Stack, StackProcess, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest
from fosp_core.bundle.reference import REFERENCE, read_reference
from fosp_core.processes import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionProposal, Latent, OperatorAction, SafetyEvent, SafetyVerdict, StepFeedback
from fosp_msgs.srv import ResetEpisode

ESTOP = "estop"
OTHER_ESTOP = "other_estop"
ROGUE = "rogue"
"""Frame of the commands of others than the monitor, which the tester leaves out of its account."""
ALIGNED_DEPTH = "camera/aligned_depth_to_color/image_raw"
ALIGNED_INFO = "camera/aligned_depth_to_color/camera_info"
COMMAND = "arm/twist_command"
BASE_COMMAND = "cmd_vel"
JERK = 600.0
"""m/s^3: so that the jerk limit is under test, too."""
POLICY_ACTION = [0.0, 0.5, 0.0]
BASE_POLICY_ACTION = [0.3, 0.2]
"""0.15 m/s ahead and 0.3 rad/s to the left."""
POLICY_SPEED = 0.125
"""0.125 m/s along y: the arm does not reach the wall of its workspace while a fault is observed."""
VETO_LATCH_COUNT = 20
_PUBLISHED = {
    "sim_node": (
        topics.COLOR_IMAGE,
        topics.JOINT_STATES,
        topics.TOOL_POSE,
        topics.FEEDBACK,
        topics.ODOMETRY,
        ALIGNED_DEPTH,
        ALIGNED_INFO,
    ),
    "encoder_node": (topics.LATENT,),
    "policy_node": (topics.PROPOSAL,),
    "teleop_node": (topics.OPERATOR,),
}
"""Topics that go through the relay, by the node that publishes them."""
_MOVING = 0.05
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "safe_reach"
"""The bundle that lends its reference of the camera: the simulated arm's pictures are those that it knows."""


TESTS = Path(__file__).resolve().parents[1]
CORRUPTIBLE = {
    "encoder_node": "corruptible_encoder",
    "policy_node": "corruptible_policy",
    "safety_monitor_node": "corruptible_monitor",
}
"""Programs of TESTS that run these nodes, with networks that go wrong on a signal."""


class RelayedStack(Stack):
    """Its nodes publish what `_PUBLISHED` names under `INSIDE`; the clock too where it is simulated.

    The robot hears its commands under `INSIDE`, so that it can be played by one that obeys wrongly.
    """

    def ros_arguments(self, process: StackProcess) -> list[str]:
        arguments = super().ros_arguments(process)
        for topic in _PUBLISHED.get(process.name, ()):
            arguments += ["-r", f"{topic}:={INSIDE}{topic}"]
        if process.name == "sim_node":
            arguments += ["-r", f"{topics.CLOCK}:=/{INSIDE}clock"]
            for topic in (COMMAND, BASE_COMMAND):
                arguments += ["-r", f"{topic}:={INSIDE}{topic}"]
        if process.name == "safety_monitor_node":
            arguments += ["-p", f"veto_latch_count:={VETO_LATCH_COUNT}"]
        return arguments


class AskedStack(RelayedStack):
    """Its robot is as real to the monitor as any other: an operator has to engage."""

    def ros_arguments(self, process: StackProcess) -> list[str]:
        arguments = super().ros_arguments(process)
        if process.name == "safety_monitor_node":
            arguments += ["-p", "engage:=operator"]
        return arguments


@dataclass(frozen=True)
class SentCommand:
    """One message of the command stream."""

    receipt_s: float
    """Wall clock."""
    stamp_s: float
    value: tuple[float, float, float]


class GraphUnderFault:
    """Use as a context manager; `drive` until the robot moves, then let the fault happen."""

    def __init__(
        self,
        directory: Path,
        simulated_time: bool = False,
        black_box: bool = False,
        consent: bool = False,
        base: bool = False,
        zones: bool = False,
        operated: bool = False,
        arm: bool = False,
        gripper: bool = False,
        cell: bool = False,
        recorder: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        base = base or zones
        operated = operated or gripper
        self.robot, self._base = _robot(directory, consent, base, zones, arm, gripper, cell), base
        self._zones, self._cell = zones, cell
        self.scanner: Any = None
        """scanner.Scanner of a base with protective zones; else None."""
        self.hands: Any = None
        """hands.Hands of a person at a gamepad who can take over; else None."""
        self.fingers: Any = None
        """fingers.Fingers of an arm with a gripper; else None."""
        self._operated, self._consent, self._gripper = operated, consent, gripper
        self.directory = directory
        self.box_directory = directory / "black_box"
        known: dict[str, Any] = {"policy_action": BASE_POLICY_ACTION if base else POLICY_ACTION}
        if gripper:
            known["policy_action"] = importlib.import_module("fingers").CLOSING_ACTION
        elif not base:
            known["camera"] = read_manifest(SHIPPED).calibration.camera
            known["reference"] = read_reference(SHIPPED / REFERENCE, 1, self.robot.action.size)
        write_tiny_bundle(directory / "bundle", self.robot, **known)
        options = StackOptions(
            bundle=directory / "bundle",
            robot=str(directory / "robot.yaml"),
            simulator="mujoco",
            scenario=str(_scenario(directory, base)),
            auto_reset=False,
            recorder=recorder,
            use_respawn=True,
            use_sim_time=simulated_time,
            black_box=self.box_directory if black_box else None,
            **(importlib.import_module("hands").device(directory) if operated else {}),
        )
        described = stack(options)
        fields = {name: getattr(described, name) for name in described.__dataclass_fields__}
        self._log = (directory / "graph.log").open("w")
        fields["processes"] = tuple(
            replace(process, module=CORRUPTIBLE.get(process.name, process.module)) for process in described.processes
        )
        if gripper or zones:  # the tester plays the gripper or the scanner
            fields["processes"] = tuple(_of_the_plain_robot(p, directory, base) for p in fields["processes"])
        path = {"PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
        kind = AskedStack if consent else RelayedStack
        self.supervisor = Supervisor(kind(**fields), write=self._write, colour=False, variables=path)
        self.commands: list[SentCommand] = []
        self.verdicts: list[tuple[float, SafetyVerdict]] = []
        """Verdicts, with their receipt on the wall clock."""
        self.events: list[SafetyEvent] = []
        self.positions: list[tuple[float, NDArray[np.float64]]] = []
        """Positions of the tool, with their receipt on the wall clock."""
        self.estop_pressed: bool | None = False
        """None: the emergency stop is silent."""
        self.other_estop_pressed: bool | None = False
        self._simulated_time = simulated_time

    # -- coming and going ----------------------------------------------------------------------------
    def __enter__(self) -> GraphUnderFault:
        # The relay stands in for wires, so it must not be what is slow. The threads of DDS inherit the priority.
        with ThreadPoolExecutor(1, initializer=claim_realtime_priority, initargs=(CONTROL_PRIORITY,)) as pool:
            pool.submit(self._join_graph).result()
        self._client.spin_in_thread(CONTROL_PRIORITY)
        self.supervisor.start()
        return self

    def _join_graph(self) -> None:
        """Make the node of this program, with all that it says and hears."""
        self._client = GraphClient("tester")
        self.node = self._client.node
        self.relay = Relay(self.node)
        self.relay.pass_on(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
        self.relay.pass_on(JointState, topics.JOINT_STATES)
        self.relay.pass_on(PoseStamped, topics.TOOL_POSE)
        self.relay.pass_on(Odometry, topics.ODOMETRY)
        self.relay.pass_on(TwistStamped, self.robot.command_topic, qos.COMMAND, inwards=True)
        self.relay.pass_on(Latent, topics.LATENT)
        self.relay.pass_on(ActionProposal, topics.PROPOSAL)
        self.relay.pass_on(StepFeedback, topics.FEEDBACK)
        if self._simulated_time:
            self.relay.pass_on(Clock, topics.CLOCK)
        self.node.create_subscription(TwistStamped, self.robot.command_topic, self._command, qos.COMMAND_HISTORY)
        self.node.create_subscription(SafetyVerdict, topics.VERDICT, self._verdict, qos.RECORD)
        self.node.create_subscription(SafetyEvent, topics.SAFETY_EVENT, self.events.append, qos.LATCHED_EVENTS)
        self.node.create_subscription(PoseStamped, INSIDE + topics.TOOL_POSE, self._pose, qos.STEP)
        self._estop = self.node.create_publisher(Bool, ESTOP, qos.STEP)
        self._other_estop = self.node.create_publisher(Bool, OTHER_ESTOP, qos.STEP)
        self.people = People(self.node)
        """A person and the controller of a real robot, who speak on a graph that asks for consent."""
        if self._consent:
            self.people.begin()
        self.node.create_timer(0.02, self._say_estop)
        if self._cell:
            self.relay.pass_on(Image, ALIGNED_DEPTH, qos.IMAGE_SOURCE)
            self.relay.pass_on(CameraInfo, ALIGNED_INFO, qos.IMAGE_SOURCE)
        if self._zones:
            self.scanner = importlib.import_module("scanner").Scanner(self.node)
        if self._operated:
            self.relay.pass_on(OperatorAction, topics.OPERATOR)
            self.hands = importlib.import_module("hands").Hands(self.node)
        if self._gripper:
            self.fingers = importlib.import_module("fingers").Fingers(self.node)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()
        if self.fingers is not None:
            self.fingers.end_driver()
        self._client.close()
        self._log.close()

    def _write(self, line: str) -> None:
        self._log.write(f"{time.time():.3f} {line}\n")
        self._log.flush()

    # -- what it tells -------------------------------------------------------------------------------
    def _command(self, message: TwistStamped) -> None:
        if message.header.frame_id == ROGUE:
            return
        linear = message.twist.linear
        self.commands.append(SentCommand(time.time(), seconds(message.header.stamp), (linear.x, linear.y, linear.z)))

    def _verdict(self, message: SafetyVerdict) -> None:
        self.verdicts.append((time.time(), message))

    def _pose(self, message: PoseStamped) -> None:
        point = message.pose.position
        self.positions.append((time.time(), np.array([point.x, point.y, point.z])))

    def _say_estop(self) -> None:
        if self.estop_pressed is not None:
            self._estop.publish(Bool(data=self.estop_pressed))
        if self.other_estop_pressed is not None:
            self._other_estop.publish(Bool(data=self.other_estop_pressed))

    # -- what a person would do ----------------------------------------------------------------------
    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Answer of a service; None when none comes in time."""
        return self._client.call(kind, name, request, timeout_s)

    def active(self) -> bool:
        """Return True when the lifecycle manager says so."""
        answer = self.call(Trigger, "lifecycle_manager/is_active", Trigger.Request(), 5.0)
        return bool(answer and answer.success)

    def latched(self) -> bool:
        """Return True when the last verdict is a LATCH."""
        return bool(self.verdicts) and self.verdicts[-1][1].decision == SafetyVerdict.LATCH

    def reset_latch(self) -> bool:
        """Return True when a reset is granted now."""
        answer = self.call(Trigger, "safety_monitor_node/reset", Trigger.Request(), 2.0)
        return bool(answer and answer.success)

    def engage(self) -> bool:
        """Engage, or press the enabling switch anew where that is what is missing; True when engaged."""
        if self.people.lets_go:
            return False
        answer = self.call(Trigger, "safety_monitor_node/engage", Trigger.Request(), 2.0)
        if answer is not None and "enabling switch" in answer.message:
            self.people.let_go()
        return bool(answer and answer.success)

    def begin_episode(self) -> None:
        """The arm goes back to where it started."""
        answer = self.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=0))
        if answer is None or not answer.success:
            raise AssertionError("the simulator did not begin an episode")

    def drive(self, timeout_s: float = 90.0) -> None:
        """From whatever state to a robot that has moved for a fifth of a second; AssertionError when it does not."""
        deadline = time.monotonic() + timeout_s
        wait(self.active, timeout_s, "an active graph")
        self.begin_episode()
        while True:
            if self.latched():
                self.reset_latch()
            elif self._consent and not any(c.value[1] > _MOVING for c in self.commands[-20:]):
                self.engage()
            since_s = time.time() - 0.2
            recent = [c for c in self.commands[-40:] if c.receipt_s >= since_s]
            if len(recent) >= 10 and all(c.value[0 if self._base else 1] > _MOVING for c in recent):
                return
            if time.monotonic() > deadline:
                said = self.verdicts[-1][1].reason_text if self.verdicts else "nothing"
                raise AssertionError(f"the robot does not move; the monitor says: {said}")
            time.sleep(0.02)

    # -- what happens to processes ---------------------------------------------------------------------
    def signal(self, name: str, signum: signal.Signals) -> None:
        """To the newest process of a node."""
        os.kill(self.supervisor.pid(name), signum)


def wait(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`; AssertionError when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.005)


def _of_the_plain_robot(process: StackProcess, directory: Path, base: bool) -> StackProcess:
    """Return the process with the file of a robot without gripper and scanner, if it is the simulator."""
    if process.name != "sim_node":
        return process
    path = directory / "plain_robot.yaml"
    path.write_text(robot_path("sim_base" if base else "sim_arm").read_text())
    return replace(process, parameters={**process.parameters, "robot": str(path)})


def _robot(
    directory: Path, consent: bool, base: bool, zones: bool, arm: bool, gripper: bool, cell: bool
) -> RobotConfig:
    """The simulated arm or base with a jerk limit and two emergency stops, and with all that can ask for `consent`."""
    content: dict[str, Any] = yaml.safe_load(robot_path("sim_base" if base else "sim_arm").read_text())
    limits: Mapping[str, dict[str, float]] = content["limits"]
    for axis in limits.values():
        axis["jerk"] = JERK
    content["estop_topics"] = [ESTOP, OTHER_ESTOP]
    content |= consenting() if consent else {}
    content |= importlib.import_module("scanner").ZONES if zones else {}  # it imports this module
    content |= importlib.import_module("arm_faults").ARM if arm else {}
    content |= {"gripper": importlib.import_module("fingers").GRIPPER} if gripper else {}
    content |= importlib.import_module("cell").ZONES if cell else {}
    (directory / "robot.yaml").write_text(yaml.safe_dump(content))
    return read_robot(directory / "robot.yaml")


def _scenario(directory: Path, base: bool) -> Path:
    """An empty table or arena, and time enough to watch a fault."""
    path = directory / "scenario.yaml"
    path.write_text(
        yaml.safe_dump({"task": "safe_goal" if base else "safe_reach", "max_steps": 2000, "obstacles": {"count": 0}})
    )
    return path
