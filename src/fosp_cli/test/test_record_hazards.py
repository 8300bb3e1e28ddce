"""`fosp record --hazards` refuses what makes no sense before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fosp_cli.commands.record import record
from fosp_core.errors import UserError


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"scenario": "safe_reach", "demonstrator": "greedy"}, "has a driver of its own"),
        ({"scenario": "safe_reach", "bundle": Path("models/safe_reach")}, "has a driver of its own"),
        ({"scenario": "safe_reach", "teleop": "gamepad"}, "in simulation a program shows hazards"),
        ({"robot": "ur5e", "teleop": "gamepad"}, "needs --robot NAME and --feedback RULES"),
        ({}, "give --scenario NAME for a simulation"),
        ({"scenario": "point_goal1"}, "nothing to approach"),
    ],
)
def test_hazards_are_refused_where_there_are_none_to_show(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        record(tmp_path / "bags", hazards=True, episodes=1, workers=None, **options)
