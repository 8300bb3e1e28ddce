"""A camera that was knocked: another view of the same scene, the same again for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fosp_core.robot.config import RobotConfig
from fosp_sim.env import make_world
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.render import MovedCameras
from fosp_sim.task.scenario import CameraEffects, Scenario

MOVED = CameraEffects(moved_m=0.03, turned_deg=5.0)


def test_each_episode_has_its_own_pose_at_the_distance_and_the_angle(task: tuple[Scenario, RobotConfig]) -> None:
    scenario, robot = task
    world = make_world(scenario, robot)
    world.reset(draw_scene(scenario, 0))
    camera, model = world.model.camera("color").id, world.model
    position, turn = model.cam_pos[camera].copy(), model.cam_quat[camera].copy()
    seen, state = world.data.cam_xpos[camera].copy(), world.data.qpos.copy()
    cameras, poses = MovedCameras(world, MOVED), []
    for seed in (1, 2, 1):
        cameras.move(seed)
        poses.append(np.concatenate([model.cam_pos[camera], model.cam_quat[camera]]))
        assert np.linalg.norm(model.cam_pos[camera] - position) == pytest.approx(0.03)
        angle = 2 * math.acos(min(1.0, abs(float(model.cam_quat[camera] @ turn))))
        assert math.degrees(angle) == pytest.approx(5.0, abs=1e-3)
        assert np.linalg.norm(world.data.cam_xpos[camera] - seen) == pytest.approx(0.03)
    assert (poses[0] == poses[2]).all()
    assert (poses[0] != poses[1]).any()
    assert (world.data.qpos == state).all(), "nothing else moves"


def test_distance_and_angle_are_drawn_from_their_ranges(task: tuple[Scenario, RobotConfig]) -> None:
    scenario, robot = task
    world = make_world(scenario, robot)
    world.reset(draw_scene(scenario, 0))
    camera, position = world.model.camera("color").id, world.model.cam_pos.copy()
    cameras = MovedCameras(world, CameraEffects(moved_m=(0.0, 0.02), turned_deg=(0.0, 3.0)))
    moved = []
    for seed in range(8):
        cameras.move(seed)
        moved.append(float(np.linalg.norm(world.model.cam_pos[camera] - position[camera])))
    assert max(moved) <= 0.02
    assert len(set(moved)) == 8


def test_a_camera_that_is_not_moved_stays_to_the_last_bit(task: tuple[Scenario, RobotConfig]) -> None:
    scenario, robot = task
    world = make_world(scenario, robot)
    world.reset(draw_scene(scenario, 0))
    before = world.model.cam_pos.copy(), world.model.cam_quat.copy()
    MovedCameras(world, CameraEffects()).move(1)
    assert (world.model.cam_pos == before[0]).all()
    assert (world.model.cam_quat == before[1]).all()
