"""Camera frames of a still scene with the robot at every place of it, for the reachability map of a report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fosp_bringup.paths import share
from fosp_core.errors import UserError
from fosp_core.image import observation_image
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec

if TYPE_CHECKING:
    from fosp_learner.report.figure_data import SceneFrames
    from fosp_sim.task.scene import Scene

_PLACES = 37
"""Number of places along the longer side of the map."""
_SEED = 7
"""Seed of the scene. Any seed will do that no training uses."""


def scene_frames(task: str, robot: RobotConfig, observation: ObservationSpec) -> SceneFrames | None:
    """Return the frames of a scene of the task's shipped scenario, or None for a task that is not simulated."""
    path = share() / "config" / "scenarios" / f"{task}.yaml"
    if not path.is_file():
        return None
    return scene_frames_of(path, robot, observation)


def scene_frames_of(
    scenario_file: Path, robot: RobotConfig, observation: ObservationSpec, places: int = _PLACES
) -> SceneFrames:
    """Return the frames of a scene of a scenario file.

    Raise UserError when it is damaged, for another robot kind, and for a task that draws its scenes otherwise than from
    a rectangle of places.
    """
    from fosp_learner.report.figure_data import SceneFrames
    from fosp_sim.env import make_arena
    from fosp_sim.task.draw import draw_scene
    from fosp_sim.task.render import Renderer
    from fosp_sim.task.scenario import read_scenario
    from fosp_sim.task.tasks import find_task

    scenario = read_scenario(scenario_file)
    layout = find_task(scenario.task).layout
    if layout.lower == layout.upper:
        raise UserError(f"{scenario_file}: {scenario.task} says of no rectangle where its robot can be put")
    world = make_arena(scenario, robot)
    renderer = Renderer(world.model)
    scene = draw_scene(scenario, _SEED)
    x, y = _axes(layout.lower, layout.upper, places)
    cameras, height, width, _ = observation.shape
    images = np.empty((len(y), len(x), cameras, height, width, 3), np.uint8)
    for row, column in np.ndindex(len(y), len(x)):
        world.reset(_placed(scene, float(x[column]), float(y[row])))
        images[row, column] = observation_image(renderer.render(world.data), height, width)
    world.reset(scene)
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    at = "tool" if robot.kind == "arm" else "base"
    how = f"at {_height(scene):.2f} m" if robot.kind == "arm" else "facing the goal"
    return SceneFrames(
        images=images,
        x=x,
        y=y,
        clearance=scene.clearance(points).reshape(len(y), len(x)),
        start=scene.start[:2],
        goal=(scene.goal.x, scene.goal.y),
        picture=renderer.render(world.data),
        caption=f"A scene of {scenario_file.stem}; every place of the {at}, {how}, as the first frame of an episode.",
    )


def _axes(lower: tuple[float, float], upper: tuple[float, float], places: int) -> tuple[np.ndarray, np.ndarray]:
    spans = [high - low for low, high in zip(lower, upper, strict=True)]
    x, y = (
        np.linspace(low, high, max(2, round(places * span / max(spans))))
        for low, high, span in zip(lower, upper, spans, strict=True)
    )
    return x, y


def _height(scene: Scene) -> float:
    """Return the height half-way between start and goal, m."""
    return (scene.start[2] + scene.goal.z) / 2


def _placed(scene: Scene, x: float, y: float) -> Scene:
    heading = math.atan2(scene.goal.y - y, scene.goal.x - x)
    return replace(scene, start=(x, y, _height(scene)), heading=heading)
