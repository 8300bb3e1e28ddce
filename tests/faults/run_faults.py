"""`make faults`: every row of the fault table on the live graph, as a table and as runs/faults/faults.json."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from effects import Begun, settle
from fault import COMMAND_TIMEOUT_S, Fault
from fault_table import FAULTS
from fingers import trouble
from graph_under_fault import JERK, POLICY_SPEED, GraphUnderFault, SentCommand, wait
from process_effects import NETWORK_UP

from fosp_bringup.environment import environment
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.config import RobotConfig
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import SafetyVerdict

STOP_S = 0.15
"""To notice a fault and to brake, beside what the configuration grants."""
SERVO_LAG_S = 0.1
"""Lag of the tool behind the robot's own watchdog, which stops it when nobody sends zero."""
STANDSTILL_M_S = 5e-3
OBSERVED_S = 1.0
"""Time for which a fault that must not disturb the robot is watched."""
DECISION_TIMEOUT_S = 30.0
RESUMED_S = 0.6
"""Time for which a robot whose consent ended is watched after the end of the fault, in which it would go on."""
_STAMP_SLACK_S = 0.005
"""A command is stamped when it is published, which is a little after its tick was computed."""


@dataclass(frozen=True)
class FaultOutcome:
    """One row of faults.json."""

    fault: str
    expected: str
    decision: str
    reason: str
    stop_ms: float | None
    """From the fault to the first zero command; null: it was not stopped."""
    limit_ms: float | None
    ok: bool
    beyond_limits: int
    note: str = ""


def suffer(graph: GraphUnderFault, fault: Fault) -> FaultOutcome:
    """Drive, let the fault happen, watch, end it."""
    graph.drive()
    first_command, first_verdict = len(graph.commands), len(graph.verdicts)
    heard = 0 if graph.fingers is None else len(graph.fingers.told)
    begun = fault.effect(graph)
    try:
        note = _watch(graph, fault, begun, first_command, first_verdict)
        if graph.fingers is not None:
            note = note or _gripper_trouble(graph, begun.since_s, first_command, heard)
    finally:
        begun.end()
    if fault.decision != "END" and not note:
        note = _await_decision(graph, fault, first_verdict)
    commands = graph.commands[first_command:]
    if fault.graph == "network namespace":
        stop_s = _told_stop(graph, begun.since_s)
    else:
        stop_s = _tool_stop(graph, begun.since_s) if _silent(fault) else _stop(commands, begun.since_s)
    decision, reason = _decided(graph, fault, first_verdict)
    limit_s = None if fault.timeout_s is None else STOP_S + fault.timeout_s + (SERVO_LAG_S if _silent(fault) else 0.0)
    if fault.timeout_s is None and stop_s is not None and fault.decision != "ANY":
        note = note or "the robot was stopped"
    if limit_s is not None and (stop_s is None or stop_s > limit_s):
        note = note or "not stopped in time"
    if fault.decision == "STOP" and any(v.decision == Decision.LATCH for _, v in graph.verdicts[first_verdict:]):
        note = note or "latched"
    if fault.decision == "LATCH" and moved_after_latch(commands, [v for _, v in graph.verdicts[first_verdict:]]):
        note = note or "moved before a reset"
    if fault.graph == "consent" and fault.ends_consent and stop_s is not None:
        settle(RESUMED_S)
        note = note or _moved_without_consent(graph, fault, first_command, first_verdict)
    beyond = beyond_limits(commands, graph.robot, stamps=fault.graph != "simulated time")
    return FaultOutcome(
        fault=fault.name,
        expected=fault.decision,
        decision=decision,
        reason=reason,
        stop_ms=None if stop_s is None else round(1e3 * stop_s, 1),
        limit_ms=None if limit_s is None else round(1e3 * limit_s, 1),
        ok=not note and beyond == 0,
        beyond_limits=beyond,
        note=note,
    )


def _gripper_trouble(graph: GraphUnderFault, since_s: float, first_command: int, heard: int) -> str:
    """Return what is wrong with what the gripper was told during a fault that is not over yet."""
    stop_s = _stop(graph.commands[first_command:], since_s)
    stopped_s = None if stop_s is None else since_s + stop_s
    return trouble(graph.fingers.told[heard:], (since_s, time.time()), stopped_s, graph.fingers)


def _moved_without_consent(graph: GraphUnderFault, fault: Fault, first_command: int, first_verdict: int) -> str:
    """Return what is wrong when the robot moves again after the expected verdict has stopped it."""
    stops = [verdict for _, verdict in graph.verdicts[first_verdict:] if verdict.decision >= Decision.STOP]
    ended = [seconds(verdict.decided) for verdict in stops if Reason(verdict.reason).name in fault.reason]
    zeros = [c.stamp_s for c in graph.commands[first_command:] if ended and c.stamp_s > ended[0] and not any(c.value)]
    if not zeros:
        return "nothing ended the consent"
    moved = any(any(c.value) for c in graph.commands[first_command:] if c.stamp_s > zeros[0])
    return "moved without consent" if moved else ""


def _silent(fault: Fault) -> bool:
    """The monitor itself is away, so its robot's watchdog stops the robot."""
    return "safety_monitor_node" in fault.name


