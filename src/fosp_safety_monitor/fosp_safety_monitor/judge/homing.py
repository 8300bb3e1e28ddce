"""The way home while a model drives: what an operator's order needs, and the checks of each command on the way.

No model judges this motion, as none judges a person's: the scene between episodes is not one that the model knows. All
that needs no model holds: limits, workspace, emergency stops, zones, force, readiness, publishers and the operator's
consent. watch/homing.py has the motion.
"""

from __future__ import annotations

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_safety_monitor.judge import checks
from fosp_safety_monitor.judge.gating import checks_of_permission, followed_wish
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.state import MonitorState
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, most_restrictive
from fosp_safety_monitor.judge.watch import consent
from fosp_safety_monitor.judge.watch.homing import Homing, after_tick, begun, check_homing, next_wish
from fosp_safety_monitor.judge.watch.motion import check_pose_changes
from fosp_safety_monitor.judge.watch.protection import check_zone_speed, check_zones, zones_on
from fosp_safety_monitor.replacing import replaced

_Permission = list[Finding | None]


def home(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[MonitorState, str]:
    """Take an operator's order to drive home. The text is empty on success; otherwise it says why it is refused."""
    refusal = check_order_home(state, robot, thresholds, now)
    return (state, refusal) if refusal else (replaced(state, homing=begun(now)), "")


def check_order_home(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> str:
    """Return why the robot is not sent home; an empty text when nothing is in the way but the way itself."""
    drive = thresholds.home
    if drive is None:
        return "the robot file has no home"
    if thresholds.shadow:
        return "in shadow mode nothing is gated, so the robot is not driven home"
    if thresholds.consent.episodes == "not_used":
        return "without episodes (episodes: not_used) the policy drives whenever it may, so there is no time for it"
    if state.homing.running:
        return "the robot is on its way home already"
    if state.takeover.driver is not WhoDrives.POLICY:
        return "a person has taken over: let go of the controls first"
    if state.latched is not None:
        return f"the robot is latched: {state.latched.text}"
    if robot.consent.episode.running:
        return "an episode runs: end it first"
    findings = [consent.check_engaged(state.consent, robot, thresholds, now)]
    cause = most_restrictive([*findings, *checks_on_homing(state, robot, thresholds, now)])
    if cause.decision >= Decision.STOP:
        return cause.text
    if any(state.command):
        return "the robot is still being stopped"
    if robot.position is None:
        return "the pose of the commanded point is not known"
    try:
        return drive.unreachable(robot.position, robot.orientation)
    except ValueError as error:
        return str(error)


def checks_on_tick(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> checks.Findings:
    """Check at a command tick, after check_stream: what holds for proposals, or for the way home."""
    on = checks_on_homing if state.homing.running else checks.checks_on_tick
    return on(state, robot, thresholds, now)


def checks_on_homing(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> checks.Findings:
    """Check everything that needs neither a model nor a proposal."""
    wish = next_wish(thresholds.home, robot.position, robot.orientation)
    zones = zones_on(wish, state.command, robot, thresholds, now)
    return [
        checks.check_clock(state.ticked, thresholds, now),
        None if state.latched else check_pose_changes(state.frozen_pose, thresholds),
        check_zones(zones, thresholds),
        *checks.checks_of_surroundings(state, robot, thresholds, now),
        checks.check_robot_state(robot, thresholds, now),
        checks.check_lead(robot, thresholds),
        *checks.checks_of_the_robot(state, robot, thresholds, now),
        checks.check_self_test(robot),
        check_zone_speed(zones),
    ]


def on_tick(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> Homing:
    """Return the state of the way home at a command tick. An episode or a person at the controls ends it."""
    homing = state.homing
    if homing.running and robot.consent.episode.running:
        return homing.ended("the way home ended: an episode began", now)
    if homing.running and state.takeover.driver is not WhoDrives.POLICY:
        return homing.ended("the way home ended: a person took over", now)
    return after_tick(homing, thresholds.home, robot.position, robot.orientation, state.command, now)


def stopped(homing: Homing, gating: Finding, now: Now) -> Homing:
    """Return the state of the way home after the checks of a tick: what stops the robot ends it for good."""
    return homing.ended(f"the way home ended: {gating.text}", now) if gating.decision >= Decision.STOP else homing


def permission_on_tick(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> _Permission:
    """Check that motion is wanted now: by a model inside of an episode, or home by an operator outside of one."""
    way = check_homing(state.homing, thresholds.home, robot.position, now)
    if state.homing.running:
        return [consent.check_engaged(state.consent, robot, thresholds, now), way]
    told = None if state.takeover.driver is WhoDrives.OPERATOR else way  # who took over need not wait for its end
    return [told, *checks_of_permission(state, robot, thresholds, now)]


def permission_of_proposals(
    state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now
) -> _Permission:
    """Check that a proposal may be followed now: never on the way home, nor in the moment after it."""
    permission = checks_of_permission(state, robot, thresholds, now)
    if not state.homing.running and not state.homing.told(now):
        return permission
    return [*permission, Finding(Decision.STOP, Reason.NO_EPISODE, "an operator sends the robot home")]


def wish_of(state: MonitorState, robot: RobotStateInput, thresholds: Thresholds, now: Now) -> tuple[float, ...]:
    """Return the normalised action (n,) to steer to, if nothing stops the robot; empty for a stop."""
    if state.homing.running:
        return next_wish(thresholds.home, robot.position, robot.orientation)
    return followed_wish(state, robot, thresholds, now)
