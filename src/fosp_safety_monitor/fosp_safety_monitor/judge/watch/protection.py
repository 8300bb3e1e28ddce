"""The part of a wanted action that protective zones and an arm's own limits leave: a stop, or a share of its speed."""

from __future__ import annotations

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.arm.guard import ArmGuard, ArmJudgement, ArmMeasured
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.zones.field import ZoneJudgement

_FREE = ZoneJudgement()
Held = ZoneJudgement | ArmJudgement


def zones_on(
    wish: tuple[float, ...],
    command: tuple[float, ...],
    robot: RobotStateInput,
    thresholds: RobotThresholds,
    now: Now,
) -> Held:
    """Return what zones and arm leave of the normalised action `wish` while `command` (n,), m/s, is in force.

    An empty wish stands for rest. The zones know nothing of a gripper.
    """
    if thresholds.zones is None and thresholds.arm is None:
        return _FREE
    asked = wish[: len(command)] or (0.0,) * len(command)
    found: Held = _FREE
    if thresholds.zones is not None:
        found = thresholds.zones.judge(robot.zones, asked, command, robot.tool, now)
    if thresholds.arm is None or found.share == 0.0:
        return found
    arm = arm_on(asked, command, robot, thresholds.arm, now)
    return arm if arm.share < found.share else found


def arm_on(
    wish: tuple[float, ...], command: tuple[float, ...], robot: RobotStateInput, guard: ArmGuard, now: Now
) -> ArmJudgement:
    """Return what an arm's own limits leave of the normalised action `wish` (n,)."""
    return guard.judge(ArmMeasured(robot.pose, robot.orientation, robot.arm), wish, command, now)


def check_zones(found: Held, thresholds: RobotThresholds) -> Finding | None:
    """STOP when zones or arm leave nothing of what is wanted; LATCH when an input of theirs fell silent for long.

    `found` is what `zones_on` says of it.
    """
    if found.share > 0.0:
        return None
    limit_s, arm = thresholds.parameters.stale_latch_s, isinstance(found, ArmJudgement)
    if found.silent_s >= limit_s:
        who = "the arm's joint states have" if arm else "a sensor of the protective zones has"
        text = f"{who} been silent for {found.silent_s:.1f} s, limit {limit_s:g} s"
        return Finding(Decision.LATCH, _reason(found), f"{text}: {found.text}")
    return Finding(Decision.STOP, _reason(found), found.text)


def check_zone_speed(found: Held) -> Finding | None:
    """PASS with a reduced speed where zones or arm leave a share of what is wanted. `found` as above."""
    if not 0.0 < found.share < 1.0:
        return None
    return Finding(Decision.PASS, _reason(found), f"the speed is scaled by {found.share:.2f}: {found.text}")


def _reason(found: Held) -> Reason:
    return found.reason if isinstance(found, ArmJudgement) else Reason.PROTECTIVE_ZONE