def _watch(graph: GraphUnderFault, fault: Fault, begun: Begun, first_command: int, first_verdict: int) -> str:
    """Until the robot was stopped, or for as long as it must not be; what went wrong, or nothing."""
    if fault.timeout_s is None:
        settle(OBSERVED_S)
        return ""
    deadline = begun.since_s + STOP_S + fault.timeout_s + 1.0

    def stopped() -> bool:
        if _silent(fault):
            return _tool_stop(graph, begun.since_s) is not None
        recent = [c for c in graph.commands[first_command:] if c.receipt_s >= time.time() - 0.1]
        return (
            (bool(recent) or fault.decision == "END")
            and not any(any(c.value) for c in recent)
            and time.time() > begun.since_s + 0.1
        )

    try:
        wait(stopped, max(0.1, deadline - time.time()), "a stop")
    except AssertionError:
        return "not stopped"
    if fault.reason != ("NODE_RESTARTED",) and fault.decision not in ("END", "ANY") and not _silent(fault):
        return _await_decision(graph, fault, first_verdict)
    return ""


def _await_decision(graph: GraphUnderFault, fault: Fault, first_verdict: int) -> str:
    if fault.decision == "ANY":
        return ""
    try:
        wait(lambda: _expected(graph, fault, first_verdict), DECISION_TIMEOUT_S, "the decision")
    except AssertionError:
        return "another decision"
    if fault.decision == "LATCH":
        settle(0.2)
    return ""


def _expected(graph: GraphUnderFault, fault: Fault, first_verdict: int) -> tuple[str, str] | None:
    """Decision and reason of the first verdict that is what the table says."""
    for _, verdict in graph.verdicts[first_verdict:]:
        decision, reason = Decision(verdict.decision).name, Reason(verdict.reason).name
        if decision == fault.decision and reason in fault.reason:
            return decision, reason
    return None


def _decided(graph: GraphUnderFault, fault: Fault, first_verdict: int) -> tuple[str, str]:
    """Return the expected decision if it came, else the most restrictive one that came."""
    if fault.decision == "END":
        return ("END", graph.supervisor.died) if graph.supervisor.died else ("none", "")
    worst = max((v for _, v in graph.verdicts[first_verdict:]), key=lambda v: v.decision, default=None)
    found = _expected(graph, fault, first_verdict)
    if found is not None and (fault.timeout_s is not None or worst is None or worst.decision <= Decision[found[0]]):
        return found
    return (Decision(worst.decision).name, Reason(worst.reason).name) if worst else ("none", "")


def _stop(commands: Sequence[SentCommand], since_s: float) -> float | None:
    """From the fault to the first zero command of a stop that lasts, s."""
    moving = [c.receipt_s for c in commands if c.receipt_s >= since_s and any(c.value)]
    zeros = [c.receipt_s for c in commands if c.receipt_s >= since_s and not any(c.value)]
    for zero in zeros:
        if not any(zero < moved <= zero + 0.1 for moved in moving):
            return zero - since_s
    return None


def moved_after_latch(commands: Sequence[SentCommand], verdicts: Sequence[SafetyVerdict]) -> bool:
    """Return True when a command moves the robot after a zero command that followed a LATCH.

    A stop before the latch proves nothing: on a busy machine late proposals stop the robot, and the next ones in time
    move it again, as they may. Until the first zero after the latch the robot brakes.
    """
    latched = [seconds(verdict.decided) for verdict in verdicts if verdict.decision == Decision.LATCH]
    if not latched:
        return False
    zeros = [c.stamp_s for c in commands if c.stamp_s > latched[0] and not any(c.value)]
    return bool(zeros) and any(any(c.value) for c in commands if c.stamp_s > zeros[0])


def _tool_stop(graph: GraphUnderFault, since_s: float) -> float | None:
    """From the fault to the standstill of the tool, s."""
    poses = [(t, p) for t, p in graph.positions if t >= since_s]
    for i in range(len(poses) - 10):
        (begin, a), (end, b) = poses[i], poses[i + 10]
        if end > begin and np.linalg.norm(b - a) / (end - begin) < STANDSTILL_M_S:
            return begin - since_s
    return None


def _told_stop(graph: GraphUnderFault, since_s: float) -> float | None:
    """From the fault to the moment at which the monitor says that it began to brake, and the braking, s."""
    axis = graph.robot.limits[graph.robot.action.axes[0].name]
    braking_s = POLICY_SPEED / axis.deceleration + axis.deceleration / JERK

    def told() -> list[float]:
        return [seconds(e.stamp) for e in graph.events if e.kind == e.STOPPED and seconds(e.stamp) >= since_s]

    with contextlib.suppress(AssertionError):
        return float(wait(told, DECISION_TIMEOUT_S, "the monitor's account")[0]) - since_s + braking_s
    return None


