"""The robot as the commissioning program drives it: proposals to the operator guard, and everything measured meanwhile.

The program never commands the robot: the guard does, within the limits, and on the robot's own inputs.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from std_msgs.msg import Bool

from fosp_bringup.interfaces import COMMISSIONING
from fosp_bringup.stack import enclave
from fosp_cli.commissioning.estimation import SLACK, Motion, Vector, moved_along, unexpected
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.command_message import CommandReader, command_message_type
from fosp_core.ros.fields import float_field
from fosp_core.ros.lifecycle import ACTIVATE, CONFIGURE, events_executor
from fosp_core.ros.stamps import seconds
from fosp_core.specs import TWIST_COMPONENTS
from fosp_msgs.msg import ActionCandidate, ActionProposal, SafetyVerdict

PERIOD_S = 0.02
_HOLD_S = 0.2
"""Time for which an action that was asked for stays asked for; then the proposal is zero."""
_REMEMBERED = 12_000
"""Samples and commands that are kept: a minute and more at 100 Hz."""
_BEFORE_S = 0.15
"""Time before a motion whose samples belong to it."""
_STILL_S = 0.25
_VERDICT_AGE_S = 0.5
_READY_S = 8.0
_TRIES = 3
FRESH_S = 0.3
"""Age beyond which a pose tells nothing about where the robot is now."""


@dataclass(frozen=True)
class _Sample:
    stamp_s: float
    receipt_s: float
    pose: tuple[float, ...]


@dataclass(frozen=True)
class EstopState:
    """The last message of an emergency stop, and when the last press began, on the monotonic clock."""

    pressed: bool
    receipt_s: float
    pressed_s: float = -math.inf


class Commander(GraphClient):
    """A node that proposes actions at 50 Hz, zero unless `drive` or `go_to` asks for another, from its creation on.

    It keeps the robot's commands and poses with their stamps. Use it as a context manager.
    """

    def __init__(self, robot: RobotConfig, estops: tuple[str, ...], namespace: str = "") -> None:
        super().__init__(
            COMMISSIONING, namespace, make_executor=events_executor, enclave=enclave(COMMISSIONING, namespace)
        )
        self.robot = robot
        self._rows = [TWIST_COMPONENTS.index(axis.name) for axis in robot.action.axes]
        self._reader = CommandReader(robot)
        self._samples: deque[_Sample] = deque(maxlen=_REMEMBERED)
        self._commands: deque[tuple[float, Vector]] = deque(maxlen=_REMEMBERED)
        self._estops: dict[str, EstopState] = {}
        self._verdict: SafetyVerdict | None = None
        self._verdict_s = -math.inf
        self._wanted: tuple[tuple[float, ...], float] = ((), -math.inf)
        self._step = 0
        self._proposals = self.node.create_publisher(ActionProposal, topics.PROPOSAL, qos.STEP)
        self.node.create_subscription(SafetyVerdict, topics.VERDICT, self._on_verdict, qos.STEP)
        commands = command_message_type(robot)
        self.node.create_subscription(commands, robot.command_topic, self._on_command, qos.COMMAND_HISTORY)
        if robot.pose_topic:
            self.node.create_subscription(PoseStamped, robot.pose_topic, self._on_pose, qos.SENSOR)
        else:
            self.node.create_subscription(Odometry, robot.state_topic, self._on_odometry, qos.SENSOR)
        for topic in estops:
            self.node.create_subscription(Bool, topic, partial(self._on_estop, topic), qos.SENSOR)
        self.spin_in_thread(CONTROL_PRIORITY)
        self._proposing = threading.Thread(target=self._propose, name="proposals", daemon=True)
        self._proposing.start()

    def close(self) -> None:
        self._closing.set()
        self._proposing.join(1.0)
        super().close()

    def bring_up(self, names: list[str], alive: Callable[[], bool]) -> None:
        """Configure and activate these nodes in order; raise UserError when one of them does not become active."""
        for transition, word in ((CONFIGURE, "configured"), (ACTIVATE, "activated")):
            for name in names:
                request = ChangeState.Request(transition=Transition(id=transition))
                answer = self.call(ChangeState, f"{name}/change_state", request, 30.0)
                if answer is None or not answer.success or not alive():
                    raise UserError(f"{name} was not {word}: see its log above")

    # -- what is known now ---------------------------------------------------------------------------
    @property
    def position(self) -> Vector | None:
        """Position (3,), m, in the frame of the pose; None without a fresh pose."""
        sample = self._samples[-1] if self._samples else None
        if sample is None or time.monotonic() - sample.receipt_s > FRESH_S:
            return None
        return np.array(sample.pose[:3])

    @property
    def pose(self) -> Vector | None:
        """Position, m, and orientation (x, y, z, w), (7,), in the frame of the pose; None without a fresh pose."""
        sample = self._samples[-1] if self._samples else None
        if sample is None or time.monotonic() - sample.receipt_s > FRESH_S:
            return None
        return np.array(sample.pose)

    @property
    def held(self) -> str:
        """Why the guard holds the robot; empty when it lets it move."""
        verdict = self._verdict
        if verdict is None or time.monotonic() - self._verdict_s > _VERDICT_AGE_S:
            return "the guard gives no verdict"
        return str(verdict.reason_text) if verdict.decision >= SafetyVerdict.STOP else ""

    def estop(self, topic: str) -> EstopState | None:
        """Return the last message of an emergency stop; None before the first."""
        return self._estops.get(topic)

    def now_s(self) -> float:
        """Return the time on the ROS clock, s."""
        return float(self.node.get_clock().now().nanoseconds) * 1e-9

    # -- motion --------------------------------------------------------------------------------------
    def ready(self) -> str:
        """Wait until the guard lets the robot move; return an empty string, or why it does not."""
        return (
            ""
            if self.wait(lambda: not self.held and self.position is not None, _READY_S)
            else (f"the guard holds the robot: {self.held}" if self.held else "no fresh pose comes")
        )

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition, and return whether it came true in time."""
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def drive(
        self, axis: int, share: float, seconds_long: float, enough: Callable[[Motion], bool] = lambda motion: False
    ) -> Motion:
        """Move one axis at `share` of full speed for so long, or until `enough`, and return the motion until rest.

        It ends at once on unexpected motion. One that the guard broke off is tried again, twice, because a busy
        computer may have been the cause.
        """
        for left in reversed(range(_TRIES)):
            refusal = self.ready()
            begin_s = self.now_s()
            if not refusal:
                refusal = self._move(axis, share, seconds_long, begin_s, enough)
            self.rest()
            motion = self.motion_since(begin_s, refusal)
            if not refusal.startswith(_HELD) or not left or any(e.pressed for e in self._estops.values()):
                break
        return motion

    def _move(
        self, axis: int, share: float, seconds_long: float, begin_s: float, enough: Callable[[Motion], bool]
    ) -> str:
        """Ask for the motion; return an empty string, or why it was broken off."""
        action = tuple(share if i == axis else 0.0 for i in range(self.robot.action.twist_size))
        until = time.monotonic() + seconds_long
        try:
            while time.monotonic() < until:
                self.propose(action)
                time.sleep(PERIOD_S)
                motion = self.motion_since(begin_s)
                if self.held and time.monotonic() > until - seconds_long + 0.1:
                    return f"{_HELD}{self.held}"
                if self.position is None:
                    return "the pose fell silent"
                wrong = unexpected(self._rows[axis], motion.total_told, motion.total_moved)
                if wrong:
                    return f"stopped at once: {wrong}"
                if enough(motion):
                    return ""
            return ""
        finally:
            self.halt()

    def go_to(self, target: Vector, share: float) -> str:
        """Move an arm in a straight line to `target` (3,), m, at most at `share` of full speed.

        Return an empty string on arrival, or why it did not arrive.
        """
        for left in reversed(range(_TRIES)):
            refusal = self.ready() or self._approach(target, share)
            self.rest()
            if not refusal.startswith(_HELD) or not left:
                break
        return refusal

    def _approach(self, target: Vector, share: float) -> str:
        robot = self.robot
        gain = 1.0 / (2.5 * (robot.response_s + robot.dead_time_s) + 0.15)  # 1/s, without overshoot
        linear = [(i, "xyz".index(axis.name[-1])) for i, axis in enumerate(robot.action.axes) if axis.unit == "m/s"]
        components = [component for _, component in linear]
        position = self.position
        nearest, until = math.inf, time.monotonic() + 60.0
        try:
            while position is not None and time.monotonic() < until:
                error = target - position
                left = float(np.linalg.norm(error[components]))
                nearest = min(nearest, left)
                if left < 0.6 * SLACK[0]:
                    return ""
                if left > nearest + 0.03:
                    return f"it moves away from its target, {_point(target)}"
                speeds = [gain * error[component] / robot.action.axes[i].scale for i, component in linear]
                largest = max(map(abs, speeds))
                action = [0.0] * robot.action.twist_size
                for (i, _), speed in zip(linear, speeds, strict=True):
                    action[i] = speed * min(1.0, share / largest) if largest > 0.0 else 0.0
                self.propose(tuple(action))
                time.sleep(PERIOD_S)
                if self.held:
                    return f"{_HELD}{self.held}"
                position = self.position
            return "the pose fell silent" if position is None else f"it does not reach {_point(target)} within a minute"
        finally:
            self.halt()

    def propose(self, action: tuple[float, ...]) -> None:
        """Ask for an action (n,) for the next moment."""
        self._wanted = action, time.monotonic() + _HOLD_S

    def halt(self) -> None:
        """Ask for standstill."""
        self._wanted = (), -math.inf

    def rest(self, timeout_s: float = 6.0) -> bool:
        """Ask for standstill, wait for it, and return whether it came."""
        self.halt()
        time.sleep(self.robot.dead_time_s + 2 * PERIOD_S)
        return self.wait(self.at_rest, timeout_s)

    def at_rest(self) -> bool:
        """Return True when zero is commanded, and the pose has not changed for a quarter of a second."""
        if self._commands and bool(np.any(self._commands[-1][1])):
            return False
        samples = list(self._samples)[-int(_STILL_S * 400) :]
        if not samples:
            return False
        since = samples[-1].stamp_s - _STILL_S
        poses = np.array([sample.pose for sample in samples if sample.stamp_s >= since])
        spread = np.ptp(moved_along(poses, self._with_body), axis=0)
        return len(poses) > 2 and bool(np.all(spread < 0.15 * np.array(SLACK)))

    def motion_since(self, begin_s: float, ended_early: str = "") -> Motion:
        """Return commands and samples since a moment on the ROS clock, and shortly before it."""
        since = begin_s - _BEFORE_S
        commands = [(stamp, command) for stamp, command in _since(self._commands, since, lambda c: c[0])]
        samples = _since(self._samples, since, lambda sample: sample.stamp_s)
        told = np.zeros((len(commands), 6))
        if commands:
            told[:, self._rows] = np.array([command for _, command in commands])
        poses = np.array([sample.pose for sample in samples]).reshape(-1, 7)
        return Motion(
            np.array([stamp for stamp, _ in commands]),
            told,
            self.robot.command_timeout_s,
            np.array([sample.stamp_s for sample in samples]),
            moved_along(poses, self._with_body),
            ended_early,
        )

    @property
    def _with_body(self) -> bool:
        return self.robot.kind == "base"

    # -- messages ------------------------------------------------------------------------------------
    def _propose(self) -> None:
        deadline, zero = time.monotonic(), (0.0,) * self.robot.action.twist_size
        while not self._closing.is_set():
            wanted, until = self._wanted
            action = wanted if wanted and time.monotonic() < until else zero
            proposal = ActionProposal(
                step=self._step, candidates=[ActionCandidate(action=float_field(np.array(action)))]
            )
            proposal.header.stamp = self.node.get_clock().now().to_msg()
            self._proposals.publish(proposal)
            self._step += 1
            deadline = max(deadline + PERIOD_S, time.monotonic())
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _on_verdict(self, message: SafetyVerdict) -> None:
        self._verdict, self._verdict_s = message, time.monotonic()

    def _on_command(self, message: Any) -> None:
        self._commands.append(self._reader.read(message, self.now_s()))

    def _on_pose(self, message: PoseStamped) -> None:
        self._take(message.pose, seconds(message.header.stamp))

    def _on_odometry(self, message: Odometry) -> None:
        self._take(message.pose.pose, seconds(message.header.stamp))

    def _take(self, pose: Pose, stamp_s: float) -> None:
        p, q = pose.position, pose.orientation
        values = (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        if all(map(math.isfinite, values)) and (not self._samples or stamp_s > self._samples[-1].stamp_s):
            self._samples.append(_Sample(stamp_s, time.monotonic(), values))

    def _on_estop(self, topic: str, message: Bool) -> None:
        now_s, before = time.monotonic(), self._estops.get(topic)
        pressed_s = -math.inf if before is None else before.pressed_s
        if message.data and (before is None or not before.pressed):
            pressed_s = now_s
        self._estops[topic] = EstopState(bool(message.data), now_s, pressed_s)


_HELD = "the guard stopped it: "


def _since(entries: deque[Any], since_s: float, stamp: Callable[[Any], float]) -> list[Any]:
    """Return the newest entries whose stamp is not before `since_s`, oldest first."""
    found: list[Any] = []
    for entry in reversed(list(entries)):
        if stamp(entry) < since_s:
            break
        found.append(entry)
    return found[::-1]


def _point(target: Vector) -> str:
    return f"({', '.join(f'{value:.2f}' for value in target)})"
