"""Gazebo's lights and colours look as MuJoCo's do, by the formula that was measured of its renderer."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.robot.config import read_robot
from fosp_sim.env import Env, make_arena
from fosp_sim.gazebo.light import Lighting, decoded, encoded, fitted_lighting, mujoco_brightness
from fosp_sim.gazebo.picture import Ogre2Renderer, camera_forward, gazebo_painter
from fosp_sim.gazebo.sdf import world_sdf
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.gl import mujoco
from fosp_sim.task.render import Renderer
from fosp_sim.task.scenario import ObstacleSpec, Scenario
from fosp_sim.task.world import World

CONFIG = Path(__file__).parents[3] / "config"
TASKS = ("safe_reach", "safe_goal")

Array = NDArray[np.float64]


def made(task: str, episode: int = 0) -> tuple[World, Element]:
    """The world as MuJoCo has it, and its SDF."""
    scenario = Scenario(task=task, seed=3, obstacles=ObstacleSpec(count=4, shape="mixed"))
    robot = read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml")
    world = make_arena(scenario, robot)
    text = world_sdf(world, draw_scene(scenario, episode), robot, 40.0)
    world.reset(draw_scene(scenario, episode))
    tree = ElementTree.fromstring(text).find("world")
    assert tree is not None
    return world, tree


def values(element: Element, path: str) -> Array:
    text = element.findtext(path)
    assert text is not None, path
    return np.array([float(number) for number in text.split()])


def yaw_of(tree: Element, task: str) -> float:
    """The heading of the robot, with which its headlight turns."""
    robot = next(model for model in tree.iter("model") if model.attrib["name"] == "robot")
    return float(values(robot, "pose")[5]) if task == "safe_goal" else 0.0


def lights(tree: Element, task: str) -> list[tuple[float, Array]]:
    """Strength and direction in the world of every light of a world file."""
    yaw = yaw_of(tree, task)
    c, s = np.cos(yaw), np.sin(yaw)
    found = []
    for light in tree.iter("light"):
        assert light.attrib["type"] == "directional"
        assert values(light, "diffuse").tolist() == [1.0, 1.0, 1.0, 1.0]
        assert values(light, "specular").tolist() == [0.0, 0.0, 0.0, 1.0]
        assert values(light, "pose")[3:].tolist() == [0.0, 0.0, 0.0]
        x, y, z = values(light, "direction")
        turned = light.attrib["name"] == "headlight"
        direction = np.array([c * x - s * y, s * x + c * y, z]) if turned else np.array([x, y, z])
        found.append((float(values(light, "intensity")[0]), direction))
    return found


def surfaces(forward: Array) -> Array:
    """Directions (N, 3) of surfaces that face the camera: the ground first, upright ones, and slanted ones."""
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    upright = np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    slanted = np.stack([np.cos(turns), np.sin(turns), 0 * turns + 1], axis=1) / np.sqrt(2)
    facing = np.vstack([[0.0, 0.0, 1.0], upright, slanted])
    return np.asarray(facing[facing @ forward < -0.2])


@pytest.mark.parametrize("task", TASKS)
def test_ogre2_answers_the_written_lights_and_colours_as_mujoco_does_its_own(task: str) -> None:
    world, tree = made(task)
    model, forward = world.model, camera_forward(world.data)
    normals = surfaces(forward)
    head = model.vis.headlight
    lamp = np.maximum(-normals @ model.light_dir[0], 0.0)
    mujocos = head.ambient[0] + head.diffuse[0] * np.maximum(-normals @ forward, 0.0) + 0.35 * lamp
    assert model.light_diffuse.tolist() == [[pytest.approx(0.35)] * 3]
    gazebos = 0.318 * values(tree, "scene/ambient")[0] + sum(
        0.80 * strength * np.maximum(-normals @ direction, 0.0) for strength, direction in lights(tree, task)
    )
    for color in (0.3, 0.6, 0.9):
        linear = ((color + 0.055) / 1.055) ** 2.4
        shown = np.where(linear * gazebos > 1, 1.0, 1.055 * (linear * gazebos) ** (1 / 2.4) - 0.055)
        off = 255 * (shown - np.minimum(color * mujocos, 1.0))
        assert abs(off[0]) < 3, "the ground"
        assert np.abs(off).mean() < 16
    assert mujoco_brightness(model, normals, forward) == pytest.approx(mujocos)


@pytest.mark.parametrize("task", TASKS)
def test_the_headlight_shines_from_the_camera_and_moves_with_it(task: str) -> None:
    world, tree = made(task, episode=1)
    (link,) = [link for link in tree.iter("link") if link.find("light") is not None]
    assert link.find("sensor[@type='camera']") is not None
    assert link.attrib["name"] == {"safe_goal": "base_link", "safe_reach": "surroundings"}[task]
    directions = [direction for _, direction in lights(tree, task)]
    assert directions[1] == pytest.approx(camera_forward(world.data), abs=1e-6)
    assert directions[0] == pytest.approx(world.model.light_dir[0], abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_the_background_is_black_and_edges_are_not_smoothed(task: str) -> None:
    _, tree = made(task)
    assert tree.findtext("scene/background") == "0 0 0 1"
    (image,) = tree.iter("image")
    assert image.findtext("anti_aliasing") == "0"
    strengths = [strength for strength, _ in lights(tree, task)]
    assert all(0.1 < strength < 3.0 for strength in strengths)
    assert 0.0 <= values(tree, "scene/ambient")[0] <= 1.0


@pytest.mark.parametrize("task", TASKS)
def test_the_picture_by_ogre2s_formula_is_nearly_mujocos(task: str) -> None:
    scenario = Scenario(task=task, seed=3, obstacles=ObstacleSpec(count=4))
    world = make_arena(scenario, read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml"))
    pictures: dict[type[Renderer], Array] = {}
    for kind in (Renderer, Ogre2Renderer):
        renderer = kind(world.model)
        seen = []
        for episode in range(3):
            world.reset(draw_scene(scenario, episode))
            seen.append(renderer.render(world.data, 120, 160).astype(float))
        pictures[kind] = np.array(seen)
    difference = np.abs(pictures[Ogre2Renderer] - pictures[Renderer])
    assert difference.mean() < {"safe_reach": 4.0, "safe_goal": 2.5}[task]
    black = (pictures[Renderer] == 0).all(axis=-1)
    assert black.any()
    assert (pictures[Ogre2Renderer][black] == 0).all()


def test_decoding_and_encoding_are_those_of_srgb() -> None:
    assert decoded([0.0, 0.04, 0.5, 1.0]) == pytest.approx([0.0, 0.04 / 12.92, 0.2140, 1.0], abs=1e-4)
    assert encoded(decoded(np.linspace(0, 1, 50))) == pytest.approx(np.linspace(0, 1, 50), abs=1e-3)
    assert encoded([1.7, -0.1]) == pytest.approx([1.0, 0.0])


def test_lights_that_cannot_be_written_are_refused_and_any_heading_gives_the_same_ones() -> None:
    world, _ = made("safe_goal")
    turned = np.array([0.0, 1.0, 0.0])
    assert fitted_lighting(world.model, turned) == fitted_lighting(world.model, np.array([1.0, 0.0, 0.0]))
    assert isinstance(fitted_lighting(world.model, turned), Lighting)
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><light dir="0 0 -1" type="directional" diffuse="1 0 0"/></worldbody></mujoco>'
    )
    with pytest.raises(NotImplementedError, match="white, directional"):
        mujoco_brightness(model, np.eye(3), np.array([0.0, 0.0, -1.0]))


def test_an_episode_may_be_seen_as_gazebo_would_show_it() -> None:
    scenario = Scenario(task="safe_reach", seed=3)
    robot = read_robot(CONFIG / "robots" / "sim_arm.yaml")
    plain = Env(scenario, robot).reset(0).images
    shown = Env(scenario, robot, paint=gazebo_painter).reset(0).images
    assert shown.shape == plain.shape
    difference = np.abs(shown.astype(float) - plain)
    assert 0.0 < difference.mean() < 6.0, "another light on the same scene"
