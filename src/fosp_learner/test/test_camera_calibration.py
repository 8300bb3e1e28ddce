"""The promise about false alarms of the cameras holds for all cameras of a bundle together."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import lenient_reference

from fosp_core.specs import CameraCalibration
from fosp_learner.bundling.reference import FALSE_ALARMS, calibrate_reference
from fosp_learner.data.dataset import Dataset, EpisodeIndex

EPISODES = 620
"""Just enough for one camera, which needs 3 / FALSE_ALARMS - 1."""


def _calibrated(cameras: int) -> CameraCalibration:
    none = np.zeros(EPISODES, np.float32)
    data = Dataset(
        images=np.zeros((EPISODES, cameras, 16, 16, 3), np.uint8),
        action=np.zeros((EPISODES, 1), np.float32),
        reward=none,
        cost=none,
        is_terminal=np.zeros(EPISODES, np.bool_),
        episodes=tuple(EpisodeIndex(f"e{i}", i, 1, success=True, violates=False) for i in range(EPISODES)),
        key="",
    )
    return calibrate_reference(lenient_reference(cameras, 1), [data])[1]


def test_one_camera_keeps_the_promise_with_enough_episodes() -> None:
    found = _calibrated(1)
    assert found.supported
    assert found.false_alarm_bound == pytest.approx(FALSE_ALARMS)


def test_two_cameras_need_more_episodes_and_the_manifest_says_so() -> None:
    found = _calibrated(2)
    assert not found.supported
    assert found.false_alarm_bound > FALSE_ALARMS
