"""Robots with protective zones, and what their sensors see, for the tests of zones."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fosp_core.clock import Now, Received
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import parse_spec, read_yaml
from fosp_safety_monitor.zones.decoding import Readings
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState

ROBOTS = Path(__file__).resolve().parents[1] / "config" / "robots"
SQUARE = [[0.2, 0.2], [-0.2, 0.2], [-0.2, -0.2], [0.2, -0.2]]
SCAN = {"name": "scan", "topic": "scan", "type": "LaserScan", "frame_id": "laser", "position": [0.0, 0.0, 0.1]}
CLOUD = {**SCAN, "name": "cloud", "topic": "points", "type": "PointCloud2", "frame_id": "camera"}
STOP = {"name": "stop", "action": "stop", "polygon": SQUARE, "sources": ["scan"]}
APPROACH = {"name": "ahead", "action": "approach", "polygon": SQUARE, "sources": ["scan"], "time_s": 1.0}
BOX = {"name": "box", "action": "stop", "lower": [0.3, -0.3, 0.0], "upper": [0.8, 0.3, 0.6], "sources": ["cloud"]}
TOOL = ToolState((0.5, 0.0, 0.2), (0.0, 0.0, 0.0, 1.0), 1000.0)
NOW = Now(1000.0, 50.0)
FRESH = Received(1000.0, 50.0)
REST = (0.0, 0.0)
AHEAD = (1.0, 0.0)


def base(*zones: dict, sources: tuple[dict, ...] = (SCAN,), **others) -> RobotConfig:
    content = {**read_yaml(ROBOTS / "sim_base.yaml"), "sources": list(sources), "zones": list(zones), **others}
    return parse_spec(RobotConfig, content, "robot.yaml")


def arm(*zones: dict, sources: tuple[dict, ...] = (CLOUD,), **others) -> RobotConfig:
    content = {**read_yaml(ROBOTS / "sim_arm.yaml"), "sources": list(sources), "zones": list(zones), **others}
    return parse_spec(RobotConfig, content, "robot.yaml")


def readings(*points: tuple[float, ...], **others) -> Readings:
    array = np.array([(*p, 0.1)[:3] for p in points], np.float32).reshape(-1, 3)
    return Readings(array, others.pop("count", max(len(array), 10)), **others)


def judged(robot, seen, wish=REST, command=REST, tool=None, now=NOW, received=FRESH):
    """The judgement when the first source of the robot has `seen` this."""
    field, tool = ProtectiveField(robot), tool or ToolState()
    view = field.view(robot.sources[0].name, seen, received, tool)
    return field.judge({robot.sources[0].name: view}, wish, command, tool, now)


def scan(beams, **changes):
    """A scan of the full circle that begins ahead."""
    step = 2 * math.pi / len(beams)
    fields = {
        "header": SimpleNamespace(frame_id="laser"),
        "angle_min": 0.0,
        "angle_max": step * (len(beams) - 1),
        "angle_increment": step,
        "range_min": 0.05,
        "range_max": 5.0,
        "ranges": np.array(beams, np.float32),
    }
    return SimpleNamespace(**{**fields, **changes})
