"""Robot files, feedback rules, Servo's configuration and pages say what driver_facts.yaml read in the drivers' sources.

With FOSP_DRIVER_SOURCES, a folder of clones (OWNER+NAME/repo or OWNER/NAME), each quotation is looked up at its commit.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from documented import commands

from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.consent_inputs import READY_KINDS, ReadyConfig
from fosp_safety_monitor.parameters import MonitorParameters

ROOT = Path(__file__).parents[1]
CONTENT = yaml.safe_load((ROOT / "tests/driver_facts.yaml").read_text())
SOURCES: dict[str, dict[str, str]] = CONTENT["sources"]
FACTS: dict[str, dict[str, Any]] = CONTENT["facts"]
KEYS = {"source", "file", "quotes", "topic", "type", "reliability", "durability", "rate_hz", "frame_id"}
KEYS |= {"robots", "ready", "timeout_s", "holds", "texts", "values", "most"}
REAL = sorted(
    path.stem
    for path in (ROOT / "config/robots").glob("*.yaml")
    if "." not in path.stem and not path.stem.startswith("sim_")
)
PAGES = ("ur", "franka", "turtlebot")
_VOUCHED = re.compile(r"\(facts: ([\w, ]+)\)")
OURS = (
    *("fosp ", "./fosp", "ros2 launch fosp_bringup"),
    *("ros2 service call /safety_monitor_node", "ros2 service call /fosp/"),
)
"""Beginnings of the commands that are our own: other tests run them."""


@cache
def robot(name: str) -> RobotConfig:
    return read_robot(ROOT / f"config/robots/{name}.yaml")


def value_of(name: str, key: str) -> Any:
    """Return the value of a dotted key of a robot file; keys of mappings may hold dots themselves."""
    found: Any = robot(name).model_dump()
    left = key
    while left:
        part = max((part for part in found if left == part or left.startswith(f"{part}.")), key=len)
        found, left = found[part], left[len(part) + 1 :]
    return found


def facts_of(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the facts that speak of a robot."""
    return [(key, fact) for key, fact in FACTS.items() if name in {**fact.get("robots", {}), **fact.get("ready", {})}]


@pytest.mark.parametrize("key", FACTS)
def test_a_fact_names_its_source_and_holds_in_every_file_that_relies_on_it(key: str) -> None:
    fact = FACTS[key]
    assert set(fact) <= KEYS
    assert re.fullmatch(r"[0-9a-f]{40}", SOURCES[fact["source"]]["commit"])
    assert fact["quotes"]
    assert {"robots", "ready", "texts", "values", "most", "rate_hz"} & set(fact) or fact["source"] in (
        "ros2_controllers",
        "franka_ros2",
    ), "nothing relies on it"
    for name, values in fact.get("robots", {}).items():
        assert {key: value_of(name, key) for key in values} == values, name
    for name, values in fact.get("most", {}).items():
        assert all(value_of(name, key) <= most for key, most in values.items()), name
    for path, texts in fact.get("texts", {}).items():
        page = " ".join((ROOT / path).read_text().replace("\n#", "\n").split())
        for text in texts:
            assert text in page, f"{path} does not say: {text}"


@pytest.mark.parametrize("name", REAL)
def test_each_topic_of_a_robot_file_is_vouched_for(name: str) -> None:
    config = robot(name)
    known = {fact["topic"] for _, fact in facts_of(name) if "topic" in fact}
    named = [config.command_topic, config.state_topic, config.pose_topic, *(ready.topic for ready in config.ready)]
    missing = {topic for topic in [*named, *config.camera_topics.values()] if topic} - known
    assert not missing


@pytest.mark.parametrize("name", REAL)
def test_types_frames_rates_and_time_outs_of_a_robot_file_are_the_drivers(name: str) -> None:
    config = robot(name)
    types = {config.command_topic: config.command_type, config.state_topic: config.state_type}
    types |= {config.pose_topic: "PoseStamped"} if config.pose_topic else {}
    least_hz = 2.0 / MonitorParameters().robot_state_timeout_s
    stops = [fact for _, fact in facts_of(name) if "timeout_s" in fact or fact.get("holds")]
    assert stops, "nobody says what the robot does when its commands end"
    assert all(fact.get("timeout_s", 0.0) <= config.command_timeout_s for fact in stops)
    for key, fact in facts_of(name):
        topic = fact.get("topic")
        if topic in types and "type" in fact:
            assert fact["type"].split("/")[1] == types[topic], key
        if topic in (config.state_topic, config.pose_topic):
            assert fact["rate_hz"] >= least_hz, f"{key}: one lost message would stop the robot"
        if topic == config.pose_topic:
            assert fact["frame_id"] == config.action.frame_id