def beyond_limits(commands: Sequence[SentCommand], robot: RobotConfig, stamps: bool = True) -> int:
    """Commands that are faster than the speed limit, or were reached by more than acceleration or jerk allow.

    Without `stamps` that tell when a tick was (simulated ones move in steps) only the speed is looked at.
    """
    limits = [robot.limits[axis.name] for axis in robot.action.axes]
    speed, deceleration = limits[0].speed, limits[0].deceleration
    count, before = 0, None
    for last, this in pairwise(commands):
        dt = this.stamp_s - last.stamp_s
        value = np.array(this.value)
        fast = bool((np.abs(value) > speed + 1e-9).any()) or not np.isfinite(value).all()
        change = np.abs(value - np.array(last.value))
        paused = dt > COMMAND_TIMEOUT_S
        jump = stamps and not paused and bool((change > deceleration * (max(dt, 0.0) + _STAMP_SLACK_S)).any())
        slope = (value - np.array(last.value)) / dt if stamps and 0.005 < dt < 0.015 else None
        jerk = slope is not None and before is not None and bool((np.abs(slope - before) > 1.5 * JERK * 0.01).any())
        count += fast or jump or jerk
        before = slope
    return count


def _in_namespace(faults: Sequence[Fault], directory: Path) -> Iterator[FaultOutcome]:
    """The same program in a network of its own, which can be cut without anybody else noticing."""
    probe = subprocess.run(["unshare", "-n", "sh", "-c", NETWORK_UP], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        reason = (probe.stderr.strip() or "no reason given").splitlines()[0]
        print(f"skip {len(faults)} faults of the network: no network namespace to be had ({reason})", flush=True)
        return
    out = directory / "namespace"
    command = f'{NETWORK_UP} && exec "$0" "$@"'
    program = [sys.executable, __file__, "--inside-namespace", "--out", str(out)]
    subprocess.run(["unshare", "-n", "sh", "-c", command, *program], stdout=subprocess.DEVNULL, check=False)
    for row in json.loads((out / "faults.json").read_text()):
        yield FaultOutcome(**row)


def run(faults: Iterable[Fault], directory: Path, inside_namespace: bool = False) -> Iterator[FaultOutcome]:
    """Every fault, on as few graphs as can be; a graph that did not survive a row is started anew."""
    for kind, rows in groupby(sorted(faults, key=lambda f: (f.graph, f.decision == "END")), key=lambda f: f.graph):
        pending = list(rows)
        attempt = 0
        if kind == "network namespace" and not inside_namespace:
            yield from _in_namespace(pending, directory)
            continue
        while pending:
            attempt += 1
            folder = directory / f"{kind.replace(' ', '_')}_{attempt}"
            asks = {
                name: kind == name for name in ("consent", "base", "zones", "operated", "arm", "gripper", "cell")
            } | {"simulated_time": kind == "simulated time"}
            with GraphUnderFault(folder, black_box=True, **asks) as graph:
                while pending and graph.supervisor.alive:
                    fault = pending.pop(0)
                    try:
                        yield suffer(graph, fault)
                    except AssertionError as error:
                        yield FaultOutcome(fault.name, fault.decision, "none", "", None, None, False, 0, str(error))
                        break


def describe(outcome: FaultOutcome) -> str:
    """One line of the table."""

    def ms(value: float | None) -> str:
        return "     -" if value is None else f"{value:6.0f}"

    verdict = "ok  " if outcome.ok else "FAIL"
    note = f"  {outcome.note}" if outcome.note else ""
    if outcome.beyond_limits:
        note += f"  {outcome.beyond_limits} commands beyond limits"
    said = f"{outcome.decision} {outcome.reason}"
    return (
        f"{verdict} {outcome.fault:52} {outcome.expected:10} {said:28} "
        f"{ms(outcome.stop_ms)} {ms(outcome.limit_ms)}{note}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name contains this (or one of these, between commas)")
    parser.add_argument("--inside-namespace", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    options = parser.parse_args()
    os.environ.update(environment())
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    faults = [fault for fault in FAULTS if any(part in fault.name for part in options.only.split(","))]
    if options.inside_namespace:
        faults = [fault for fault in faults if fault.graph == "network namespace"]
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[FaultOutcome] = []
    began = time.monotonic()
    print(f"     {'fault':52} {'expected':10} {'decided':28} {'stop':>6} {'limit':>6}  (ms)", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for outcome in run(faults, Path(directory), options.inside_namespace):
            outcomes.append(outcome)
            print(describe(outcome), flush=True)
        for log in Path(directory).rglob("graph.log"):
            (options.out / f"{log.parent.name}.log").write_text(log.read_text())
    (options.out / "faults.json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    failed = [outcome for outcome in outcomes if not outcome.ok]
    stops = [o.stop_ms for o in outcomes if o.stop_ms is not None]
    worst = max((o.stop_ms - o.limit_ms for o in outcomes if o.stop_ms and o.limit_ms), default=0.0)
    print(
        f"{len(outcomes)} faults, {len(failed)} not as expected, {sum(o.beyond_limits for o in outcomes)} commands "
        f"beyond limits, {len(stops)} stops, the one closest to its limit {-worst:.0f} ms before it, "
        f"{time.monotonic() - began:.0f} s; {options.out / 'faults.json'}"
    )
    return int(bool(failed) or len(outcomes) < len(faults))


if __name__ == "__main__":
    sys.exit(main())
