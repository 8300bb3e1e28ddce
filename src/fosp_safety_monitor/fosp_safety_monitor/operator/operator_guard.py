"""The safety monitor's checks that need no model, for a person who drives the robot to record demonstrations. No ROS.

No critic judges a person, who looks at the robot and holds the stick: there may be no bundle yet, and no image is
checked. But nothing moves on missing, stale or malformed inputs, under an emergency stop, or while somebody else
commands the robot; every command keeps the limits and the workspace of the robot's configuration; and after any of
these the operator has to let go of the controls first, which stands for a reset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.clock import Now, Received, age
from fosp_core.limits import CommandLimits
from fosp_core.specs import RobotConfig
from fosp_safety_monitor.judge.command_history import NOTHING_SENT
from fosp_safety_monitor.judge.inputs import Lead

PROPOSAL_TIMEOUT_S = 0.15
"""teleop_node proposes at 50 Hz."""
ROBOT_STATE_TIMEOUT_S = 0.1
ESTOP_TIMEOUT_S = 0.2
MAX_TICK_S = 0.05


@dataclass(frozen=True)
class OperatorAction:
    """What the operator wants: a normalised action (n,), when it was stamped and received."""

    action: tuple[float, ...]
    received: Received


@dataclass(frozen=True)
class GuardTick:
    """One command (n,) in m/s and rad/s, why the robot is held (empty: it is not), and whether limits changed it."""

    command: tuple[float, ...]
    held: str
    limited: bool


class OperatorGuard:
    """Receives from the executor's thread, ticks in that of the command stream; every hand-over is one reference."""

    def __init__(self, robot: RobotConfig, now: Callable[[], Now]) -> None:
        self._robot, self._now = robot, now
        self._limits = CommandLimits(robot)
        self._zero = (0.0,) * robot.action.size
        self._command = self._zero
        self._acceleration = self._zero
        self._travel = NOTHING_SENT
        self._action: OperatorAction | None = None
        self._state: Received | None = None
        self._pose: tuple[Received, tuple[float, float, float]] | None = None
        self._estop: tuple[float, bool] | None = None
        """When the emergency stop was last heard of (monotonic s), and whether it was pressed."""
        self._pressed = False
        """The emergency stop was pressed since the last tick, whatever it said afterwards."""
        self._others: tuple[str, ...] = ()
        self._lead: Lead | None = None
        self._ticked_s: float | None = None
        self._released = False
        """The operator let go of the stick since the robot was last held for a reason other than their silence."""

    # -- inputs --------------------------------------------------------------------------------------
    def receive_action(self, action: OperatorAction) -> None:
        self._action = action

    def receive_robot_state(self, received: Received) -> None:
        self._state = received

    def receive_pose(self, received: Received, position: tuple[float, float, float]) -> None:
        self._pose = received, position

    def receive_estop(self, pressed: bool, receipt_s: float) -> None:
        """`receipt_s` on the monotonic clock."""
        self._estop = receipt_s, pressed
        self._pressed = self._pressed or pressed

    def see_target(self, lead: Lead) -> None:
        """Where the target pose is that was sent last, and how far ahead of the measured pose."""
        self._lead = lead

    def see_commanders(self, others: tuple[str, ...]) -> None:
        """Who else publishes on the robot's command topic at present."""
        self._others = others

    # -- output --------------------------------------------------------------------------------------
    def tick(self) -> GuardTick:
        """The next command, towards what the operator wants, or to a stop."""
        now, action, pose = self._now(), self._action, self._pose
        held = self._held_up(now) or self._held(now, action)
        if held:
            self._released = False
        elif action is not None and not any(action.action):
            self._released = True
        silent = age(None if action is None else action.received, now, PROPOSAL_TIMEOUT_S).stale_because
        if not held and silent:
            held = f"no action of the operator: {silent}"
        elif not held and not self._released:
            held = "let go of the controls first"
        elapsed_s, previous = self._elapsed(now), np.array(self._command)
        limited = False
        if held or action is None:
            self._stop(elapsed_s)
        elif elapsed_s > 0.0:
            received, point = pose or (None, None)
            moved = self._travel.since(received, now)
            if self._lead is not None:
                point, moved = self._lead.position, None
            position = np.array(point) if point is not None else None
            target, acceleration = np.clip(action.action, -1.0, 1.0), np.array(self._acceleration)
            following = self._limits.follow(target, previous, elapsed_s, position, acceleration, moved)
            self._follow(following.command, elapsed_s)
            limited = following.limited
        self._travel = self._travel.after(self._command, now.monotonic_s)
        return GuardTick(self._command, held, limited)

    def halt(self) -> tuple[float, ...]:
        """The next command on the way to a standstill."""
        self._stop(self._elapsed(self._now()))
        return self._command

    def _stop(self, elapsed_s: float) -> None:
        stopped = self._limits.stop(np.array(self._command), elapsed_s, np.array(self._acceleration))
        self._follow(stopped, elapsed_s)

    def _follow(self, command: NDArray[np.float64], elapsed_s: float) -> None:
        if elapsed_s > 0.0:
            self._acceleration = tuple(((command - np.array(self._command)) / elapsed_s).tolist())
        self._command = tuple(command.tolist())

    def _held_up(self, now: Now) -> str:
        """Why a pause of the command stream stops the robot, which its own watchdog has stopped by then."""
        pause_s = 0.0 if self._ticked_s is None else now.monotonic_s - self._ticked_s
        if pause_s <= self._robot.command_timeout_s:
            return ""
        self._command = self._acceleration = self._zero
        return f"the command stream was held up for {pause_s * 1e3:.0f} ms: the robot has stopped"

    def _held(self, now: Now, action: OperatorAction | None) -> str:
        """Why the robot must not move, beside the silence of the operator."""
        if self._robot.estop_topic:
            receipt_s, pressed = self._estop or (-math.inf, True)
            pressed, self._pressed = pressed or self._pressed, False
            if pressed:
                return "the emergency stop is pressed, or was never heard of"
            if not 0.0 <= now.monotonic_s - receipt_s <= ESTOP_TIMEOUT_S:
                return "the emergency stop is silent, which counts as pressed"
        if self._others:
            return f"not alone on the command topic: {', '.join(self._others)} can move the robot, too"
        state = age(self._state, now, ROBOT_STATE_TIMEOUT_S).stale_because
        if state:
            return f"{self._robot.state_topic}: {state}"
        if self._robot.pose_topic:
            pose = age(self._pose[0] if self._pose else None, now, ROBOT_STATE_TIMEOUT_S).stale_because
            if pose:
                return f"{self._robot.pose_topic}: {pose}"
        allowed, lead = self._robot.target_lead, self._lead
        if allowed and lead and not (lead.distance <= allowed.distance and lead.angle <= allowed.angle):
            return f"the robot lags {lead.distance * 1e3:.0f} mm and {lead.angle:.2f} rad behind its target"
        if action is not None and len(action.action) != self._robot.action.size:
            return f"an action of {len(action.action)} axes, the robot has {self._robot.action.size}"
        if action is not None and not all(map(math.isfinite, action.action)):
            return "an action that is not finite"
        return ""

    def _elapsed(self, now: Now) -> float:
        elapsed_s = 0.0 if self._ticked_s is None else now.monotonic_s - self._ticked_s
        self._ticked_s = now.monotonic_s
        return min(max(elapsed_s, 0.0), MAX_TICK_S)
