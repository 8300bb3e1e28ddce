"""Does a test fail for every check that is taken out? Runs the unit tests once for each mutant: `make mutants`.

A mutant is the code with one function replaced by what would be there without the check. One that no test notices is
printed as SURVIVED, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fosp_core.clock import Received
from fosp_core.decisions import WhoDrives
from fosp_core.robot.gripper import GripperSetpoint
from fosp_safety_monitor.arm.guard import ArmJudgement
from fosp_safety_monitor.arm.sharing import Rooms, Share
from fosp_safety_monitor.judge.identity import EstopHeard
from fosp_safety_monitor.zones.decoding import Readings
from fosp_safety_monitor.zones.field import ZoneJudgement

SOURCE = Path(__file__).resolve().parents[2] / "src"
MONITOR_TESTS = SOURCE / "fosp_safety_monitor" / "test"
ARM_TESTS, CONE_TESTS = MONITOR_TESTS / "test_arm_guard.py", MONITOR_TESTS / "test_arm_orientation.py"
RETREAT_TESTS = MONITOR_TESTS / "test_retreat.py"
BLACK_BOX_TESTS = SOURCE / "fosp_recording" / "test" / "test_black_box.py"
LIMIT_TESTS = SOURCE / "fosp_core" / "test" / "test_limits.py"
BUNDLE_TESTS = SOURCE / "fosp_core" / "test" / "test_bundle.py"
SIGNATURE_TESTS = SOURCE / "fosp_core" / "test" / "test_signature.py"
ACCEPTANCE_TESTS = SOURCE / "fosp_core" / "test" / "test_acceptance.py"
AGREEMENT_TESTS = SOURCE / "fosp_core" / "test" / "test_agreement.py"
SELF_TESTS = SOURCE / "fosp_core" / "test" / "test_self_testing.py"
GRIPPER_TESTS = SOURCE / "fosp_core" / "test" / "test_gripper.py"
GRIPPER_SIDE_TESTS = MONITOR_TESTS / "test_gripper.py"
HOME_TESTS = SOURCE / "fosp_core" / "test" / "test_home.py"
DEVICE_TESTS = SOURCE / "fosp_policy" / "test" / "test_teleoperation.py"
COMMISSIONING_TESTS = SOURCE / "fosp_bringup" / "test" / "test_commissioning_record.py"


@dataclass(frozen=True)
class Mutant:
    """`module.name` becomes `instead`; a method is `Class.name`."""

    module: str
    name: str
    instead: Any
    tests: Path = MONITOR_TESTS


def _nothing(*arguments: Any, **keywords: Any) -> None:
    """A check that never finds anything."""


def _always(value: Any) -> Callable[..., Any]:
    return lambda *arguments, **keywords: value


def _granted(state: Any, robot: Any, thresholds: Any, now: Any) -> tuple[Any, str]:
    """A reset that nothing refuses."""
    from dataclasses import replace

    return replace(state, latched=None), ""


def _of_a_whole_period(target: Any, command: Any, slope: Any, history: Any, robot: Any, limits: Any, *when: Any) -> Any:
    """The next command, limited as if a whole period had passed since the last one."""
    from fosp_safety_monitor.judge.watch.motion import next_command

    return next_command(target, command, slope, history, robot, limits, 0.01, when[-1])


def _springs_back(before: Any, action: Any, size: int, measured: Any, limits: Any, elapsed_s: float) -> Any:
    """A gripper without a wish goes to the middle, as a speed goes to zero."""
    wish = action[size] if action is not None and len(action) > size else 0.0
    return before if limits is None else limits.follow(before, wish, measured.position, elapsed_s)


def _jumps_there(limits: Any, before: Any, wish: Any, measured: Any, dt: float) -> Any:
    """A gripper's setpoint without a limit of its rate."""
    return GripperSetpoint(wish, wish)


