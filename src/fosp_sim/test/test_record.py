"""Recorded demonstrations: bags as a robot's recorder writes them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.executed import mean_command
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec, parse_spec
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.demonstration.record import record_episodes, record_in_processes
from fosp_sim.env import Env, Observation
from fosp_sim.task.scenario import Scenario


def messages(folder: Path, topic: str) -> list[tuple[int, Any]]:
    """(log time ns, message) of a topic."""
    with AnyReader([folder], default_typestore=typestore()) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        return [(t, reader.deserialize(raw, c.msgtype)) for c, t, raw in reader.messages(chosen)]


def stamp(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def short(task: str, **keys: Any) -> Scenario:
    return parse_spec(Scenario, {"task": task, "max_steps": 8, **keys}, "scenario.yaml")


@pytest.fixture(scope="module")
def arm_bag(tmp_path_factory: pytest.TempPathFactory, arm: RobotConfig) -> Path:
    return next(record_episodes(short("safe_reach"), arm, "careful", 1, tmp_path_factory.mktemp("arm"))).folder


def test_an_arm_episode_holds_every_topic_at_its_rate(arm_bag: Path, arm: RobotConfig) -> None:
    counts = {
        "/camera/color/image_raw": 17,
        "/camera/color/camera_info": 17,
        "/fosp/feedback": 17,
        f"/{arm.command_topic}": 40,
        "/joint_states": 40,
        "/tool_pose": 40,
    }
    assert {topic: len(messages(arm_bag, topic)) for topic in counts} == counts


def test_a_base_episode_holds_odometry(tmp_path: Path, base: RobotConfig) -> None:
    folder = next(record_episodes(short("safe_goal"), base, "greedy", 1, tmp_path)).folder
    assert len(messages(folder, "/odom")) == len(messages(folder, "/cmd_vel")) == 40
    assert messages(folder, "/odom")[0][1].child_frame_id == "base_link"


def test_the_bag_tells_the_episode_that_was_driven(arm_bag: Path, arm: RobotConfig) -> None:
    described = short("safe_reach")
    env = Env(described, arm)
    env.reset(0)
    driver = Demonstrator("careful", env.scene, arm, described.seed)
    feedback = [m for _, m in messages(arm_bag, "/fosp/feedback")]
    commands = messages(arm_bag, f"/{arm.command_topic}")
    stamps = np.array([stamp(m) for _, m in commands])
    twists = np.array([[m.twist.linear.x, m.twist.linear.y, m.twist.linear.z] for _, m in commands])
    frames = [stamp(m) for m in feedback[::2]]
    for step, (start, end) in enumerate(itertools.pairwise(frames)):
        result = env.step(driver.act(env.world.state(), env.world.time))
        executed = mean_command(stamps, twists, start, end, arm.command_timeout_s) / 0.25
        assert executed == pytest.approx(result.executed, abs=1e-4)
        assert sum(m.reward for m in feedback[2 * step + 1 : 2 * step + 3]) == pytest.approx(result.reward, abs=1e-5)
    assert [m.is_first for m in feedback] == [True] + [False] * 16
    assert [m.is_last for m in feedback] == [False] * 16 + [True]


def test_images_and_feedback_carry_the_same_stamps(arm_bag: Path) -> None:
    images, feedback = (messages(arm_bag, t) for t in ("/camera/color/image_raw", "/fosp/feedback"))
    assert [stamp(m) for _, m in images] == [stamp(m) for _, m in feedback]
    image = images[0][1]
    assert (image.height, image.width, image.encoding, len(image.data)) == (240, 320, "rgb8", 230400)


def test_the_metadata_says_where_the_episode_comes_from(arm_bag: Path) -> None:
    information = yaml.safe_load((arm_bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["storage_identifier"] == "mcap"
    assert information["message_count"] == 171
    notes = information["custom_data"]
    assert (notes["task"], notes["robot"], notes["seed"], notes["demonstrator"]) == (
        "safe_reach",
        "sim_arm",
        "0",
        "careful",
    )
    assert (notes["reached"], notes["violated"]) == ("false", "false")
    assert parse_spec(Scenario, yaml.safe_load(notes["scenario"]), "") == short("safe_reach")


def test_a_late_camera_is_logged_late_and_stamped_true(tmp_path: Path, arm: RobotConfig) -> None:
    late = short("safe_reach", camera={"latency_s": 0.1})
    folder = next(record_episodes(late, arm, "careful", 1, tmp_path)).folder
    for logged, message in messages(folder, "/camera/color/image_raw"):
        assert logged * 1e-9 - stamp(message) == pytest.approx(0.1, abs=1e-6)


def test_an_existing_episode_is_not_overwritten(tmp_path: Path, arm: RobotConfig) -> None:
    (tmp_path / "episode_000001").mkdir()
    with pytest.raises(UserError, match="episode_000001 exists already"):
        record_episodes(short("safe_reach"), arm, "careful", 3, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episode_000001"]


def test_a_broken_off_episode_leaves_nothing(tmp_path: Path, arm: RobotConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Demonstrator, "act", fail)
    with pytest.raises(KeyboardInterrupt):
        next(record_episodes(short("safe_reach"), arm, "careful", 1, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_parallel_processes_record_the_same_bags(tmp_path: Path, arm: RobotConfig) -> None:
    scenario = short("safe_reach")
    alone = list(record_episodes(scenario, arm, "random", 12, tmp_path / "alone"))
    together = list(record_in_processes(scenario, arm, "random", 12, tmp_path / "together", workers=2))
    assert {o.episode: o.steps for o in together} == {o.episode: o.steps for o in alone}
    for outcome in alone:
        (one,) = outcome.folder.glob("*.mcap")
        (other,) = (tmp_path / "together" / outcome.folder.name).glob("*.mcap")
        assert one.read_bytes() == other.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        next(record_in_processes(scenario, arm, "random", 12, tmp_path / "together", workers=2))


def test_an_unwritable_folder_is_one_line(tmp_path: Path, arm: RobotConfig) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        next(record_episodes(short("safe_reach"), arm, "careful", 1, tmp_path / "file"))


class Forward:
    """Drives some steps in one direction before the demonstrator takes over."""

    name = "forward"
    observation = ObservationSpec(cameras=(CameraSpec(height=32, width=32),))

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.reached: tuple[float, ...] = ()

    def require_pace(self, decision_s: float) -> None:
        assert decision_s == 0.05

    def drive(self, env: Env, observation: Observation, seed: int) -> bool:
        assert observation.is_first
        assert observation.images.shape == self.observation.shape
        assert observation.episode + env.scenario.seed == seed
        ends = any(env.step(np.array([1.0, 0.0, 0.0])).last for _ in range(self.steps))
        self.reached = env.world.state().position
        return not ends


def test_a_recording_begins_where_the_demonstrator_takes_over(tmp_path: Path, arm: RobotConfig) -> None:
    approach = Forward(3)
    outcome = next(record_episodes(short("safe_reach"), arm, "careful", 1, tmp_path, approach=approach))
    assert outcome.steps == 5, "of eight steps three are off the record"
    feedback = [message for _, message in messages(outcome.folder, "/fosp/feedback")]
    assert len(feedback) == 11
    assert [m.is_first for m in feedback] == [True] + [False] * 10
    assert (feedback[0].reward, feedback[0].cost) == (0.0, 0.0)
    start = stamp(feedback[0])
    assert [round(stamp(m) - start, 3) for m in feedback] == [round(0.025 * n, 3) for n in range(11)]
    images = messages(outcome.folder, "/camera/color/image_raw")
    assert stamp(images[0][1]) == start
    pose = messages(outcome.folder, "/tool_pose")[0][1]
    assert stamp(pose) == start
    found = (pose.pose.position.x, pose.pose.position.y, pose.pose.position.z)
    assert found == pytest.approx(approach.reached), "in motion, where it was left"
    command = messages(outcome.folder, f"/{arm.command_topic}")[0][1].twist.linear
    assert command.x > 0.0, "the first tick still follows who drove before"
    notes = yaml.safe_load((outcome.folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert notes["custom_data"]["taken_over_from"] == "forward"


def test_where_an_approach_ends_the_episode_it_is_recorded_from_its_start(tmp_path: Path, arm: RobotConfig) -> None:
    outcome = next(record_episodes(short("safe_reach"), arm, "careful", 1, tmp_path, approach=Forward(8)))
    assert outcome.steps == 8
