"""Lenses of recorded cameras: what camera_info tells, and which differences are told or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bag_sets import lenses_of, told_apart
from fosp_learner.data.bags import check_bags, read_bag
from fosp_learner.data.dataset import load_bags
from fosp_learner.data.lenses import Lens, apart, as_noted, from_note, lens_of
from fosp_learner.finetuning.interventions import read_labelled

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
VGA = Lens(640, 480, 600, 600, 320, 240)
TYPES = typestore().types
Message = tuple[str, str, int, Any]


def info(
    size: tuple[int, int] = (32, 24),
    focal: float = 30.0,
    centre: tuple[float, float] | None = None,
    d: tuple[float, ...] = (0.0,) * 5,
    **more: Any,
) -> Any:
    """A camera_info; its stamp is set when it is written."""
    width, height = size
    cx, cy = centre or (width / 2, height / 2)
    stamp = TYPES["builtin_interfaces/msg/Time"](0, 0)
    k = np.array([focal, 0, cx, 0, focal, cy, 0, 0, 1.0]) if focal else np.zeros(9)
    roi = TYPES["sensor_msgs/msg/RegionOfInterest"](*more.pop("roi", (0, 0, 0, 0)), False)
    binning = more.pop("binning", 0)
    return TYPES["sensor_msgs/msg/CameraInfo"](
        TYPES["std_msgs/msg/Header"](stamp, "camera"), height, width, more.pop("model", "plumb_bob"), np.array(d), k,
        np.eye(3).ravel(), np.zeros(12), binning, binning, roi,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (VGA, 0.0),
        (Lens(320, 240, 300, 300, 160, 120), 0.0),
        (replace(VGA, fx=612, fy=612), 400 / 480 * 0.02),
        (replace(VGA, cx=332.0), 12 / 480),
        (Lens(320, 240, 600, 600, 160, 120), 200 / 480),
        (replace(VGA, model="plumb_bob", distortion=(0.1,)), 400 / 480 * 0.1 * (400 / 600) ** 2),
        (replace(VGA, model="equidistant"), (400 - 600 * math.atan(400 / 600)) / 480),
        (replace(VGA, model="of its own", distortion=(9.0,)), 0.0),
    ],
    ids=["same", "half", "zoom", "centre", "crop", "distorted", "fisheye", "unknown"],
)
def test_lenses_differ_by_where_they_show_the_same_direction(other: Lens, expected: float) -> None:
    assert apart(VGA, other) == pytest.approx(expected, rel=0.15, abs=1e-9)
    assert apart(other, VGA) == pytest.approx(apart(VGA, other), rel=0.2, abs=1e-9)


def test_binning_and_region_of_interest_are_the_same_lens_and_zeros_are_none() -> None:
    whole = lens_of(info((640, 480), 600))
    assert whole is not None
    binned = lens_of(info((640, 480), 600, binning=2))
    assert binned is not None
    assert (binned.width, apart(whole, binned)) == (320, 0.0)
    cropped = lens_of(info((640, 480), 600, roi=(160, 120, 240, 320)))
    assert cropped is not None
    assert (cropped.width, cropped.height, cropped.cx, cropped.cy) == (320, 240, 160, 120)
    assert apart(whole, cropped) > 0.2, "a crop shows the same direction elsewhere in its image"
    assert lens_of(info(focal=0.0)) is None
    for wrong in (math.nan, -30.0):
        with pytest.raises(UserError, match="no lens has a focal length of"):
            lens_of(info(focal=wrong))


def test_a_note_in_the_manifest_comes_back_and_an_older_one_says_nothing() -> None:
    lenses = (replace(VGA, model="plumb_bob", distortion=(0.1, 0.2)), None)
    assert from_note(as_noted(lenses)) == lenses
    assert from_note(None) == from_note([{"width": 3}]) == ()


@pytest.fixture
def bag_with(write_bag: Callable[..., Path], rewrite_bag: Callable[..., Path]) -> Callable[..., Path]:
    """`bag_with(name, *infos)`: a bag whose frames have these camera_infos in turn, each for as long."""

    def make(name: str, *infos: Any) -> Path:
        written = write_bag(f"first_{name}", frames=21)

        def change(message: Message) -> list[Message]:
            topic, kind, when, content = message
            if kind != "sensor_msgs/msg/Image" or not infos:
                return [message]
            number = min(int(content.data[0]) * len(infos) // 21, len(infos) - 1)
            beside = replace(infos[number], header=content.header)
            return [message, (topic.replace("image_raw", "camera_info"), "sensor_msgs/msg/CameraInfo", when, beside)]

        made, folder = rewrite_bag(written, change, name=f"bag_{name}"), written.parents[1] / "set"
        folder.mkdir(exist_ok=True)
        return made.rename(folder / name)

    return make


def notes(bag: Path, robot: RobotConfig) -> str:
    return "; ".join(read_bag(bag, SMALL, robot, PERIOD_S).report.notes)


def test_a_bag_tells_its_lens_and_what_is_odd_about_it(bag_with: Callable[..., Path], robot: RobotConfig) -> None:
    report = read_bag(bag_with("usual", info()), SMALL, robot, PERIOD_S).report
    assert report.lenses == (lens_of(info()),)
    assert "lens" not in "; ".join(report.notes)
    assert read_bag(bag_with("none"), SMALL, robot, PERIOD_S).report.lenses == (None,)
    assert "for images of 64x48, these are 32x24" in notes(bag_with("other", info((64, 48), 60)), robot)
    assert "no lens has a focal length of nan" in notes(bag_with("nan", info(focal=math.nan)), robot)
    assert "beginning of the recording" in notes(bag_with("focus", info(), info(focal=30.6)), robot)
    with pytest.raises(UserError, match=r"beginning of the recording.*fix zoom, focus and resolution"):
        read_bag(bag_with("zoomed", info(), info(focal=45.0)), SMALL, robot, PERIOD_S)


def test_bags_of_another_lens_are_refused_in_a_set_and_small_differences_told(
    bag_with: Callable[..., Path], robot: RobotConfig, tmp_path: Path
) -> None:
    for name, focal in (("a", 30.0), ("b", 30.6), ("c", 40.0), ("d", 30.0)):
        bag_with(name, info(focal=focal))
    bag_with("e")
    folder = tmp_path / "set"
    reports = told_apart(check_bags([folder], SMALL, robot, PERIOD_S), robot, given=False)
    problems = {report.bag: report.problem for report in reports}
    assert [bag for bag, problem in problems.items() if problem] == ["c"]
    assert "of the image apart from where that of a does" in problems["c"]
    assert "train on bags of one lens of camera/color/image_raw" in problems["c"]
    told = {report.bag: "; ".join(report.notes) for report in reports}
    assert "the lens of camera/color/image_raw" in told["b"]
    assert all("lens" not in told[bag] for bag in ("a", "d", "e"))
    with pytest.raises(UserError, match=r"c: the lens of camera/color/image_raw .*train another bundle"):
        load_bags([folder], SMALL, robot, PERIOD_S, tmp_path / "cache", workers=1)


def test_experience_through_another_lens_than_the_bundle_s_is_refused(
    bag_with: Callable[..., Path], robot: RobotConfig
) -> None:
    bags = [bag_with("without"), bag_with("usual", info())]
    lenses = lenses_of(bags, SMALL, robot)
    assert lenses == [lens_of(info())]
    for bag in bags:
        assert read_labelled(bag, SMALL, robot, PERIOD_S, 0.1, lenses)
    other = bag_with("other", info(focal=40.0))
    with pytest.raises(UserError, match=f"{other}: the lens of .* where that of the bundle does"):
        read_labelled(other, SMALL, robot, PERIOD_S, 0.1, lenses)
    assert read_labelled(other, SMALL, robot, PERIOD_S, 0.1), "an older bundle does not know"
