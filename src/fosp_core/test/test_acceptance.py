"""Which calibrations a robot accepts, at the start as at a swap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import tiny_manifest

from fosp_core.bundle.acceptance import calibration_faults, require_supported, unsupported_because
from fosp_core.bundle.bundle import differences, read_manifest
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.specs import Manifest

ROOT = Path(__file__).parents[3]
ARM = read_robot(ROOT / "config" / "robots" / "sim_arm.yaml")


def manifest(**calibration: Any) -> Manifest:
    whole = tiny_manifest(ARM)
    return whole.model_copy(update={"calibration": whole.calibration.model_copy(update=calibration)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"eps": 0.999}, "eps of 0.999 is above the robot's eps_ceiling of 0.5"),
        ({"eps": 0.51}, "eps_ceiling"),
        ({"episodes": 0, "violating_episodes": 0}, "calibrated on no episode"),
        ({"episodes": 3, "violating_episodes": 4}, "4 violating episodes among 3"),
    ],
)
def test_a_calibration_that_no_robot_may_run_is_refused_whatever_a_person_accepts(change: Any, said: str) -> None:
    assert said in "; ".join(differences(manifest(**change), ARM))


def test_the_ceiling_is_the_robots_and_a_threshold_just_at_it_passes() -> None:
    assert calibration_faults(manifest(eps=0.5).calibration, ARM.eps_ceiling) == []
    assert calibration_faults(manifest(eps=0.2).calibration, 0.1) != []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"supported": False}, "40 violating episodes do not support a miss rate of at most 0.05"),
        ({"violating_episodes": 18}, "18 violating episodes cannot support alpha 0.05"),
        ({"violating_episodes": 0}, "cannot support"),
        ({"miss_rate_bound": 0.06}, "bound of the miss rate, 0.06, is above alpha"),
        ({"alpha": 0.9, "miss_rate_bound": 0.9}, "0.2 is the most that counts"),
    ],
)
def test_what_does_not_support_its_promise_needs_a_person_who_accepts_it(change: Any, said: str) -> None:
    unsupported = manifest(**change)
    assert said in unsupported_because(unsupported.calibration)
    with pytest.raises(UserError, match="accept it in words: say so"):
        require_supported(unsupported, False, "say so")
    require_supported(unsupported, True, "say so")


def test_19_violating_episodes_are_enough_for_a_miss_rate_of_5_percent() -> None:
    assert unsupported_because(manifest(violating_episodes=19).calibration) == ""


@pytest.mark.parametrize("task", ["safe_reach", "safe_goal"])
def test_the_shipped_bundles_are_accepted(task: str) -> None:
    shipped = read_manifest(ROOT / "models" / task)
    robot = read_robot(ROOT / "config" / "robots" / f"{shipped.robot}.yaml")
    assert differences(shipped, robot) == []
    require_supported(shipped, False, "")
