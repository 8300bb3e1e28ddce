"""Lengths in mm and angles in degrees: taken as m and rad, they put walls, boxes and sensors elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from zone_parts import BOX, CLOUD, ROBOTS, SCAN, STOP

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec, read_yaml

TABLE = {"name": "table", "size": [1.2, 1.2, 0.1], "position": [0.5, 0.0, -0.06]}
JOINTS = {"tip_link": "tool"}
IN_MM, IN_DEGREES = "lengths are in m, not in mm", "angles are in rad"


@pytest.mark.parametrize(
    ("robot", "changes", "said"),
    [
        ("sim_arm", {"workspace": {"lower": [280, -380, 40], "upper": [760, 380, 360]}}, IN_MM),
        ("sim_arm", {"zones": [{**BOX, "lower": [300, -300, 0], "upper": [800, 300, 600]}], "sources": [CLOUD]}, IN_MM),
        ("sim_arm", {"zones": [BOX], "sources": [{**CLOUD, "position": [100, 0, 200]}]}, IN_MM),
        ("sim_arm", {"zones": [BOX], "sources": [{**CLOUD, "rotation": [-90, 0, -90]}]}, IN_DEGREES),
        (
            "sim_arm",
            {"zones": [BOX], "sources": [CLOUD], "self_filter": [{"lower": [-300] * 3, "upper": [300] * 3}]},
            IN_MM,
        ),
        (
            "sim_arm",
            {
                "zones": [BOX],
                "sources": [CLOUD],
                "self_filter": [{"start": [0] * 3, "end": [0, 0, 300], "radius": 0.1}],
            },
            IN_MM,
        ),
        ("sim_arm", {"joints": {**JOINTS, "boxes": [{**TABLE, "position": [500, 0, -60]}]}}, IN_MM),
        ("sim_arm", {"joints": {**JOINTS, "boxes": [{**TABLE, "size": [1200, 1200, 100]}]}}, IN_MM),
        ("sim_arm", {"joints": {**JOINTS, "boxes": [{**TABLE, "rotation": [0, 0, 45]}]}}, IN_DEGREES),
        ("sim_arm", {"joints": {**JOINTS, "tip_offset": [0, 0, 150]}}, IN_MM),
        ("sim_arm", {"joints": {**JOINTS, "tip_rotation": [180, 0, 0]}}, IN_DEGREES),
        ("sim_arm", {"orientation_limit": {"angle": 0.3, "rotation": [180, 0, 0]}}, IN_DEGREES),
        ("sim_base", {"zones": [{**STOP, "polygon": [[300, 250], [-300, 250], [0, -250]]}], "sources": [SCAN]}, IN_MM),
    ],
)
def test_a_length_in_mm_or_an_angle_in_degrees_is_refused_in_one_line(
    robot: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        parse_spec(RobotConfig, {**read_yaml(ROBOTS / f"{robot}.yaml"), **changes}, "robot.yaml")
    assert "\n" not in str(refused.value)


def test_the_line_says_what_the_degrees_are_in_rad() -> None:
    sources = {"sources": [{**CLOUD, "rotation": [-90, 0, 0]}], "zones": [BOX]}
    with pytest.raises(UserError, match=r"\(-90 degrees are -1\.571 rad\)"):
        parse_spec(RobotConfig, {**read_yaml(ROBOTS / "sim_arm.yaml"), **sources}, "robot.yaml")


def test_a_base_may_drive_about_a_hall() -> None:
    hall = {"workspace": {"lower": [-100.0, -50.0, -1.0], "upper": [100.0, 50.0, 1.0]}}
    described = parse_spec(RobotConfig, {**read_yaml(ROBOTS / "sim_base.yaml"), **hall}, "robot.yaml")
    assert described.workspace is not None


@pytest.mark.parametrize("path", sorted(ROBOTS.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_every_shipped_robot_is_in_m_and_rad(path: Path) -> None:
    read_robot(path)
