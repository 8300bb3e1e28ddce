"""Consent to motion as a pure state machine: nothing moves before an operator engages, and outside of an episode.

`on_tick` takes away what was given: consent is lost for good at a latch, at a release of the enabling switch, when the
robot is not ready, and at a pause of the robot. Only `engaged` gives it, on ~/engage; where nobody has to engage
(ConsentSettings), `on_tick` gives it as soon as nothing else is missing. The checks stop the robot without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fosp_core.clock import Now, age
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.consent_inputs import Force, WrenchInput
from fosp_safety_monitor.judge.inputs import RobotStateInput
from fosp_safety_monitor.judge.thresholds import RobotThresholds
from fosp_safety_monitor.judge.verdict import Finding
from fosp_safety_monitor.replacing import replaced

LEAST_SCALE = 0.2
"""Factor of the speed when the first motion after engaging begins; it grows to 1 within `ramp_in_s`."""
LEAST_SAMPLES = 5
"""Number of force readings that a bias needs."""
REST_SHARE = 0.25
"""Share of the protective force within which the readings must lie for the bias to be one of rest."""


@dataclass(frozen=True)
class Consent:
    """The operator's consent, and what has to be remembered to notice its loss."""

    engaged: bool = False
    why_not: str = "no operator has engaged since activation"
    """The cause that ended the consent; empty while it is given."""
    engaged_s: float = -math.inf
    """Moment of the consent, monotonic clock."""
    ramp_from_s: float | None = None
    """Moment of the first motion since then, monotonic clock."""
    releases: int = 0
    """Releases of the enabling switch that had been seen when the consent was given."""
    releases_needed: int = 1
    """Releases that must have been seen for a press to count: a switch that is tied down is never seen to be let go."""
    falls: tuple[int, ...] = ()
    """For each entry of `ready`: how often it had said no when the consent was given."""
    bias: Force | None = None
    """Force at rest, N, taken when the consent was given."""
    missing_since_s: float | None = None
    """Since when the robot's state has been missing, monotonic clock."""
    watch: int | None = None
    """Process of the console at which the operator engaged: the consent ends with its beats. None: not so engaged."""


# -- what is given and taken -------------------------------------------------------------------------
def disengaged(consent: Consent, why: str) -> Consent:
    """Return the consent after its end. The bias stays, because a reset still asks whether the force is gone."""
    return replaced(consent, engaged=False, why_not=why, ramp_from_s=None) if consent.engaged else consent


def engaged(
    consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now, watched: bool = False
) -> Consent | str:
    """Return the consent of an operator who engages now, or why it is refused.

    A `watched` one lasts no longer than the beats of the console at which the operator engages.
    """
    refusal = switch_fault(consent, robot, thresholds, now) or ready_fault(robot, thresholds, now)
    if refusal:
        return refusal
    bias: Force | None = None
    if thresholds.protective_force_n is not None:
        rest = rest_force(robot.consent.wrench, thresholds, now)
        if isinstance(rest, str):
            return rest
        bias = rest
    falls = tuple(robot.consent.ready_of(index).falls for index in range(len(thresholds.ready)))
    releases = robot.consent.enabling.releases
    given = Consent(True, "", now.monotonic_s, None, releases, releases, falls, bias)
    return watched_by_console(given, robot, thresholds, now) if watched else given


def watched_by_console(
    consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now
) -> Consent | str:
    """Return the consent bound to the console that was heard last, or why that is refused."""
    watch = robot.consent.watch.newest
    return watch_fault(watch, robot, thresholds, now) or replaced(consent, watch=watch)


def after_reset(consent: Consent, thresholds: RobotThresholds, latched: Finding) -> Consent:
    """Return the consent after a reset, which ends it where an operator has to engage."""
    if thresholds.consent.engage == "by_itself":
        return consent
    return disengaged(consent, f"the robot was latched ({latched.text}); an operator has to engage anew")


def on_tick(
    consent: Consent,
    robot: RobotStateInput,
    thresholds: RobotThresholds,
    now: Now,
    latched: Finding | None = None,
    held_up: Finding | None = None,
) -> Consent:
    """Return the consent at a command tick: without what was lost since the last one."""
    parameters, switch = thresholds.parameters, robot.consent.enabling
    inputs = (robot.state, robot.pose) if thresholds.needs_pose else (robot.state,)
    missing = any(age(received, now, parameters.robot_state_timeout_s).stale_because for received in inputs)
    since_s = now.monotonic_s if consent.missing_since_s is None else consent.missing_since_s
    consent = replaced(consent, missing_since_s=since_s if missing else None)
    unheld = switch_fault(consent, robot, thresholds, now)
    if unheld and (switch.pressed or switch.another):
        # Silent, repeated, tied down or of another device: a release has to be seen before a press counts again.
        consent = replaced(consent, releases_needed=max(consent.releases_needed, switch.releases + 1))
    why = loss(consent, robot, thresholds, now)
    if thresholds.consent.engage == "by_itself":
        given = engaged(consent, robot, thresholds, now) if why or not consent.engaged else consent
        return disengaged(consent, why) if isinstance(given, str) else given
    if latched is not None:
        why = f"the robot was latched ({latched.text})"
    elif held_up is not None:
        why = f"the robot has paused ({held_up.text})"
    elif missing and now.monotonic_s - since_s >= parameters.robot_pause_s:
        why = f"the robot has paused (its state was missing for {parameters.robot_pause_s:g} s)"
    if why:
        return disengaged(consent, f"{why}; an operator has to engage anew")
    if consent.engaged and consent.ramp_from_s is None and check_episode(robot, thresholds, now) is None:
        return replaced(consent, ramp_from_s=now.monotonic_s)
    return consent


