"""The commissioning of one robot from begin to end: brings the guard up, walks through the steps, keeps the record.

The record is written after every step, so that a commissioning that was broken off goes on where it ended. Results
count only for the robot file that they were measured with.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from fosp_bringup.commissioning_record import (
    STEPS,
    CommissioningRecord,
    StepRecord,
    read_record,
    record_path,
    robot_content,
    robot_hash,
    write_record,
)
from fosp_bringup.stack import MONITOR, Stack
from fosp_bringup.supervisor import Supervisor
from fosp_cli.commissioning.commander import Commander
from fosp_cli.commissioning.dialogue import Operator
from fosp_cli.commissioning.looking import cameras, checks, estops, estops_of
from fosp_cli.commissioning.moving import direction, response, stopping, watchdog, workspace
from fosp_cli.commissioning.step import Outcome, StepContext
from fosp_cli.graph_client import GraphClient
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.extending import read_robot_content
from fosp_core.specs import parse_spec

_RUN: dict[str, Callable[[StepContext], Outcome]] = {
    "checks": checks,
    "direction": direction,
    "response": response,
    "stopping": stopping,
    "watchdog": watchdog,
    "estops": estops,
    "workspace": workspace,
    "cameras": cameras,
}
EXPLAINED = {
    "checks": "Topics are alive, in time, and from one publisher each; nobody else commands. Nothing moves.",
    "direction": "Each axis moves a little, slowly, and back: do direction and scale fit what it was told?",
    "response": "Each axis moves at half of its speed: how late and how slowly does it follow?",
    "stopping": "Each axis stops from full speed: does it stop within what its limits promise?",
    "watchdog": "The commands fall silent while it moves slowly: does the robot stop by itself?",
    "estops": "You press each emergency stop while it moves slowly, and release it.",
    "workspace": "The tool visits the corners of the workspace, and you look whether it is clear there.",
    "cameras": "You look at a picture of each camera.",
}
NEEDS = {
    **dict.fromkeys(("direction",), ("checks",)),
    **dict.fromkeys(("response",), ("checks", "direction")),
    **dict.fromkeys(("stopping", "watchdog", "estops", "workspace"), ("checks", "direction", "response")),
    **dict.fromkeys(("checks", "cameras"), ()),
}
"""Steps that have to be passed before a step, because it relies on them."""
_WITHOUT_RESPONSE = ("checks", "direction", "response")
"""Steps before which the robot's response is not known."""
SLOWEST = {"response_s": 0.5, "dead_time_s": 0.3}
"""Response that the guard assumes until it was measured, s."""
_DISCOVERY_S = 1.5
_READY_S = 5.0
"""Time for the first pose and the first verdict; a step says what is missing."""


@dataclass(frozen=True)
class Commissioning:
    """The robot to commission, the steps, and the operator."""

    robot_file: Path
    stack: Callable[[Path], Stack]
    """Returns the stack whose guard reads this robot file (fosp_bringup.commissioning_stack)."""
    operator: Operator
    operator_name: str
    out: Path
    """Folder for pictures."""
    software: str
    """Version of fosp."""
    steps: tuple[str, ...] = ()
    """Steps to run; empty for all that the record does not have."""
    simulated: bool = False
    bundle: Path | None = None
    namespace: str = ""
    patience_s: float = 60.0
    write: Callable[[str], None] = lambda line: print(line, flush=True)
    """Takes warnings and errors of the nodes."""


def commission(session: Commissioning) -> tuple[CommissioningRecord, bool]:
    """Run the steps; return the record, and whether every step that was run has passed.

    It ends at the first step that fails. Raise AbortedError when the operator breaks it off, and UserError when the
    graph does not come up, somebody else commands the robot, or a step is asked for before those that it needs.
    """
    robot = read_robot(session.robot_file)
    if robot.kind == "base" and not robot.pose_topic and robot.state_type != "Odometry":
        raise UserError(
            f"{session.robot_file}: a base is measured by its odometry: state_type Odometry, or a pose_topic"
        )
    record = begun_record(session, robot)
    steps = session.steps or record.missing
    _check_order(steps, record)
    _check_alone(robot, session.namespace)
    session.operator.confirm(
        f"Commissioning of '{robot.name}'. Empty the workspace, keep people away from it, and keep a hand on the "
        "robot's own emergency stop."
    )
    done = 0
    for unknown, part in _parts(steps):
        guard_file = slow_robot(session.robot_file, session.out) if unknown else session.robot_file
        with _brought_up(session, guard_file) as (context, alive):
            for name in part:
                done += 1
                session.operator.tell(f"[{done}/{len(steps)}] {name}: {EXPLAINED[name]}")
                try:
                    outcome = _RUN[name](context)
                finally:
                    context.commander.halt()
                record = _kept(session, record, name, outcome, context.robot)
                _report(session.operator, name, outcome)
                if outcome.failures or not alive():
                    return record, False
    return record, True


def _parts(steps: tuple[str, ...]) -> list[tuple[bool, tuple[str, ...]]]:
    """Return the steps in parts, each with whether the robot's response is unknown to its guard."""
    return [(unknown, tuple(part)) for unknown, part in itertools.groupby(steps, key=_WITHOUT_RESPONSE.__contains__)]


