"""The guard of a person who drives the robot to record demonstrations: the checks that need no model. No ROS.

No critic judges a person, who looks at the robot and holds the controls: there may be no bundle yet, and no image is
checked. But nothing moves on missing, stale or malformed inputs, under an emergency stop, or while another node
commands the robot; every command keeps the limits and the workspace of the robot's configuration; and after any of
these stops the operator has to let go of the controls first, which takes the place of a reset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fosp_core.clock import Now, Received, age
from fosp_core.decisions import Reason
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperSetpoint
from fosp_core.robot.limits import CommandHistory, CommandLimits, Response, capped
from fosp_safety_monitor.judge import checks, identity
from fosp_safety_monitor.judge.consent_inputs import Force
from fosp_safety_monitor.judge.inputs import Judge, ProposalInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.judge.watch import consent, following, homing
from fosp_safety_monitor.judge.watch.following import Following
from fosp_safety_monitor.judge.watch.gripper import GripperOrder, check_gripper, next_setpoint, order, scaled
from fosp_safety_monitor.judge.watch.homing import Homing
from fosp_safety_monitor.judge.watch.motion import next_command
from fosp_safety_monitor.judge.watch.protection import check_zone_speed, check_zones, zones_on
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_safety_monitor.replacing import replaced

PARAMETERS = MonitorParameters(proposal_timeout_s=0.15)
"""teleop_node proposes at 50 Hz."""


@dataclass(frozen=True)
class GuardTick:
    """One step of the guard's command stream."""

    command: tuple[float, ...]
    """(n,) m/s and rad/s."""
    held: str
    """The cause that holds the robot; empty when the operator drives."""
    limited: bool
    """The hard limits changed the command."""
    reason: Reason = Reason.OK
    """Reason of the check that holds the robot."""
    note: str = ""
    """The robot is on its way home, or was a moment ago, or a zone or limit slows it, in words."""
    gripper: GripperOrder | None = None


