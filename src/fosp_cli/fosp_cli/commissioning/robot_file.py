"""Writes measured values into a robot file, line by line, so that its comments and its order stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fosp_bringup.commissioning_record import replace_file
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.extending import expanded
from fosp_core.specs import parse_spec, parse_yaml, read_yaml

_AFTER = ("command_timeout_s", "command_rate_hz", "command_topic")
"""Keys after which a key that is new is written: the first of them that the file has."""


def with_values(text: str, values: Mapping[str, float], comment: str, source: str) -> str:
    """Return the text of a robot file with the top-level `values`, each with `comment`, and all else as it was.

    Raise UserError when the file is not written in block style, or a value is not allowed in it. `source` names the
    file.
    """
    before = parse_yaml(text, source)
    lines = text.splitlines()
    for key, value in values.items():
        line = f"{key}: {value:g}".ljust(37) + f" # {comment}"
        places = [i for i, old in enumerate(lines) if re.match(rf"{key}\s*:", old)]
        if places:
            lines[places[0]] = line
        else:
            lines.insert(_place(lines), line)
    changed = "\n".join(lines) + "\n"
    try:
        after = parse_yaml(changed, source)
    except UserError:
        after = None
    wanted = {**before, **{key: float(f"{value:g}") for key, value in values.items()}}
    if after != wanted:
        said = ", ".join(f"{key}: {value:g}" for key, value in values.items())
        raise UserError(f"{source}: its layout cannot be edited without a loss; write by hand: {said}")
    parse_spec(RobotConfig, expanded(after, Path(source)), source)
    return changed


def _place(lines: list[str]) -> int:
    """Return the index at which a new line goes."""
    for key in _AFTER:
        for i, line in enumerate(lines):
            if re.match(rf"{key}\s*:", line):
                return i + 1
    return len(lines)


def write_values(path: Path, values: Mapping[str, float], comment: str) -> RobotConfig:
    """Write `values` into the robot file, and return the robot that it describes now. Raise UserError as above.

    A file that cannot be written, or not with these values, stays what it was.
    """
    read_yaml(path)
    replace_file(path.resolve(), with_values(path.read_text(), values, comment, str(path)))
    return read_robot(path)
