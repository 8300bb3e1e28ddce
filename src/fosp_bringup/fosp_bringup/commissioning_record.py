"""The commissioning record of a robot: what `fosp commission` measured, and for exactly which robot file.

The record lies beside the robot file, as NAME.commissioning.yaml. A real robot without a passed record that fits its
file is started with a fraction of its speed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Spec, parse_spec, read_yaml

UNCOMMISSIONED_SPEED = 0.1
"""Share of its speed limits that a real robot without a passed commissioning record is allowed."""
STEPS = ("checks", "direction", "response", "stopping", "watchdog", "estops", "workspace", "cameras")
"""Names of the steps of commissioning, in their order; a record has passed when each of them has."""
_NO_PART_OF_THE_MOTION = ("bundle_keys", "urdf")
"""Keys of a robot file that may change without a new commissioning; the URDF is none of them where joints are limited
by it."""


class StepRecord(Spec):
    """The result of one step."""

    result: Literal["passed", "failed"]
    date: str
    """Time of the end of the step, ISO 8601 with the time zone."""
    findings: tuple[str, ...] = ()
    """Failures first, then notes, one line each."""
    figures: dict[str, float | str] = Field(default_factory=dict)
    """Measured values; each name ends in its unit."""


class CommissioningRecord(Spec):
    """Content of NAME.commissioning.yaml."""

    robot: str
    """Name of the robot."""
    robot_sha256: str
    """Hash of the robot file's content (`robot_hash`)."""
    robot_file: dict[str, Any]
    """That content, to name what was changed since."""
    simulated: bool
    """The robot was a simulated one, so the record says nothing about a real one."""
    operator: str
    date: str
    """Time of the last change of the record, ISO 8601 with the time zone."""
    software: str
    """Version of fosp."""
    steps: dict[str, StepRecord] = Field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the steps that have not been passed."""
        return tuple(step for step in STEPS if step not in self.steps or self.steps[step].result != "passed")


def robot_content(robot: RobotConfig) -> dict[str, Any]:
    """Return the content of a robot file by which it is recognised: every value, defaults too, but for empty ones.

    Without the empty ones a key that a later version adds changes nothing as long as nobody uses it, while a changed
    default counts as a change.
    """
    others = {key for key in _NO_PART_OF_THE_MOTION if key != "urdf" or robot.joints is None}
    content: dict[str, Any] = _without_empty(robot.model_dump(mode="json", exclude=others))
    return content


def robot_hash(robot: RobotConfig) -> str:
    """Return the sha256 of `robot_content`; comments, order and spelling of the file do not matter."""
    return hashlib.sha256(json.dumps(robot_content(robot), sort_keys=True).encode()).hexdigest()


def record_path(robot_file: Path) -> Path:
    """Return the path of the record that belongs to a robot file."""
    return robot_file.with_suffix(".commissioning.yaml")


def read_record(robot_file: Path) -> CommissioningRecord | None:
    """Return the record of a robot file, or None where there is none; raise UserError when it is malformed."""
    path = record_path(robot_file)
    return parse_spec(CommissioningRecord, read_yaml(path), str(path)) if path.exists() else None


def write_record(robot_file: Path, record: CommissioningRecord) -> None:
    """Write the record of a robot file, as a whole or not at all; raise UserError when that is not possible."""
    path = record_path(robot_file)
    text = f"# Written by fosp commission --robot {robot_file.name}; it holds as long as that file stays what it is.\n"
    text += yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    replace_file(path, text)


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path`, as a whole or not at all; raise UserError when that is not possible."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from None


def uncommissioned_because(robot_file: Path, robot: RobotConfig) -> str:
    """Return why a real robot counts as not commissioned; empty when a passed record fits its file.

    A record that cannot be read is none.
    """
    path = record_path(robot_file)
    try:
        record = read_record(robot_file)
    except UserError as error:
        return str(error)
    if record is None:
        return f"robot '{robot.name}' was never commissioned: there is no {path}"
    if record.simulated:
        return f"{path} is of a simulated robot"
    if record.robot_sha256 != robot_hash(robot):
        changed = changes(record, robot)
        return f"{robot_file} was changed since the robot was commissioned on {record.date[:10]} ({changed})"
    if record.missing:
        return f"the commissioning of robot '{robot.name}' is not complete: {', '.join(record.missing)}"
    return ""


def changes(record: CommissioningRecord, robot: RobotConfig) -> str:
    """Return the keys whose value is no longer that of the record, in one line."""
    before, now = _flat(record.robot_file), _flat(robot_content(robot))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return ", ".join(keys) or "the record does not fit its own hash"


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empty(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part not in (None, "", [], {})}
    return [_without_empty(part) for part in value] if isinstance(value, list) else value


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their path, such as limits.linear.x.speed."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
