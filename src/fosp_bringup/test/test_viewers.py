"""The layouts for Foxglove and RViz show topics that the graph has."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from fosp_bringup.paths import robot_path, share
from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_recording.recorded_topics import camera_topics, episode_topics


def known() -> set[str]:
    """Every topic of the simulated robots, in the root namespace."""
    zones = str(robot_path("sim_base").with_suffix(".zones.yaml"))
    robots = [read_robot(robot_path(name)) for name in ("sim_arm", "sim_base", zones)]
    names = {name for robot in robots for name in (*episode_topics(robot), *camera_topics(robot))}
    names |= {topic for robot in robots for source in robot.sources for topic in source.topics}
    names |= {topics.ROBOT_DESCRIPTION, topics.SAFETY_EVENT, topics.SAFETY_MARKERS, topics.DIAGNOSTICS}
    return {f"/{name.lstrip('/')}" for name in names}


def panels(layout: Any) -> set[str]:
    return {layout} if isinstance(layout, str) else panels(layout["first"]) | panels(layout["second"])


def test_the_layout_of_foxglove_has_every_panel_and_its_topics_exist() -> None:
    text = (share() / "config" / "foxglove" / "fosp.json").read_text()
    content = json.loads(text)
    assert panels(content["layout"]) == set(content["configById"])
    named = {match.split(".")[0] for match in re.findall(r'"(/[a-z_/]+(?:\.[a-z_.]+)?)"', text)}
    assert named <= known()
    assert {"/fosp/verdict", "/fosp/safety_markers", "/camera/color/image_raw", "/diagnostics"} <= named
    scene = content["configById"]["3D!scene"]
    assert scene["layers"]["robot"]["topic"] == f"/{topics.ROBOT_DESCRIPTION}"
    assert scene["followTf"] == read_robot(robot_path("sim_arm")).action.frame_id


def test_the_configuration_of_rviz_is_read_and_its_topics_exist() -> None:
    content = yaml.safe_load((share() / "config" / "rviz" / "fosp.rviz").read_text())
    shown = [
        display["Topic"]["Value"] for display in content["Visualization Manager"]["Displays"] if "Topic" in display
    ]
    assert {"/camera/color/image_raw", "/fosp/safety_markers"} <= set(shown) <= known()
    displays = {one["Class"].rpartition("/")[2]: one for one in content["Visualization Manager"]["Displays"]}
    description = displays["RobotModel"]["Description Topic"]
    assert (description["Value"], description["Durability Policy"]) == ("/robot_description", "Transient Local")
    assert "TF" in displays
