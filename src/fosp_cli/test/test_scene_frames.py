import numpy as np
import pytest

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.evaluation.scene_frames import scene_frames, scene_frames_of
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.specs import ObservationSpec


@pytest.mark.parametrize(("task", "robot"), [("safe_reach", "sim_arm"), ("safe_goal", "sim_base")])
def test_every_place_of_a_scene_is_seen(task: str, robot: str):
    observation = ObservationSpec()
    frames = scene_frames_of(scenario_path(task), read_robot(robot_path(robot)), observation, places=6)
    rows, columns = len(frames.y), len(frames.x)
    assert max(rows, columns) == 6
    assert frames.images.shape == (rows, columns, *observation.shape)
    assert frames.picture.shape == (240, 320, 3)
    flat = frames.images.reshape(rows * columns, -1)
    assert len(np.unique(flat, axis=0)) == rows * columns, "no place looks like another"
    assert frames.clearance.shape == (rows, columns)
    assert frames.clearance.min() < 0.1 < frames.clearance.max(), "near an obstacle and far from all"


def test_a_task_that_is_not_simulated_has_no_scene():
    assert scene_frames("unnamed", read_robot(robot_path("sim_arm")), ObservationSpec()) is None


def test_a_task_without_a_rectangle_of_places_has_no_map():
    with pytest.raises(UserError, match="no rectangle"):
        scene_frames("safe_pick", read_robot(robot_path("sim_pick")), ObservationSpec())
