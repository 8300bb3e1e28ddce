"""The scanner of the simulated base: it sees obstacles and walls where they are in every episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fosp_core.robot.config import read_robot
from fosp_sim.env import make_arena
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import ARENA
from fosp_sim.task.scanner import BEAMS, HEIGHT, LaserScanner
from fosp_sim.task.scenario import read_scenario

CONFIG = Path(__file__).resolve().parents[3] / "config"


@pytest.fixture
def world():
    return make_arena(read_scenario(CONFIG / "scenarios/safe_goal.yaml"), read_robot(CONFIG / "robots/sim_base.yaml"))


def test_a_scan_is_what_single_rays_find_in_every_scene(world):
    scanner, scenario = LaserScanner(world), read_scenario(CONFIG / "scenarios/safe_goal.yaml")
    for episode in range(4):
        world.reset(draw_scene(scenario, episode))
        x, y, _ = world.state().position
        seen, origin = scanner.scan(world.data, x, y, 0.0), np.array([x, y, HEIGHT])
        groups, geom = np.array([1, 1, 0, 1, 1, 1], np.uint8), np.zeros(1, np.int32)
        for beam in range(0, BEAMS, 3):
            angle = 2 * np.pi * beam / BEAMS
            ray = np.array([np.cos(angle), np.sin(angle), 0.0])
            assert seen[beam] == pytest.approx(
                mujoco.mj_ray(world.model, world.data, origin, ray, groups, 1, -1, geom), abs=1e-4
            )


def test_a_scan_turns_with_the_base_and_sees_neither_it_nor_the_goal(world):
    scanner = LaserScanner(world)
    world.reset(draw_scene(read_scenario(CONFIG / "scenarios/safe_goal.yaml"), 0))
    goal = world.scene.goal
    ahead = scanner.scan(world.data, 0.0, 0.0, 0.0)
    assert scanner.scan(world.data, 0.0, 0.0, np.pi / 2)[0] == pytest.approx(ahead[BEAMS // 4], abs=1e-4)
    assert ahead.min() > 0.1
    assert ahead.max() < 2 * ARENA
    assert np.isinf(scanner.scan(world.data, goal.x, goal.y, 0.0)).sum() == 0
    assert scanner.scan(world.data, goal.x, goal.y, 0.0).min() > 0.0