def loss(consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return what has ended a consent that was given, by the inputs of this moment; an empty text while it lasts."""
    if not consent.engaged:
        return ""
    if consent.watch is not None and (unwatched := watch_fault(consent.watch, robot, thresholds, now)):
        return unwatched
    unheld = switch_fault(consent, robot, thresholds, now)
    if not unheld and thresholds.enabling is not None and robot.consent.enabling.releases != consent.releases:
        unheld = "the enabling switch was released"
    if unheld:
        return unheld
    for index, config in enumerate(thresholds.ready):
        before = consent.falls[index] if index < len(consent.falls) else -1
        if robot.consent.ready_of(index).falls != before:
            return f"the robot was not ready ({config.topic})"
    return ready_fault(robot, thresholds, now)


def ramp_scale(consent: Consent, thresholds: RobotThresholds, now: Now) -> float:
    """Return the factor of the speed, in [LEAST_SCALE, 1], after an operator has engaged."""
    if thresholds.consent.engage == "by_itself":
        return 1.0
    if consent.ramp_from_s is None:
        return LEAST_SCALE
    share = (now.monotonic_s - consent.ramp_from_s) / thresholds.parameters.ramp_in_s
    return LEAST_SCALE + (1.0 - LEAST_SCALE) * min(max(share, 0.0), 1.0)


# -- the inputs in words -----------------------------------------------------------------------------
def switch_fault(consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why the enabling switch counts as released; an empty text when it is held, or the robot has none."""
    config, switch = thresholds.enabling, robot.consent.enabling
    if config is None:
        return ""
    stale = age(switch.received, now, config.timeout_s).stale_because
    unchanged_s = now.monotonic_s - switch.changed_s
    if switch.received is None:
        return "the enabling switch has sent nothing yet, which counts as released"
    if switch.another:
        return f"the enabling switch is of another device, which counts as released: {switch.another}"
    if not switch.pressed:
        return "the enabling switch is released"
    if stale:
        return f"the enabling switch is silent, which counts as released: {stale}"
    if not unchanged_s <= config.repeat_s:
        return (
            f"the enabling switch has repeated one message for {unchanged_s:.0f} s, limit {config.repeat_s:g} s, which "
            "counts as released"
        )
    if switch.releases < consent.releases_needed:
        return "the enabling switch must be seen to be released before it is pressed"
    return ""


def watch_fault(pid: int | None, robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why nobody watches at the console of process `pid`; an empty text while its beats come."""
    beat, limit_s = robot.consent.watch.of(pid), thresholds.parameters.operator_watch_timeout_s
    if beat is None:
        return "no console is heard at which an operator watches"
    stale = age(beat, now, limit_s).stale_because
    return f"the console at which the operator engaged is silent: {stale}" if stale else ""


def ready_fault(robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why the robot is not ready by the topics of `ready`; an empty text when it is."""
    for index, config in enumerate(thresholds.ready):
        said, limit_s = robot.consent.ready_of(index), config.limit_s
        silence_s = now.monotonic_s - said.receipt_s
        if said.receipt_s == -math.inf:
            return f"the robot is not known to be ready: {config.topic} has sent nothing yet"
        if said.why_not:
            return f"the robot is not ready: {said.why_not}"
        if limit_s is not None and not 0.0 <= silence_s <= limit_s:
            return f"the robot is not known to be ready: {config.topic} was last heard {silence_s:.2f} s ago"
    return ""


def force_fault(wrench: WrenchInput, thresholds: RobotThresholds, now: Now) -> str:
    """Return why the force is not known; an empty text when it is."""
    stale = age(wrench.received, now, thresholds.parameters.robot_state_timeout_s).stale_because
    if stale:
        return f"the force is not known: wrench {stale}"
    if not all(math.isfinite(value) for _, force in wrench.samples for value in force):
        return "the force is not known: the wrench holds NaN or infinity"
    limit_s, force = thresholds.parameters.frozen_force_s, wrench.samples[-1][1]
    stuck = [now.monotonic_s - since_s > limit_s for since_s in wrench.constant_since_s]
    # An axis that a sensor does not have reads zero for ever; an axis at its end stays at another value.
    if all(stuck) or any(held and value != 0.0 for held, value in zip(stuck, force, strict=True)):
        return f"the force is not known: the wrench has been the same to the last bit for {limit_s:g} s"
    return ""


def rest_force(wrench: WrenchInput, thresholds: RobotThresholds, now: Now) -> Force | str:
    """Return the mean force of the kept readings, N, or why it is none of rest."""
    fault, limit = force_fault(wrench, thresholds, now), thresholds.protective_force_n
    if fault:
        return fault
    forces, count = [force for _, force in wrench.samples], len(wrench.samples)
    if count < LEAST_SAMPLES:
        return f"the force at rest needs {LEAST_SAMPLES} readings within 0.2 s, got {count}"
    mean = tuple(sum(axis) / count for axis in zip(*forces, strict=True))
    spread, allowed = max(math.dist(force, mean) for force in forces), REST_SHARE * (limit or 0.0)
    if spread > allowed:
        return f"the force is not that of rest: its readings vary by {spread:.1f} N, limit {allowed:.1f} N"
    return mean[0], mean[1], mean[2]


# -- the checks --------------------------------------------------------------------------------------
def checks_of_permission(
    consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now
) -> list[Finding | None]:
    """Check that motion is wanted now. These stops are no faults: no reset and no ~/engage is refused for them."""
    return [check_engaged(consent, robot, thresholds, now), check_episode(robot, thresholds, now)]


def check_engaged(consent: Consent, robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP while nobody has engaged, or when what was engaged has ended."""
    why = loss(consent, robot, thresholds, now) if consent.engaged else consent.why_not
    if thresholds.consent.engage == "by_itself" and not consent.engaged:
        given = engaged(consent, robot, thresholds, now)
        why = f"cannot engage by itself: {given}" if isinstance(given, str) else ""
    return Finding(Decision.STOP, Reason.NOT_ENGAGED, f"not engaged: {why}") if why else None


def check_episode(robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP before, between and after episodes, and when the feedback of the running one falls silent."""
    if thresholds.consent.episodes == "not_used":
        return None
    episode = robot.consent.episode
    if not episode.running:
        text = episode.ended or "nothing came on fosp/feedback since activation"
        return Finding(Decision.STOP, Reason.NO_EPISODE, f"no episode runs: {text}; fosp/reset_episode begins one")
    stale = age(episode.received, now, thresholds.parameters.feedback_timeout_s).stale_because
    if not stale:
        return None
    return Finding(Decision.STOP, Reason.NO_EPISODE, f"the feedback of episode {episode.number} is silent: {stale}")


def check_held(robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP while the enabling switch is not held, where a program drives in the place of a person at the controls."""
    fault = switch_fault(Consent(), robot, thresholds, now)
    return Finding(Decision.STOP, Reason.NOT_ENGAGED, fault) if fault else None


def check_ramp(scale: float) -> Finding | None:
    """PASS with a reduced speed while the speed grows after an operator has engaged."""
    if scale >= 1.0:
        return None
    text = f"an operator has engaged just now: the speed is scaled by {scale:.2f}"
    return Finding(Decision.PASS, Reason.SLOW_DOWN, text)


def check_ready(robot: RobotStateInput, thresholds: RobotThresholds, now: Now) -> Finding | None:
    """STOP while the robot's driver says that it cannot be commanded, or says nothing."""
    fault = ready_fault(robot, thresholds, now)
    return Finding(Decision.STOP, Reason.ROBOT_NOT_READY, fault) if fault else None


def check_force(
    bias: Force | None, since_s: float, robot: RobotStateInput, thresholds: RobotThresholds, now: Now
) -> Finding | None:
    """LATCH when a force since `since_s` differs by more than the protective force from its `bias`; STOP when unknown.

    `bias` is None while none is to be compared with: then a person may be guiding the robot by hand.
    """
    limit = thresholds.protective_force_n
    if limit is None:
        return None
    wrench = robot.consent.wrench
    fault = force_fault(wrench, thresholds, now)
    if fault:
        return Finding(Decision.STOP, Reason.FORCE, fault)
    if bias is None:
        return None
    worst = max((math.dist(force, bias) for receipt_s, force in wrench.samples if receipt_s >= since_s), default=0.0)
    if worst <= limit:
        return None
    return Finding(Decision.LATCH, Reason.FORCE, f"a force of {worst:.1f} N acts on the robot, limit {limit:g} N")


def compared_bias(consent: Consent, latched: Finding | None) -> Force | None:
    """Return the bias to compare with: while engaged, and after a latch for the force until it is gone."""
    return consent.bias if consent.engaged or (latched is not None and latched.reason is Reason.FORCE) else None
