"""`fosp pretrain` on data it cannot use, or can but half: one line each, and nothing half done is left."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from tiny_networks import TINY

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run
from fosp_core.bag_types import typestore
from fosp_core.bundle.bundle import load_bundle
from fosp_core.robot.config import read_robot
from fosp_learner import config as learner_config
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario

SETTINGS = {
    "steps": 1,
    "batch_size": 2,
    "sequence_length": 4,
    "validation_share": 0.5,
    "cloning": {"share": 1.0, "batch_size": 4},
    "refinement": {"batch_size": 2},
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short episodes without any violation."""
    folder = tmp_path_factory.mktemp("recorded") / "bags"
    scenario = Scenario(task="safe_reach", seed=3, max_steps=6)
    outcomes = list(record_episodes(scenario, read_robot(robot_path("sim_arm")), "careful", 4, folder))
    assert not any(outcome.violated for outcome in outcomes)
    return folder


@pytest.fixture
def bags(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy in a folder of its own that is also the current one, with the settings beside it."""
    monkeypatch.chdir(tmp_path)
    for size in ("nano", "small"):
        monkeypatch.setitem(learner_config.SIZES, size, TINY)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return Path(shutil.copytree(recorded, tmp_path / "bags"))


def pretrain(*more: str) -> int:
    return run(["pretrain", "bags", "--out", "bundle", "--config", "settings.yaml", *more])


def refused(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line of a refusal."""
    capsys.readouterr()
    code = pretrain(*more)
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), lines
    assert not Path("bundle").exists()
    return lines[0]


def change(bag: Path, topic: str, changed: Callable[[Any], Any], copy_to: str = "") -> None:
    """Write a bag anew with every message on `topic` changed; with `copy_to`, beside it on that topic."""
    store, new = typestore(), bag.with_name("changed")
    with Reader(bag) as reader, Writer(new, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for connection, when, data in reader.messages():
            kind, outgoing = connection.msgtype, [(connection.topic, data)]
            if connection.topic.endswith(topic):
                content = bytes(store.serialize_cdr(changed(store.deserialize_cdr(data, kind)), kind))
                outgoing = [*outgoing, (copy_to, content)] if copy_to else [(connection.topic, content)]
            for name, content in outgoing:
                if name not in connections:
                    connections[name] = writer.add_connection(name, kind, typestore=store)
                writer.write(connections[name], when, content)
    shutil.rmtree(bag)
    new.rename(bag)


@pytest.mark.long
def test_all_safe_data_train_and_the_bundle_says_that_its_threshold_is_no_promise(bags: Path, capsys):
    assert pretrain() == 0
    calibration = load_bundle(Path("bundle")).manifest.calibration
    assert not calibration.supported
    assert (calibration.violating_episodes, calibration.miss_rate_bound) == (0, 1.0)
    assert calibration.eps < 1e-5, "every action is vetoed"
    assert calibration.false_veto_rate > 0.99
    page = Path("runs/pretrain/bundle/report/index.html").read_text()
    assert "cannot support a miss rate" in page
    shutil.rmtree("bundle")
    assert "the checkpoint was trained with another size" in refused(capsys, "--resume", "--size", "small")
    state = Path("runs/pretrain/bundle/checkpoint/state.json")
    state.write_text(state.read_text()[:100])
    assert "damaged checkpoint" in refused(capsys, "--resume")


def test_feedback_that_is_no_number_is_named_with_its_bag(bags: Path, capsys):
    def to_nan(message: Any) -> Any:
        message.cost = float("nan")
        return message

    change(bags / "episode_000002", "fosp/feedback", to_nan)
    line = refused(capsys)
    assert "episode_000002: feedback at" in line
    assert "cost nan" in line


def test_images_of_two_sizes_are_named_with_their_bags(bags: Path, capsys):
    def halved(message: Any) -> Any:
        pixels = message.data.reshape(message.height, message.width, 3)[::2, ::2]
        message.height, message.width, message.step = 120, 160, 480
        message.data = np.ascontiguousarray(pixels).reshape(-1)
        return message

    change(bags / "episode_000003", "image_raw", halved)
    line = refused(capsys)
    assert "images are 320x240 in episode_000000, but 160x120 in episode_000003" in line


def test_a_full_disk_while_bags_are_cached_leaves_nothing(bags: Path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        line = refused(capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "no space left for the cache of the bags" in line
    assert list(Path("runs/cache").iterdir()) == []


@pytest.mark.long
def test_several_cameras_are_trained_on_as_the_settings_name_them(bags: Path, capsys):
    side = {"name": "side", "topic": "camera/side/image_raw"}
    cameras = [{"name": "color", "topic": "camera/color/image_raw"}, side]
    Path("settings.yaml").write_text(yaml.safe_dump(SETTINGS | {"observation": {"cameras": cameras}}))
    assert "topic camera/side/image_raw is missing" in refused(capsys)
    assert run(["bags", "check", "bags", "--config", "settings.yaml"]) == 2
    assert "topic camera/side/image_raw is missing" in capsys.readouterr().err
    for bag in bags.iterdir():
        change(bag, "image_raw", lambda message: message, copy_to="/camera/side/image_raw")
    assert run(["bags", "check", "bags", "--config", "settings.yaml"]) == 0
    assert pretrain() == 0
    manifest = load_bundle(Path("bundle")).manifest
    assert [camera.name for camera in manifest.observation.cameras] == ["color", "side"]
    facts = json.loads(Path("runs/pretrain/bundle/run.json").read_text())
    assert len(facts["observation"]["cameras"]) == 2


def test_cameras_that_the_networks_cannot_take_are_one_line(bags: Path, capsys):
    for height, width in ((48, 48), (64, 32)):
        camera = {"height": height, "width": width}
        Path("settings.yaml").write_text(yaml.safe_dump(SETTINGS | {"observation": {"cameras": [camera]}}))
        assert "square with a side of 32, 64, 128" in refused(capsys)


def test_a_run_with_a_checkpoint_is_not_replaced_unasked(bags: Path, capsys):
    state = Path("runs/pretrain/bundle/checkpoint/state.json")
    state.parent.mkdir(parents=True)
    state.write_text('{"step": 9000}')
    line = refused(capsys)
    assert "runs/pretrain/bundle holds the checkpoint of a run" in line
    assert "--overwrite" in line
    assert "give one of them" in refused(capsys, "--resume", "--overwrite")
    assert state.read_text() == '{"step": 9000}'
