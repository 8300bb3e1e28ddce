"""The arithmetic of the zone's benchmark, and that its images are what they say; the nodes run in `fosp bench`."""

from __future__ import annotations

import pytest

from fosp_bringup.paths import robot_path
from fosp_cli.bench.zone_stop import CAMERA_M, SOURCE, ZONE, depth_image, first_braking_s
from fosp_core.clock import Received
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec, read_yaml
from fosp_safety_monitor.zones.decoding import SourceDecoder
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState


def stream(*speeds: float) -> list[tuple[float, float]]:
    return [(0.01 * number, speed) for number, speed in enumerate(speeds)]


def test_the_first_braking_command_is_the_one_from_which_the_speed_falls_to_zero() -> None:
    commands = stream(0.2, 0.2, 0.2, 0.2, 0.14, 0.08, 0.02, 0.0, 0.0)
    assert first_braking_s(commands, 0.015) == pytest.approx(0.04)
    assert first_braking_s(stream(0.1, 0.1, 0.1, 0.0), 0.0) == pytest.approx(0.03), "at once"
    assert first_braking_s(stream(0.2, 0.1, 0.2, 0.2, 0.1, 0.0), 0.0) == pytest.approx(0.04), "an earlier dip is none"
    assert first_braking_s(stream(0.2, 0.2), 0.0) is None
    assert first_braking_s(stream(0.0, 0.0, 0.0), 0.005) is None


def test_the_zone_sees_the_hand_and_nothing_else() -> None:
    content = read_yaml(robot_path("sim_arm"))
    robot = parse_spec(RobotConfig, {**content, "sources": [SOURCE], "zones": [ZONE]}, "robot")
    field, decoder = ProtectiveField(robot), SourceDecoder(robot.sources[0])
    from sensor_msgs.msg import CameraInfo

    info = CameraInfo(height=480, width=640)
    info.header.frame_id = robot.sources[0].frame_id
    info.k = [600.0, 0.0, 320.0, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0]
    decoder.take_info(info)
    seen = {
        hand: field.view("cell", decoder.read(depth_image(hand)), Received(0.0, 0.0), ToolState()) for hand in (0, 1)
    }
    assert seen[0].clouds["cell"].weights.sum() == 0
    assert seen[1].clouds["cell"].weights.sum() > 300
    assert 0.15 < seen[1].clouds["cell"].points[:, 2].mean() < CAMERA_M
