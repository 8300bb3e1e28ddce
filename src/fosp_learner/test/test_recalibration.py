"""A finished bundle is calibrated anew: by the networks that run on the robot, for the time that the robot needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_networks import TINY

from fosp_core.bundle.bundle import load_bundle, write_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.horizon import needed_horizon_steps
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner import config as learner_config
from fosp_learner.bundling.recalibration import deployed_values, recalibrate, recalibrate_on_onsets
from fosp_learner.bundling.seen import SEEN, seen_bytes
from fosp_learner.bundling.validation import episode_values
from fosp_learner.config import CloningConfig, LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

OBSERVATION = ObservationSpec(cameras=(CameraSpec(height=32, width=32),))


@pytest.fixture(scope="module")
def data(make_episode: Callable[..., Episode]) -> Dataset:
    return from_episodes([make_episode(8 + i % 5, i, violates=i % 2 == 0) for i in range(12)])


@pytest.fixture(scope="module")
def trainer(data: Dataset) -> Iterator[Trainer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learner_config.SIZES, "nano", TINY)
        settings = LearnerConfig(
            observation=OBSERVATION,
            steps=2,
            cloning=CloningConfig(share=0.0),
            batch_size=2,
            sequence_length=5,
            bf16=False,
        )
        yield Trainer(settings, data)


@pytest.fixture(scope="module")
def bundle(
    trainer: Trainer, data: Dataset, robot: RobotConfig, assemble: Callable[..., Any], tmp_path_factory: Any
) -> Path:
    out: Path = tmp_path_factory.mktemp("bundle") / "tiny"
    manifest, files = assemble(trainer, data, robot, "safe_reach", OBSERVATION, {})
    write_bundle(out, manifest, files)
    return out


def test_values_of_the_deployed_networks_are_those_of_torch(trainer: Trainer, data: Dataset, bundle: Path) -> None:
    loaded = load_bundle(bundle)
    for filtered in filter_episodes(trainer.world_model, data.of(data.episodes[:3])):
        expected, found = episode_values(trainer.behaviour, filtered), deployed_values(loaded, filtered.batch)
        for name, value in vars(expected).items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=2e-3, atol=2e-3, err_msg=name)


def test_a_larger_threshold_is_taken_where_it_is_allowed_and_more_onsets_support_it(
    data: Dataset, bundle: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    manifest = load_bundle(bundle).manifest
    few = manifest.calibration.model_copy(update={"eps": 1e-4, "violating_episodes": 3})
    files = {name: bundle / name for name in manifest.files}
    low = write_bundle(tmp_path / "low", manifest.model_copy(update={"calibration": few}), files)
    assert recalibrate(tmp_path / "low", data, robot, tmp_path / "same", 0.5).calibration.eps == low.calibration.eps
    larger = recalibrate(tmp_path / "low", data, robot, tmp_path / "larger", 0.5, allow_larger=True).calibration
    assert larger.eps > 1e-4
    assert (larger.violating_episodes, larger.supported) == (6, True)
    many = few.model_copy(update={"violating_episodes": 6})
    write_bundle(tmp_path / "many", manifest.model_copy(update={"calibration": many}), files)
    with pytest.raises(UserError, match="by 6 onsets, no more than the 6 of before"):
        recalibrate(tmp_path / "many", data, robot, tmp_path / "none", 0.5, allow_larger=True)


def test_episodes_that_trained_the_bundle_cannot_calibrate_it(
    data: Dataset, bundle: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    manifest = load_bundle(bundle).manifest
    known = data.of([replace(e, content=f"{i:016x}") for i, e in enumerate(data.episodes)])
    files = {name: bundle / name for name in manifest.files}
    write_bundle(tmp_path / "telling", manifest, {**files, SEEN: seen_bytes(["0000000000000000", "00000000000000ff"])})
    with pytest.raises(UserError, match="1 of 12 episodes trained the bundle"):
        recalibrate(tmp_path / "telling", known, robot, tmp_path / "new", 0.5)


def test_a_new_calibration_has_the_horizon_of_the_robot_and_the_same_networks(
    data: Dataset, bundle: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    old = load_bundle(bundle).manifest
    slow = robot.model_copy(update={"response_s": 0.2})
    new = recalibrate(bundle, data, slow, tmp_path / "new", alpha=0.5)
    assert new.files == old.files
    assert (new.parent_id, load_bundle(tmp_path / "new").manifest.id) == (old.id, new.id)
    assert new.calibration.horizon_steps == needed_horizon_steps(slow, 0.05) > old.calibration.horizon_steps
    assert (new.calibration.alpha, new.calibration.violating_episodes) == (0.5, 6)


def test_what_too_few_violations_cannot_promise_is_refused(
    data: Dataset, bundle: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="6 of 12 episodes violate: too few for alpha"):
        recalibrate(bundle, data, robot, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_onsets_of_the_policy_alone_set_the_threshold_and_nothing_else(
    bundle: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    tiny = load_bundle(bundle).manifest
    described = tiny.model_copy(
        update={"calibration": tiny.calibration.model_copy(update={"eps": 0.4, "horizon_steps": 9})}
    )
    loose = tmp_path / "loose"
    before = write_bundle(loose, described, {name: bundle / name for name in tiny.files})
    scores = np.linspace(0.1, 0.3, 19).astype(np.float32)
    quiet = np.array([0.0, 0.05, 0.2, 1.0], np.float32)
    new = recalibrate_on_onsets(loose, scores, quiet, 200, robot, tmp_path / "new", alpha=0.05)
    assert new.calibration.eps == pytest.approx(float(scores[0]), abs=1e-6)
    assert new.calibration.eps < scores[0]
    assert (new.calibration.false_veto_rate, new.calibration.episodes, new.calibration.violating_episodes) == (
        0.5,
        200,
        19,
    )
    assert (new.files, new.parent_id, new.calibration.ranges) == (before.files, before.id, before.calibration.ranges)
    with pytest.raises(UserError, match="is calibrated for risks within 1 steps"):
        recalibrate_on_onsets(bundle, scores, quiet, 200, robot, tmp_path / "short")
    with pytest.raises(UserError, match="18 onsets in 200 episodes are too few"):
        recalibrate_on_onsets(loose, scores[1:], quiet, 200, robot, tmp_path / "few", alpha=0.05)


def test_training_for_a_slow_robot_looks_further_ahead(robot: RobotConfig) -> None:
    slow = robot.model_copy(update={"response_s": 0.2})
    assert LearnerConfig().for_robot(slow).calibration.horizon_steps == needed_horizon_steps(slow, 0.05)
    far = LearnerConfig.model_validate({"calibration": {"horizon_steps": 50}})
    assert far.for_robot(slow) == far