@pytest.mark.parametrize("name", [name for name in REAL if robot(name).ready])
def test_what_says_that_a_robot_is_ready_is_read_by_the_right_adapter_and_quality_of_service(name: str) -> None:
    by_topic = {fact["topic"]: fact for fact in FACTS.values() if name in fact.get("ready", {})}
    assert {ready.topic: ready.kind for ready in robot(name).ready} == {
        topic: fact["ready"][name] for topic, fact in by_topic.items()
    }
    for ready in robot(name).ready:
        fact = by_topic[ready.topic]
        assert fact["type"] == READY_KINDS[ready.kind].message_type
        assert ready.latched == (fact.get("durability") == "transient_local")
        assert fact["reliability"] == "reliable", "a latched subscription asks for a reliable publisher"
        assert ready.latched or fact["rate_hz"] * (ready.limit_s or 0.0) >= 2.0


@pytest.mark.parametrize("kind", sorted({kind for fact in FACTS.values() for kind in fact.get("values", {})}))
def test_an_adapter_takes_the_drivers_numbers_as_the_driver_means_them(kind: str) -> None:
    (numbers,) = [fact["values"][kind] for fact in FACTS.values() if kind in fact.get("values", {})]
    config = ReadyConfig.model_validate({"topic": "state", "kind": kind, "timeout_s": 1.0})
    for number in (*numbers["ready"], *numbers["others"]):
        said = config.why_not(SimpleNamespace(**{numbers["field"]: number}))
        assert (said == "") == (number in numbers["ready"]), number


def test_a_program_that_runs_is_ready_and_one_that_does_not_is_not() -> None:
    """UR's robot_program_running is true while it runs: the other way round from an emergency stop."""
    (running,) = [ready for ready in robot("ur5e").ready if ready.kind == "bool"]
    assert running.why_not(SimpleNamespace(data=True)) == ""
    assert running.why_not(SimpleNamespace(data=False)) == f"{running.topic} says false"


def test_servo_halts_no_later_than_the_robot_file_says() -> None:
    servo = yaml.safe_load((ROOT / "config/servo/franka_fr3.yaml").read_text())["/**"]["ros__parameters"][
        "moveit_servo"
    ]
    assert servo["incoming_command_timeout"] <= robot("franka_fr3").command_timeout_s
    assert servo["command_in_type"] == "speed_units"
    assert servo["is_primary_planning_scene_monitor"] is False
    assert servo["command_out_type"] == "trajectory_msgs/JointTrajectory", "holds the last point when Servo ends"


def test_the_pose_controller_moves_the_point_whose_pose_it_gives() -> None:
    content = yaml.safe_load((ROOT / "config/servo/fr3_pose.yaml").read_text())["/**"]
    gives, moves = (content[name]["ros__parameters"] for name in ("pose_broadcaster", "cartesian_impedance_controller"))
    for key in ("joints", "end_effector_frame", "base_frame"):
        assert gives[key] == moves[key]
    assert gives["base_frame"] == robot("fr3").action.frame_id
    assert set(content) - {"controller_manager"} <= set(content["controller_manager"]["ros__parameters"])


def test_servos_launch_file_is_python_and_starts_servo_alone() -> None:
    tree = ast.parse((ROOT / "config/servo/franka_servo.launch.py").read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Node"]
    assert [{word.arg: getattr(word.value, "value", None) for word in node.keywords}["package"] for node in nodes] == [
        "moveit_servo"
    ]


@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_a_robots_page_is_ours_or_vouched_for(page: str) -> None:
    path = ROOT / f"docs/robots/{page}.md"
    found = commands(path)
    assert found
    for command in found:
        if command.text.startswith(OURS):
            continue
        vouched = _VOUCHED.search(command.needs)
        assert vouched, f"{path.name}:{command.line}: no fact vouches for {command.text}"
        named = [name.strip() for name in vouched[1].split(",")]
        assert set(named) <= set(FACTS), path.name
        if command.text.startswith(("ros2 service", "ros2 control", "ros2 action")):
            texts = [text for name in named for text in FACTS[name].get("texts", {}).get(f"docs/robots/{page}.md", [])]
            assert any(text in command.text or command.text.split()[-2] in text for text in texts), command.text


@cache
def _source(source: str, file: str) -> str:
    owner, name = SOURCES[source]["repository"].split("/")
    folder = Path(os.environ["FOSP_DRIVER_SOURCES"])
    clone = next((path for path in (folder / f"{owner}+{name}" / "repo", folder / owner / name) if path.is_dir()), None)
    if clone is None:
        pytest.skip(f"no clone of {owner}/{name}")
    shown = ["git", "-C", str(clone), "show", f"{SOURCES[source]['commit']}:{file}"]
    done = subprocess.run(shown, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.skipif("FOSP_DRIVER_SOURCES" not in os.environ, reason="the drivers' sources are not at hand")
@pytest.mark.parametrize("key", FACTS if "FOSP_DRIVER_SOURCES" in os.environ else ["any"])
def test_a_quotation_stands_in_the_source_at_its_commit(key: str) -> None:
    text = _source(FACTS[key]["source"], FACTS[key]["file"])
    assert [quote for quote in FACTS[key]["quotes"] if " ".join(quote.split()) not in text] == []