def slow_robot(robot_file: Path, out: Path) -> Path:
    """Return a robot file for the guard before the response was measured: the longest that it can watch.

    The guard holds the measured motion against the commands, and a robot that is later than its file says would not
    get through the measurement of how late it is.
    """
    content = {**read_robot_content(robot_file), **SLOWEST}
    content.pop("urdf", None)  # which may be relative to the robot file; the guard does not need it
    described = out / "before_response.yaml"
    try:
        parse_spec(RobotConfig, content, str(described))
    except UserError:  # such a response does not go with its target_lead
        return robot_file
    try:
        out.mkdir(parents=True, exist_ok=True)
        described.write_text("# Written by fosp commission.\n" + yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise UserError(f"{described}: cannot write: {error.strerror or error}") from None
    return described.resolve()


@contextlib.contextmanager
def _brought_up(session: Commissioning, guard_file: Path) -> Iterator[tuple[StepContext, Callable[[], bool]]]:
    """Yield what the steps need, and whether all processes live, while guard and cameras are up."""
    stack, robot = session.stack(guard_file), read_robot(session.robot_file)
    nodes = [process.name for process in stack.processes if process.managed]
    supervisor = Supervisor(stack, write=lambda line: _pass_on(line, session.write), colour=False)
    with supervisor, Commander(robot, estops_of(robot), session.namespace) as commander:
        commander.bring_up(nodes, lambda: supervisor.alive)
        commander.wait(lambda: commander.position is not None and not commander.held, _READY_S)
        context = StepContext(
            robot=robot,
            robot_file=session.robot_file,
            commander=commander,
            operator=session.operator,
            guard_pid=lambda: supervisor.pid(MONITOR),
            out=session.out,
            date=_now(),
            namespace=session.namespace,
            simulated=session.simulated,
            bundle=session.bundle,
            patience_s=session.patience_s,
        )
        yield context, lambda: supervisor.alive


def begun_record(session: Commissioning, robot: RobotConfig) -> CommissioningRecord:
    """Return the record to go on with.

    It is the one beside the robot file where that fits it and is to be completed, or a single step is to be repeated;
    else a new one. Raise UserError where a simulated robot would replace the record of a real one.
    """
    try:
        before = read_record(session.robot_file)
    except UserError:
        before = None
    if before is not None and session.simulated and not before.simulated:
        raise UserError(
            f"{record_path(session.robot_file)} is of the real robot: practise with a copy of the robot file, in a "
            "folder of its own"
        )
    fits = before is not None and (before.robot_sha256, before.simulated) == (robot_hash(robot), session.simulated)
    if before is not None and fits and (before.missing or session.steps):
        return before
    return CommissioningRecord(
        robot=robot.name,
        robot_sha256=robot_hash(robot),
        robot_file=robot_content(robot),
        simulated=session.simulated,
        operator=session.operator_name,
        date=_now(),
        software=session.software,
    )


def _check_order(steps: tuple[str, ...], record: CommissioningRecord) -> None:
    done = {name for name in STEPS if name not in record.missing}
    for name in steps:
        missing = [needed for needed in NEEDS[name] if needed not in done]
        if missing:
            raise UserError(f"step '{name}' needs {', '.join(missing)} first: --steps {','.join([*missing, name])}")
        done.add(name)


def _check_alone(robot: RobotConfig, namespace: str) -> None:
    """Raise UserError when somebody publishes commands before the guard is started."""
    with GraphClient("commissioning", namespace) as client:
        client.spin(_DISCOVERY_S)
        others = client.node.get_publishers_info_by_topic(client.node.resolve_topic_name(robot.command_topic))
    if others:
        names = ", ".join(sorted({f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in others}))
        raise UserError(f"{names} publishes on {robot.command_topic}: stop whatever else commands the robot")


def _kept(
    session: Commissioning, record: CommissioningRecord, name: str, outcome: Outcome, robot: RobotConfig
) -> CommissioningRecord:
    """Write the record with the result of one more step, and return it.

    When the step changed the robot file, steps that relied on the old values have to be repeated.
    """
    findings = (*outcome.failures, *outcome.notes)
    result = StepRecord(
        result="failed" if outcome.failures else "passed", date=_now(), findings=findings, figures=outcome.figures
    )
    steps = dict(record.steps)
    if robot_hash(robot) != record.robot_sha256:
        steps = {other: step for other, step in steps.items() if name not in NEEDS[other]}
    steps[name] = result
    changed = record.model_copy(
        update={
            "robot_sha256": robot_hash(robot),
            "robot_file": robot_content(robot),
            "operator": session.operator_name,
            "date": result.date,
            "software": session.software,
            "steps": {step: steps[step] for step in STEPS if step in steps},
        }
    )
    write_record(session.robot_file, changed)
    return changed


def _report(operator: Operator, name: str, outcome: Outcome) -> None:
    for text in outcome.failures:
        operator.tell(f"!!  {text}")
    for text in outcome.notes:
        operator.tell(f"    {text}")
    for figure, value in outcome.figures.items():
        operator.tell(f"    {figure}: {value}")
    operator.tell(f"{'FAILED' if outcome.failures else 'ok'}  {name}")


def _pass_on(line: str, write: Callable[[str], None]) -> None:
    if any(level in line for level in ("[WARN]", "[ERROR]", "[FATAL]")) or line.startswith("[fosp]"):
        write(line)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
