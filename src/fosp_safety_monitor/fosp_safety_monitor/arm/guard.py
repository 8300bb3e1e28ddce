"""All limits of an arm of its own: the share of the speed of a wanted motion that they leave, or a stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fosp_core.clock import Now, Received, age
from fosp_core.decisions import Reason
from fosp_core.robot.arm_limits import JointsConfig
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.urdf import Quaternion
from fosp_safety_monitor.arm.orientation import orientation_rooms
from fosp_safety_monitor.arm.sharing import (
    Rooms,
    Share,
    Travel,
    share_of_rooms,
    share_of_speeds,
    singularity_share,
)
from fosp_safety_monitor.arm.view import ArmView

COMPARED_WITHIN_S = 0.5
"""Time, s, within which the measured pose has to be held against the joint states anew."""
_SLACK_OF_CONDITION = 0.1
"""Relative excess of the condition number over its hard stop that braking may use."""
_ANGULAR = {"angular.x": 0, "angular.y": 1, "angular.z": 2}


@dataclass(frozen=True)
class ArmJudgement:
    """The answer of all limits of an arm at one moment."""

    share: float = 1.0
    """Share of the speed of what is asked for; 0: nothing moves."""
    reason: Reason = Reason.OK
    text: str = ""
    """The limit that decides, and how near it is; empty at full speed."""
    silent_s: float = 0.0
    """Time for which an input that was heard has been silent, s, beyond its time-out."""


@dataclass(frozen=True)
class ArmInputs:
    """Inputs of an arm before this moment, as far as its limits need them."""

    start: Quaternion | None = None
    """The first orientation of the commanded point since activation, a unit quaternion (x, y, z, w)."""
    view: ArmView | None = None
    """View of the newest joint states; None: none came yet."""

    def turned(self, orientation: Quaternion | None) -> ArmInputs:
        """Return the value after a measured orientation; None: it is not known."""
        return self if self.start is not None or orientation is None else replace(self, start=orientation)


@dataclass(frozen=True)
class ArmMeasured:
    """The inputs of an arm that its limits are judged by at one moment."""

    pose: Received | None = None
    """Receipt of the pose of the commanded point; None: never received."""
    orientation: Quaternion | None = None
    """Unit quaternion (x, y, z, w); None: it is not known."""
    inputs: ArmInputs = ArmInputs()


class ArmGuard:
    """The limits of one arm. Every method is a pure function of its arguments."""

    def __init__(self, robot: RobotConfig) -> None:
        self._orientation, self._joints = robot.orientation_limit, robot.joints
        names = [axis.name for axis in robot.action.axes]
        self._angular = tuple(_ANGULAR.get(name) for name in names)
        self._limits = [robot.limits[name] for name in names]
        self._scale = robot.action.scale
        self._last: tuple[tuple[ArmMeasured, tuple[float, ...], tuple[float, ...], Now], ArmJudgement] | None = None
        self._lag_s = 1.0 / robot.command_rate_hz + robot.response_s + robot.dead_time_s

    @classmethod
    def of(cls, robot: RobotConfig) -> ArmGuard | None:
        """Return the guard of an arm whose robot file has such limits; None for any other."""
        return None if robot.orientation_limit is None and robot.joints is None else cls(robot)

    def judge(
        self, measured: ArmMeasured, wish: tuple[float, ...], command: tuple[float, ...], now: Now
    ) -> ArmJudgement:
        """Return what the limits leave of the normalised action `wish` (n,) while `command` (n,), m/s and rad/s, is in
        force.

        An input that is missing, late, malformed or contradicts another leaves nothing, and so does a wish that is not
        finite.
        """
        asked, last = (measured, wish, command, now), self._last
        if last is not None and last[0] == asked:  # the checks of a command and the command itself ask the same
            return last[1]
        found = self._judge(measured, wish, command, now)
        self._last = asked, found
        return found

    def _judge(
        self, measured: ArmMeasured, wish: tuple[float, ...], command: tuple[float, ...], now: Now
    ) -> ArmJudgement:
        if not all(map(math.isfinite, (*wish, *command))):
            return ArmJudgement(0.0, Reason.NOT_FINITE, "a command is not finite")
        velocity = [value * scale for value, scale in zip(wish, self._scale, strict=True)]
        worst = ArmJudgement()
        for found in self._judged(measured, velocity, command, now):
            if found.share < worst.share:
                worst = found
            if worst.share == 0.0:
                break
        return worst

    def _judged(
        self, measured: ArmMeasured, velocity: list[float], command: tuple[float, ...], now: Now
    ) -> Iterator[ArmJudgement]:
        if self._orientation is not None:
            yield self._in_cone(measured, velocity, command, now)
        if self._joints is not None:
            yield from self._of_joints(self._joints, measured.inputs.view, velocity, command, now)

    def _of_joints(
        self, config: JointsConfig, view: ArmView | None, velocity: list[float], command: tuple[float, ...], now: Now
    ) -> Iterator[ArmJudgement]:
        """Yield the judgements by the joint states, those that need no further ones first."""
        stale = age(None if view is None else view.received, now, config.timeout_s).stale_because
        if view is None or view.fault or stale:
            fault = view.fault if view is not None and view.fault else f"joint states {stale}"
            silent_s = now.monotonic_s - view.received.receipt_s if view is not None and stale else 0.0
            yield ArmJudgement(0.0, Reason.JOINT_STATES, fault, silent_s if math.isfinite(silent_s) else 0.0)
            return
        contradiction = view.mismatch
        if not contradiction and now.monotonic_s - view.compared_s > COMPARED_WITHIN_S:
            contradiction = "no measured pose has stamps near those of the joint states, so they cannot be compared"
        if contradiction:
            text = f"{contradiction}: URDF, tip_link, tool, calibration or one of the two topics is wrong"
            yield ArmJudgement(0.0, Reason.JOINT_STATES, text)
            return
        if view.too_fast:
            yield ArmJudgement(0.0, Reason.JOINT_LIMIT, view.too_fast)
        wanted, told = self.travels(velocity, command, late_s(view.received, now))
        yield judgement(share_of_rooms(view.joints, wanted, told), view.joints.tell, Reason.JOINT_LIMIT)
        yield judgement(share_of_rooms(view.near, wanted, told), view.near.tell, Reason.COLLISION)
        yield self._of_speeds(view, wanted)
        yield self._near_singularity(config, view, wanted, told)

    @staticmethod
    def _of_speeds(view: ArmView, wanted: Travel) -> ArmJudgement:
        motion = view.motion @ wanted.velocity
        share = share_of_speeds(motion, view.speeds)

        def tell(joint: int) -> str:
            return f"{view.names[joint]} would move at {motion[joint]:.2f}, limit {view.speeds[joint]:.2f}"

        return judgement(share, tell, Reason.JOINT_LIMIT)

    @staticmethod
    def _near_singularity(config: JointsConfig, view: ArmView, wanted: Travel, told: Travel) -> ArmJudgement:
        """Return the stricter of Servo's share, and of the one by which the arm comes to rest at the hard stop."""
        number, rows = view.conditioning.number, view.conditioning.rows
        if not wanted.velocity.any():
            return ArmJudgement()
        lower, hard_stop = config.lower_singularity_threshold, config.hard_stop_singularity_threshold
        rate = float(rows @ wanted.velocity) if number < math.inf else -1.0  # every motion leads out of it
        share = singularity_share(number, rate, lower, hard_stop, config.leaving_singularity_threshold_multiplier)
        if rate > 0.0 and number < hard_stop:
            left = np.array([math.log(hard_stop / number)])
            slack = np.array([math.log1p(_SLACK_OF_CONDITION)])
            room = Rooms(left, -rows[np.newaxis], slack, np.zeros(1))
            share = min(share, share_of_rooms(room, wanted, told).value)
        text = f"condition number {number:.0f} of the arm's Jacobian, slower from {lower:g}, stop at {hard_stop:g}"
        return judgement(Share(share, 0), lambda index: text, Reason.SINGULARITY)

    def _in_cone(
        self, measured: ArmMeasured, velocity: list[float], command: tuple[float, ...], now: Now
    ) -> ArmJudgement:
        """Return the judgement of the cone. The pose itself, missing or late, is judged by check_robot_state."""
        assert self._orientation is not None
        if measured.orientation is None or measured.pose is None:
            return ArmJudgement(0.0, Reason.ORIENTATION_LIMIT, "the orientation of the tool is not known")
        rooms = orientation_rooms(self._orientation, measured.orientation, measured.inputs.start, self._angular)
        if rooms is None:
            text = "the orientation at the start, which the tool may turn from, is not known"
            return ArmJudgement(0.0, Reason.ORIENTATION_LIMIT, text)
        wanted, told = self.travels(velocity, command, late_s(measured.pose, now))
        return judgement(share_of_rooms(rooms, wanted, told), rooms.tell, Reason.ORIENTATION_LIMIT)

    def describe(self, inputs: ArmInputs, now: Now) -> dict[str, str]:
        """Return in words how near the limits by the joint states are at present; for diagnostics."""
        if self._joints is None:
            return {}
        view = inputs.view
        stale = age(None if view is None else view.received, now, self._joints.timeout_s).stale_because
        if view is None or stale or view.fault:
            return {"joint states": (view.fault if view is not None else "") or stale}
        said = {"joint states": view.mismatch or "fresh", "condition number": f"{view.conditioning.number:.1f}"}
        for name, rooms in (("nearest joint limit", view.joints), ("nearest links", view.near)):
            if len(rooms.values):
                said[name] = rooms.tell(int(rooms.values.argmin()))
        return said

    def travels(self, velocity: list[float], command: tuple[float, ...], age_s: float) -> tuple[Travel, Travel]:
        """Return the travel of a wanted `velocity` and that of the `command` in force, (A,) m/s and rad/s, by inputs of
        this age, s.

        The wanted one brakes at no more than the deceleration limit all along the way to its limit.
        """
        reaction_s = self._lag_s + age_s
        wanted, told, times = [], [], []
        for v, c, limits in zip(velocity, command, self._limits, strict=True):
            wanted.append(v * limits.stopping_time(abs(v)))
            told.append(math.copysign(limits.stopping_distance(abs(c)), c))
            times.append(limits.stopping_time(abs(c)))
        after = Travel(np.array(velocity), np.array(wanted), reaction_s)
        return after, Travel(np.array(command), np.array(told), reaction_s, reaction_s + max(times))


def late_s(received: Received, now: Now) -> float:
    """Return the age of a message, s, by its stamp or by its receipt, whichever is greater."""
    return max(now.ros_s - received.stamp_s, now.monotonic_s - received.receipt_s, 0.0)


def judgement(share: Share, tell: Callable[[int], str], reason: Reason) -> ArmJudgement:
    """Return a share as a judgement, in words; `tell` says of a limit how near it is."""
    if share.value >= 1.0:
        return ArmJudgement()
    return ArmJudgement(share.value, reason, tell(share.index) + share.why)
