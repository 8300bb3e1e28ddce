"""The part of a wanted action that the protective zones leave: a stop, or a share of its speed."""

from __future__ import annotations

from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.inputs import RobotStateInput, RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.zones.field import ZoneJudgement

_FREE = ZoneJudgement()


def zones_on(
    wish: tuple[float, ...],
    command: tuple[float, ...],
    robot: RobotStateInput,
    thresholds: RobotThresholds,
    now: Now,
) -> ZoneJudgement:
    """Return what the zones leave of the normalised action `wish` while `command` (n,), m/s, rad/s, is in force.

    An empty wish stands for rest. The zones know nothing of a gripper.
    """
    if thresholds.zones is None:
        return _FREE
    asked = wish[: len(command)] or (0.0,) * len(command)
    return thresholds.zones.judge(robot.zones, asked, command, robot.tool, now)


def check_zones(found: ZoneJudgement, thresholds: RobotThresholds) -> Finding | None:
    """STOP when the zones leave nothing of what is wanted; LATCH when a source of theirs fell silent for long.

    `found` is what `zones_on` says of it.
    """
    if found.share > 0.0:
        return None
    limit_s = thresholds.parameters.stale_latch_s
    if found.silent_s >= limit_s:
        text = f"a sensor of the protective zones has been silent for {found.silent_s:.1f} s, limit {limit_s:g} s"
        return Finding(Decision.LATCH, Reason.PROTECTIVE_ZONE, f"{text}: {found.text}")
    return Finding(Decision.STOP, Reason.PROTECTIVE_ZONE, found.text)


def check_zone_speed(found: ZoneJudgement) -> Finding | None:
    """PASS with a reduced speed where the zones leave a share of what is wanted. `found` as above."""
    if not 0.0 < found.share < 1.0:
        return None
    return Finding(Decision.PASS, Reason.PROTECTIVE_ZONE, f"the speed is scaled by {found.share:.2f}: {found.text}")
