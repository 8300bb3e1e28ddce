"""The home pose of a robot file: what it may be, and the way there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.home import HomeConfig, way_home
from fosp_core.specs import parse_spec, read_yaml

ROBOTS = Path(__file__).parents[3] / "config" / "robots"


def with_home(name: str = "sim_arm", **home: Any) -> RobotConfig:
    content = {**read_yaml(ROBOTS / f"{name}.yaml"), "home": {"position": [0.5, 0.0, 0.2], **home}}
    return parse_spec(RobotConfig, content, name)


def test_an_arm_may_have_a_home_in_its_workspace() -> None:
    home = with_home().home
    assert home is not None
    assert (home.speed, home.timeout_s, home.orientation) == (0.2, 30.0, None)
    assert read_robot(ROBOTS / "ur5e.yaml").home is None


@pytest.mark.parametrize(
    ("home", "says"),
    [
        ({"position": [0.9, 0.0, 0.2]}, "within the workspace"),
        ({"position": [0.285, 0.0, 0.2]}, "from its walls"),
        ({"position": [0.5, 0.0]}, "home.position"),
        ({"position": [0.5, 0.0, float("nan")]}, "home.position"),
        ({"orientation": [0.0, 0.0, 0.0, 1.0]}, "angular axes"),
        ({"orientation": [0.0, 0.0, 0.0, 2.0]}, "unit quaternion"),
        ({"speed": 0.0}, "home.speed"),
        ({"speed": 0.6}, "home.speed"),
        ({"timeout_s": 0.0}, "home.timeout_s"),
        ({"timeout_s": 1000.0}, "home.timeout_s"),
        ({"tolerance_m": 0.2}, "home.tolerance_m"),
        ({"joints": [0.0]}, "home.joints"),
    ],
)
def test_a_home_that_cannot_be_is_refused(home: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        with_home(**home)
    assert says in str(error.value)


def test_a_base_has_no_home() -> None:
    with pytest.raises(UserError, match="home is for an arm"):
        with_home("sim_base")


def test_the_way_is_a_displacement_and_the_shorter_rotation() -> None:
    turn = (0.0, math.sin(0.3), 0.0, math.cos(0.3))
    home = HomeConfig(position=(1.0, 2.0, 3.0), orientation=turn)
    way, rotation = way_home(home, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    assert way == (1.0, 2.0, 2.0)
    assert rotation == pytest.approx((0.0, 0.6, 0.0))
    assert way_home(home, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, -1.0))[1] == pytest.approx((0.0, 0.6, 0.0))
    assert way_home(home, (0.0, 0.0, 1.0), turn)[1] == pytest.approx((0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="not known"):
        way_home(home, (0.0, 0.0, 1.0), None)