class OperatorGuard(Judge):
    """Shapes the proposals of the operator into commands. Inputs come from one thread, ticks may come from another."""

    def __init__(
        self,
        robot: RobotConfig,
        now: Callable[[], Now],
        speed_cap: float = 1.0,
        simulated_time: bool = False,
        by_program: bool = False,
        in_episodes: bool = False,
    ) -> None:
        super().__init__(robot.estop_topics)
        self._in_episodes = in_episodes
        """The robot moves only while an episode runs, whose feedback ends it where a violation begins."""
        self._by_program = by_program
        """A program drives, and a person holds the robot's enabling switch meanwhile."""
        self._now = now
        self._limits = CommandLimits(capped(robot, speed_cap))
        thresholds = RobotThresholds.of_robot(robot, PARAMETERS)
        self._thresholds = replaced(thresholds, needs_pose=bool(robot.pose_topic), simulated_time=simulated_time)
        self._gripper = GripperSetpoint()
        self._pressed = False
        """The emergency stop was pressed since the last tick, even if a later message says otherwise."""
        self._foreign = ""
        """A command of somebody else was heard since the last tick."""
        self._proposal: ProposalInput | None = None
        self._command = self._acceleration = (0.0,) * robot.action.twist_size
        self._history = CommandHistory(Response.of(robot))
        self._following = Following()
        self._ticked: Now | None = None
        self._released = False
        """The operator let go of the controls since the robot was last held, other than by their own silence."""
        self._bias: Force | None = None
        """Force at rest, N, taken when the operator let go of the controls."""
        self._bias_s = 0.0
        self._homing = Homing()
        self._slowed = ""
        """The zone or limit that slows or stops what is wanted now, in words."""
        self._last = GuardTick(self._command, "no command was sent yet", False, Reason.NOT_READY)

    # -- inputs --------------------------------------------------------------------------------------
    def receive_proposal(self, proposal: ProposalInput) -> None:
        """Take in what the operator wants: one candidate of a normalised action."""
        with self._lock:
            self._proposal = proposal

    # -- output --------------------------------------------------------------------------------------
    def tick(self) -> GuardTick:
        """Return the next command, towards what the operator wants, or to a stop."""
        with self._lock:
            now, proposal = self._now(), self._proposal
            wanted = None if proposal is None else proposal.actions
            held, reason = self._held(now)
            if held:
                self._released = False
            elif wanted is not None and not self._asks(wanted[0].tolist()) and not self._released:
                held = self._let_go(now)
            received = None if proposal is None else Received(proposal.frame.stamp_s, proposal.receipt_s)
            silent = age(received, now, PARAMETERS.proposal_timeout_s).stale_because
            if not held and silent:
                held, reason = f"no action of the operator: {silent}", Reason.NOT_READY
            elif not held and not self._released:
                held, reason = "let go of the controls first", Reason.NOT_READY
            wish = None if held or wanted is None else np.clip(wanted[0], -1.0, 1.0).tolist()
            wish = self._on_way_home(wish, held, now)
            self._slowed = ""
            limited = self._move(None if wish is None else self._within_zones(wish, now), now)
            told = order(self._gripper, self._robot.gripper)
            self._last = GuardTick(self._command, held, limited, reason, self._note(now), told)
            return self._last

    # -- the way home --------------------------------------------------------------------------------
    def home(self) -> str:
        """Take the operator's order to drive home. Return an empty text on success, otherwise why it is refused.

        The operator is there, and lets go of the controls: whatever holds the robot ends the way home, and so does
        a touch of the controls.
        """
        with self._lock:
            drive, robot, refusal = self._thresholds.home, self._robot, ""
            if drive is None:
                return "the robot file has no home"
            if self._homing.running:
                return "the robot is on its way home already"
            if self._last.held or not self._released:
                return f"the robot is held: {self._last.held or 'let go of the controls first'}"
            wanted = None if self._proposal is None else self._proposal.actions
            if any(self._command) or wanted is None or self._asks(wanted[0].tolist()):
                return "let go of the controls first"
            if robot.position is None:
                return "the pose of the commanded point is not known"
            try:
                refusal = drive.unreachable(robot.position, robot.orientation)
            except ValueError as error:
                refusal = str(error)
            if not refusal:
                self._homing = homing.begun(self._now())
            return refusal

    @property
    def way_home(self) -> Homing:
        return self._homing

    def _on_way_home(self, wish: list[float] | None, held: str, now: Now) -> list[float] | None:
        """Return the normalised action (n,) of this tick: on the way home that of the way, else what is wanted."""
        if not self._homing.running:
            return wish
        drive, robot, way = self._thresholds.home, self._robot, self._homing
        way = homing.after_tick(way, drive, robot.position, robot.orientation, self._command, now)
        if held:
            way = way.ended(f"the way home ended: {held}", now)
        elif wish is None or self._asks(wish):
            way = way.ended("the way home ended: the operator took the controls", now)
        if self._homing.running and not way.running:
            self._released = False  # whatever the controls say at this moment, it was not meant to be followed
        self._homing = way
        return list(homing.next_wish(drive, robot.position, robot.orientation)) or None if way.running else None

    def _note(self, now: Now) -> str:
        found = homing.check_homing(self._homing, self._thresholds.home, self._robot.position, now)
        return self._slowed if found is None else "; ".join(filter(None, (found.text, self._slowed)))

    def _within_zones(self, wish: list[float], now: Now) -> list[float]:
        """Return the share of a normalised action that protective zones and the arm's own limits leave."""
        found = zones_on(tuple(wish), self._command, self._robot, self._thresholds, now)
        slowed = check_zones(found, self._thresholds) or check_zone_speed(found)
        self._slowed = "" if slowed is None else slowed.text
        return list(scaled(tuple(wish), found.share, len(self._command)))

    def _let_go(self, now: Now) -> str:
        """Note that the operator let go of the controls, and take the force of rest; return why it is none."""
        if self._thresholds.protective_force_n is not None:
            force = consent.rest_force(self._robot.consent.wrench, self._thresholds, now)
            if isinstance(force, str):
                return force
            self._bias, self._bias_s = force, now.monotonic_s
        self._released = True
        return ""

    def halt(self) -> tuple[float, ...]:
        with self._lock:
            self._move(None, self._now())
            return self._command

    def _on_pressed(self) -> None:
        self._pressed = True

    def _on_foreign_command(self, finding: Finding) -> None:
        self._foreign = finding.text

    def _held(self, now: Now) -> tuple[str, Reason]:
        """Return the cause that holds the robot, other than the silence of the operator; empty when there is none."""
        thresholds = self._thresholds
        told, held_up = self._command, checks.check_stream(self._ticked, thresholds, now)
        if held_up is not None:  # the robot has stopped by itself, so the next command follows on zero
            self._command = self._acceleration = (0.0,) * len(self._command)
            self._following = self._following.paused()
        self._following = self._following.after(told, self._robot, thresholds, now)
        if held_up is not None:
            return held_up.text, held_up.reason
        robot = replaced(self._robot, estop_pressed=self._robot.estop_pressed or self._pressed)
        foreign, self._foreign, self._pressed = self._foreign, "", False
        force = consent.check_force(self._bias, self._bias_s, self._robot, thresholds, now)
        if force is not None:
            self._bias = None  # once the controls were let go of, the operator may drive away from what was touched
        findings = (
            following.check_motion(self._following, now),
            following.check_outside(self._following, thresholds),
            checks.check_estop(robot, -math.inf, thresholds, now),
            checks.check_other_publishers(robot, moved=True),
            identity.check_strangers(robot.strangers, moved=True),
            checks.check_robot_state(robot, thresholds, now),
            checks.check_lead(robot, thresholds),
            checks.check_actions(self._proposal, self._sized(self._proposal)) if self._proposal else None,
            check_gripper(robot.gripper, thresholds.gripper, now),
            consent.check_ready(self._robot, thresholds, now),
            consent.check_held(self._robot, thresholds, now) if self._by_program else None,
            check_zones(zones_on((), self._command, robot, thresholds, now), thresholds),
            force,
            consent.check_episode(robot, thresholds, now) if self._in_episodes else None,
        )
        held = ((found.text, found.reason) for found in findings if found is not None)
        return next(held, (foreign, Reason.FOREIGN_COMMAND) if foreign else ("", Reason.OK))

    def _asks(self, action: list[float]) -> bool:
        """Return whether an action asks for motion: of the robot, or of the gripper by naming a position for it."""
        return any(action[: len(self._command)]) or len(action) > len(self._command)

    def _sized(self, proposal: ProposalInput) -> RobotThresholds:
        """Return the thresholds for the size of the proposal: a person may leave the value of a gripper out."""
        twist, actions = len(self._command), proposal.actions
        leaves = actions is not None and actions.ndim == 2 and actions.shape[1] == twist
        return replaced(self._thresholds, action_size=twist) if leaves else self._thresholds

    def _move(self, target: list[float] | None, now: Now) -> bool:
        """Take the next step of the command stream, and return True when the limits changed the command."""
        elapsed_s = 0.0  # the first tick changes nothing
        if self._ticked is not None:
            elapsed_s = min(max(now.monotonic_s - self._ticked.monotonic_s, 0.0), self._limits.longest_tick_s)
        self._ticked, size = now, len(self._command)
        asked = None if target is None else tuple(target)
        self._gripper = next_setpoint(self._gripper, asked, size, self._robot.gripper, self._limits.gripper, elapsed_s)
        twist = None if target is None else target[:size]
        step = next_command(
            twist, self._command, self._acceleration, self._history, self._robot, self._limits, elapsed_s, now
        )
        self._command, self._acceleration, self._history = step.command, step.acceleration, step.history
        return step.limited
