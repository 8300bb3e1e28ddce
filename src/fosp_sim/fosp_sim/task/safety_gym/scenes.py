"""The scenes of the five tasks, drawn without physics."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import RandomState

from fosp_core.errors import UserError
from fosp_sim.task.safety_gym.layout import Course, LayoutDrawer, NoPlace
from fosp_sim.task.scene import Goal, Obstacle, Scene


@dataclass(frozen=True)
class CourseScene(Scene):
    """The scene of one episode; its physics follow from the seed alone."""

    seed: int = 0
    course: Course | None = None
    """The objects of the task, as the scenario has them."""


def draw_course_scene(task: str, course: Course, seed: int, episode: int) -> CourseScene:
    """Return the scene of the episode with `seed`. Raise UserError when the objects do not fit."""
    rng = RandomState(seed % 2**32)
    drawer = LayoutDrawer(course)
    try:
        layout = drawer.draw(rng)
        if course.rule == "button":
            goal = layout.places[f"button{int(rng.choice(4))}"]
        else:
            goal = drawer.draw_goal(rng, {name: place for name, place in layout.places.items() if name != "goal"})
    except NoPlace as error:
        raise UserError(f"episode {episode} of {task}: {error}; use fewer or smaller obstacles") from None
    described = course.group("goal")
    hazards = course.group("hazard")
    assert described is not None
    assert hazards is not None
    x, y = layout.places["agent"]
    return CourseScene(
        task=task,
        episode=episode,
        start=(x, y, 0.0),
        heading=forward_heading(course, layout.angles["agent"]),
        goal=Goal(goal[0], goal[1], 0.0, described.half, "cylinder", described.color),
        obstacles=tuple(
            Obstacle("cylinder", *layout.places[name], 0.0, hazards.half, 0.02, hazards.color)
            for name in hazards.members
        ),
        seed=seed % 2**32,
        course=course,
    )


def forward_heading(course: Course, yaw: float) -> float:
    """Return the heading of a robot whose body is turned by `yaw`, rad: the car drives along its negative y axis."""
    return yaw - math.pi / 2 if course.robot == "car" else yaw