def _at_once(takeover: Any, proposal: Any, thresholds: Any, now: Any) -> Any:
    """The policy drives as soon as it proposes something, whoever holds the robot's controls."""
    from dataclasses import replace

    return replace(takeover, driver=WhoDrives.POLICY) if takeover.driver is WhoDrives.NOBODY else takeover


def _released_by_all(operator: Any, *said: Any) -> Any:
    """The device after a message, by which its button counts as seen to be let go whatever it says."""
    from fosp_safety_monitor.judge.operator_input import OperatorInput

    holds, action, fault, device, received = said
    return OperatorInput(received, holds, action, fault, device, operator.releases + 1)


def _believed(names: Any, positions: Any, velocities: Any, before: Any, received: Any) -> Any:
    """The readings of joint states, whatever they hold."""
    from fosp_safety_monitor.arm.view import JointReading

    return {name: JointReading(at, 0.0, received) for name, at in zip(names, positions, strict=False)}


_CHECKS = "fosp_safety_monitor.judge.checks"
_FOLLOWING = "fosp_safety_monitor.judge.watch.following"
_LATENTS = "fosp_safety_monitor.judge.watch.latent_stream"
_CONSENT = "fosp_safety_monitor.judge.watch.consent"
_HOMING = "fosp_safety_monitor.judge.homing"
_WAY = "fosp_safety_monitor.home_drive"
_GATING = "fosp_safety_monitor.judge.gating"
_TAKEOVER = "fosp_safety_monitor.judge.watch.takeover"
_OPERATOR = "fosp_safety_monitor.judge.operator_input"
_DEVICE = "fosp_policy.teleoperation"
_CHOICE = "fosp_safety_monitor.judge.choice"
_DECISION = "fosp_safety_monitor.judge.decision"
_IDENTITY = "fosp_safety_monitor.judge.identity"
_LIMITS = "fosp_core.robot.limits"
_MESSAGES = "fosp_safety_monitor.command.messages"
_BUNDLE = "fosp_core.bundle.bundle"
_ACCEPTANCE = "fosp_core.bundle.acceptance"
_AGREEMENT = "fosp_core.bundle.agreement"
_STREAM = "fosp_safety_monitor.command.command_stream"
MUTANTS: tuple[Mutant, ...] = (
    *(
        Mutant(_CHECKS, f"check_{name}", _nothing)
        for name in (
            "latent",
            "contrast",
            "proposal",
            "actions",
            "order",
            "image",
            "latent_age",
            "proposal_age",
            "robot_state",
            "estop",
            "other_publishers",
            "lead",
            "pose_changes",
            "clock",
            "stream",
            "critic",
            "surprise",
            "vetoes",
            "self_test",
        )
    ),
    *(Mutant(_FOLLOWING, f"check_{name}", _nothing) for name in ("motion", "outside")),
    *(Mutant(_LATENTS, f"check_{name}", _nothing) for name in ("pace", "latent_changes")),
    Mutant(_DECISION, "check_staleness_duration", _nothing),
    *(
        Mutant(_TAKEOVER, f"check_{name}", _nothing)
        for name in ("operator_action", "device", "judged", "hand_back", "proposals_after", "ramp_back")
    ),
    Mutant(_TAKEOVER, "ramp_scale", _always(1.0)),
    Mutant(_TAKEOVER, "device_silence", _always("")),
    Mutant(_TAKEOVER, "handed_back", _at_once),
    Mutant(_OPERATOR, "OperatorInput.after", _released_by_all),
    Mutant(_DEVICE, "device_fault", _always(""), DEVICE_TESTS),
    Mutant(_DEVICE, "Repetition.after", lambda repetition, *others: repetition, DEVICE_TESTS),
    Mutant(_DEVICE, "DeviceHistory.after", lambda history, *others: history, DEVICE_TESTS),
    Mutant(_FOLLOWING, "_drift", _always((None, ""))),
    Mutant(_FOLLOWING, "_jumps", _always(True)),
    Mutant(_FOLLOWING, "WINDOWS_S", (2.0,)),
    Mutant(_DECISION, "check_frozen", _nothing),
    Mutant(_CHECKS, "check_strangers", _nothing),
    Mutant(_IDENTITY, "check_strangers", _nothing),
    Mutant(_IDENTITY, "_worst_first", _always(0)),
    Mutant(_IDENTITY, "Publishers.look", _nothing),
    Mutant(_IDENTITY, "OwnCommands.hear", _always(True)),
    Mutant(_IDENTITY, "Restarts.without_dead", _always([])),
    Mutant("fosp_safety_monitor.judge.monitor", "SafetyMonitor._on_foreign_command", _nothing),
    Mutant("fosp_safety_monitor.operator.operator_guard", "OperatorGuard._on_foreign_command", _nothing),
    *(Mutant(_CONSENT, f"check_{name}", _nothing) for name in ("engaged", "episode", "ready", "force", "ramp", "held")),
    Mutant(_HOMING, "check_order_home", _always("")),
    Mutant(_HOMING, "checks_on_homing", _always([])),
    Mutant(_HOMING, "check_homing", _nothing),
    Mutant(_HOMING, "after_tick", lambda homing, *others: homing),
    Mutant(_HOMING, "on_tick", lambda state, *others: state.homing),
    Mutant(_HOMING, "stopped", lambda homing, *others: homing),
    Mutant(_HOMING, "permission_on_tick", _always([])),
    Mutant(_HOMING, "permission_of_proposals", _always([])),
    Mutant(_WAY, "HomeDrive.unreachable", _always("")),
    Mutant(_WAY, "HomeDrive.wish", lambda drive, *pose: (1.0,) * len(drive.scale)),
    Mutant("fosp_core.robot.config", "home_fault", _always(""), HOME_TESTS),
    Mutant(_CONSENT, "on_tick", lambda consent, *others: consent),
    Mutant(_CONSENT, "loss", _always("")),
    Mutant(_CONSENT, "disengaged", lambda consent, why: consent),
    Mutant(_CONSENT, "watch_fault", _always("")),
    Mutant(_CONSENT, "ramp_scale", _always(1.0)),
    Mutant(_CONSENT, "switch_fault", _always("")),
    Mutant(_CONSENT, "force_fault", _always("")),
    Mutant(_CONSENT, "REST_SHARE", 1e9),
    Mutant(_CHECKS, "checks_on_engage", _always([])),
    Mutant(_CHECKS, "check_camera", _nothing),
    Mutant("fosp_safety_monitor.judge.watch.camera", "CameraWatch.after", lambda watch, latent, thresholds: watch),
    Mutant(_DECISION, "hold", _always((None, None))),
    Mutant(_DECISION, "reset", _granted),
    Mutant(_GATING, "gates", _always(True)),
    Mutant(_DECISION, "_at_rest", lambda state: state.judged),
    Mutant(_CHECKS, "LEAD_AT_RESET", 1.0),
    Mutant(_DECISION, "latch", lambda state, finding: state),
    Mutant("fosp_safety_monitor.judge.watch.motion", "FrozenImage.after", lambda frozen, command, scale: frozen),
    Mutant(_CHOICE, "speed_scale", _always(1.0)),
    Mutant(_CHOICE, "choose", lambda chosen, values, thresholds: (chosen, None)),
    Mutant("fosp_safety_monitor.judge.monitor", "loosened", _always([])),
    Mutant("fosp_safety_monitor.command.pose_target", "_distance", _always(0.0)),
    Mutant("fosp_safety_monitor.command.pose_target", "_angle", _always(0.0)),
    Mutant("fosp_safety_monitor.parameters", "_check", _nothing),
    Mutant(_DECISION, "next_command", _of_a_whole_period),
    Mutant(_STREAM, "CommandStream.tick_now", _always(False)),
    Mutant(_STREAM, "CommandStream.close", _nothing),
    Mutant(_STREAM, "CommandStream._keep_apart", _nothing),
    Mutant(_STREAM, "threading", SimpleNamespace(Lock=contextlib.nullcontext, Thread=threading.Thread)),
    Mutant("fosp_safety_monitor.judge.monitor", "_came_back", _nothing),
    Mutant("fosp_safety_monitor.judge.monitor", "capped", lambda robot, cap: robot),
    Mutant("fosp_safety_monitor.operator.operator_guard", "capped", lambda robot, cap: robot),
    Mutant("fosp_bringup.stack", "uncommissioned_because", _always(""), COMMISSIONING_TESTS),
    Mutant("fosp_bringup.commissioning_record", "robot_hash", _always("0" * 64), COMMISSIONING_TESTS),
    Mutant("fosp_recording.black_box", "make_room", _always([]), BLACK_BOX_TESTS),
    Mutant(_LIMITS, "approach_speed", _always(1e9), LIMIT_TESTS),
    Mutant(_LIMITS, "longest_tick_s", _always(0.03), LIMIT_TESTS),
    Mutant(_LIMITS, "speed_norms", _always((1e9, 1e9)), LIMIT_TESTS),
    Mutant(_LIMITS, "CommandHistory.outstanding", _always(None), LIMIT_TESTS),
    Mutant(_LIMITS, "ramp", lambda target, *others: target, LIMIT_TESTS),
    Mutant(_LIMITS, "smooth_ramp", lambda target, *others: target, LIMIT_TESTS),
    Mutant(_LIMITS, "smooth_approach_speed", _always(1e9), LIMIT_TESTS),
    Mutant(_LIMITS, "brake", _always(0.0), LIMIT_TESTS),
    Mutant(_IDENTITY, "EmergencyStops.heard", lambda stops, *heard: EstopHeard(*heard)),
    Mutant(_FOLLOWING, "_outside", _always(0.0)),
    Mutant(_CONSENT, "ready_fault", _always("")),
    Mutant(_CONSENT, "rest_force", _always((0.0, 0.0, 0.0))),
    Mutant(_CONSENT, "compared_bias", _always(None)),
    Mutant(_CONSENT, "after_reset", lambda consent, *others: consent),
    Mutant(_MESSAGES, "robot_state_received", lambda message, receipt_s: Received(0.0, receipt_s)),
    Mutant(_MESSAGES, "pose_received", lambda message, receipt_s, frame_id: (Received(0.0, receipt_s), (0.0,) * 3)),
    Mutant(_BUNDLE, "file_hash", _always("0" * 64), BUNDLE_TESTS),
    Mutant(_BUNDLE, "_check_golden", _always({}), BUNDLE_TESTS),
    Mutant(_BUNDLE, "differences", _always([]), BUNDLE_TESTS),
    Mutant(_BUNDLE, "require_signature", _always(""), SIGNATURE_TESTS),
    Mutant(_ACCEPTANCE, "calibration_faults", _always([]), ACCEPTANCE_TESTS),
    Mutant(_ACCEPTANCE, "unsupported_because", _always(""), ACCEPTANCE_TESTS),
    Mutant(_ACCEPTANCE, "require_supported", _nothing, ACCEPTANCE_TESTS),
    Mutant(_AGREEMENT, "require_agreement", _nothing, AGREEMENT_TESTS),
    Mutant(_AGREEMENT, "disagreements", _always([]), AGREEMENT_TESTS),
    Mutant(_CHECKS, "check_zones", _nothing),
    Mutant(_DECISION, "check_zone_speed", _nothing),
    Mutant(_DECISION, "zones_on", _always(ZoneJudgement())),
    Mutant("fosp_safety_monitor.zones.geometry", "ConvexPolygon.contains", lambda shape, x, y, margin=0.0: x > 1e9),
    Mutant("fosp_safety_monitor.zones.field", "ProtectiveField.judge", _always(ZoneJudgement())),
    Mutant("fosp_safety_monitor.zones.decoding", "SourceDecoder.read", _always(Readings(np.zeros((0, 3)), 1))),
    *(
        Mutant("fosp_safety_monitor.arm.guard", name, instead, ARM_TESTS)
        for name, instead in (
            ("share_of_rooms", _always(Share())),
            ("share_of_speeds", _always(Share())),
            ("singularity_share", _always(1.0)),
            ("ArmGuard.judge", _always(ArmJudgement())),
        )
    ),
    Mutant("fosp_safety_monitor.arm.guard", "orientation_rooms", _always(Rooms.none(6)), CONE_TESTS),
    Mutant("fosp_safety_monitor.arm.view", "readings", _believed, ARM_TESTS),
    Mutant("fosp_safety_monitor.arm.view", "mismatch", _always(""), ARM_TESTS),
    Mutant("fosp_safety_monitor.arm.view", "_too_fast", _always(""), ARM_TESTS),
    Mutant("fosp_core.bundle.self_testing", "failure_of", _always(""), SELF_TESTS),
    Mutant("fosp_core.bundle.self_testing", "SelfTest.fault", _always(""), SELF_TESTS),
    Mutant(_CHECKS, "check_gripper", _nothing),
    Mutant("fosp_safety_monitor.operator.operator_guard", "check_gripper", _nothing),
    Mutant("fosp_safety_monitor.judge.watch.gripper", "next_setpoint", _springs_back),
    Mutant("fosp_core.robot.gripper", "GripperLimits.follow", _jumps_there, GRIPPER_TESTS),
    Mutant("fosp_core.robot.gripper", "position_fault", _always(""), GRIPPER_TESTS),
    Mutant("fosp_core.robot.gripper", "OpeningWatch.fault", _always(""), GRIPPER_TESTS),
    Mutant("fosp_safety_monitor.command.gripper_side", "driver_fault", _always(""), GRIPPER_SIDE_TESTS),
    *(
        Mutant("fosp_safety_monitor.judge.watch.retreat", name, instead, RETREAT_TESTS)
        for name, instead in (
            ("_too_old", _always("")),
            ("_off_trail", _always("")),
            ("_riskier", _always("")),
            ("_too_long", _always("")),
            ("_lost", _always(False)),
            ("check_hang", _nothing),
            ("kept", lambda retreat, stops: retreat),
        )
    ),
    Mutant("fosp_core.robot.trail", "WayBack.wish", lambda way, *places: (-1.0,) * len(way.scale), RETREAT_TESTS),
    Mutant("fosp_core.robot.trail", "Trail.back", lambda trail, length_s, way: trail.points[::-1], RETREAT_TESTS),
)


def survives(mutant: Mutant) -> bool:
    """Return True when every test passes with the mutant in place, in a process of its own."""
    child = os.fork()
    if child == 0:
        *owners, name = mutant.name.split(".")
        setattr(reduce(getattr, owners, importlib.import_module(mutant.module)), name, mutant.instead)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            # The examples kill a mutant in a moment; the property tests would first look for its smallest victim.
            arguments = ["-x", "-q", "-p", "no:cacheprovider", "--ignore-glob=*_properties.py", str(mutant.tests)]
            code = int(pytest.main(arguments))
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="run the mutants whose MODULE.NAME holds this text")
    only = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if only in f"{mutant.module}.{mutant.name}"]
    if not chosen:
        parser.error(f"--only {only}: no mutant's module and name hold that")
    for module in {mutant.module for mutant in chosen}:
        importlib.import_module(module)
    survivors = 0
    for mutant in chosen:
        began = time.monotonic()
        alive = survives(mutant)
        survivors += alive
        fate = "SURVIVED" if alive else "killed"
        print(f"{fate:9} {mutant.module.split('.')[-1]}.{mutant.name}  {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(chosen)} mutants, {survivors} survived")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
