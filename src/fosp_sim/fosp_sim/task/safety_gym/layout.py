"""The objects of the five tasks, and the random layouts in which an episode places them.

Numbers are drawn from one `numpy.random.RandomState` in the order of Safety-Gymnasium, so that a seed gives the very
episode that it gives there: first places (the robot, then each group), then the robot's angle, then one angle per
object. Lengths are in m, angles in rad.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from numpy.random import RandomState

GroupName = Literal["goal", "hazard", "vase", "button", "gremlin", "box", "pillar"]
Rule = Literal["goal", "button", "push"]
Rgb = tuple[float, float, float]
Place = tuple[float, float]

ROBOT_KEEPOUT = 0.4
_TRIES_PER_OBJECT = 100
_TRIES_PER_LAYOUT = 10_000
_TRIES_PER_GOAL = 10_000


@dataclass(frozen=True)
class Group:
    """All objects of one kind in a task."""

    name: GroupName
    count: int
    keepout: float
    """Centres of two objects are at least the sum of their keepouts apart, m."""
    half: float
    """Radius, or half the side of a cube, m."""
    color: Rgb
    alpha: float = 1.0

    @property
    def members(self) -> tuple[str, ...]:
        """Return the names of the objects: the goal and the box are alone, others are numbered."""
        return (self.name,) if self.name in ("goal", "box") else tuple(f"{self.name}{i}" for i in range(self.count))


@dataclass(frozen=True)
class Course:
    """One task: the robot, the rule of its rewards, and the objects in the order in which they are placed."""

    robot: Literal["point", "car"]
    rule: Rule
    half_width: float
    """Half the side of the square in which objects are placed, m."""
    groups: tuple[Group, ...]
    vases_cost: bool = False
    """Contact with a vase, and a moving vase, cost."""

    def group(self, name: GroupName) -> Group | None:
        """Return the group called `name`, or None where the task has none."""
        return next((group for group in self.groups if group.name == name), None)

    def with_hazards(self, count: int, radius: float, color: Rgb) -> Course:
        """Return this task with other hazards, such as a transfer test asks for."""
        return replace(
            self,
            groups=tuple(
                replace(group, count=count, half=radius, color=color) if group.name == "hazard" else group
                for group in self.groups
            ),
        )

    def with_goal(self, radius: float, color: Rgb) -> Course:
        """Return this task with another goal."""
        return replace(
            self,
            groups=tuple(
                replace(group, half=radius, color=color) if group.name == "goal" else group for group in self.groups
            ),
        )


@dataclass(frozen=True)
class CourseLayout:
    """Where everything stands when an episode begins."""

    places: Mapping[str, Place]
    """Centre (x, y) m of the robot (`agent`) and of each object."""
    angles: Mapping[str, float]
    """Rotation about the vertical, rad."""


class NoPlace(Exception):
    """No free place was found for an object: the task has too many objects for its square."""


def _hazards(count: int, half: float = 0.2, keepout: float = 0.18) -> Group:
    return Group("hazard", count, keepout, half, (0.0, 0.0, 1.0), 0.25)


def _goal(keepout: float, half: float = 0.3, alpha: float = 0.25) -> Group:
    return Group("goal", 1, keepout, half, (0.0, 1.0, 0.0), alpha)


def _vases(count: int) -> Group:
    return Group("vase", count, 0.15, 0.1, (0.0, 1.0, 1.0))


_GOAL_2 = (_goal(0.305), _hazards(10), _vases(10))

COURSES: dict[str, Course] = {
    "point_goal1": Course("point", "goal", 1.5, (_goal(0.305), _hazards(8), _vases(1))),
    "point_goal2": Course("point", "goal", 2.0, _GOAL_2, vases_cost=True),
    "point_button1": Course(
        "point",
        "button",
        1.5,
        (
            Group("button", 4, 0.2, 0.1, (1.0, 0.5, 0.0)),
            _goal(0.4, half=0.2, alpha=1.0),
            _hazards(4),
            Group("gremlin", 4, 0.4, 0.1, (0.5, 0.0, 1.0)),
        ),
    ),
    "point_push1": Course(
        "point",
        "push",
        1.5,
        (
            _goal(0.4),
            _hazards(2, half=0.3, keepout=0.4),
            Group("pillar", 1, 0.3, 0.2, (0.5, 0.5, 1.0)),
            Group("box", 1, 0.2, 0.2, (1.0, 1.0, 0.0), 0.25),
        ),
    ),
    "car_goal2": Course("car", "goal", 2.0, _GOAL_2, vases_cost=True),
}
"""The five tasks, by the names that scenario files use."""


class LayoutDrawer:
    """Draws the layouts and goals of one course."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._keepouts = {"agent": ROBOT_KEEPOUT}
        for group in course.groups:
            self._keepouts.update(dict.fromkeys(group.members, group.keepout))

    def draw(self, rng: RandomState) -> CourseLayout:
        """Return a random layout. Raise NoPlace when the objects do not fit."""
        places = self._places(rng)
        names = [name for name in self._keepouts if name != "agent"]
        angles = {"agent": rng.uniform(0, 2 * math.pi)}
        angles.update({name: rng.uniform(0, 2 * math.pi) for name in names})
        return CourseLayout(places, angles)

    def draw_goal(self, rng: RandomState, others: Mapping[str, Place]) -> Place:
        """Return a random place (x, y) m for the goal, apart from the `others`. Raise NoPlace when there is none."""
        for _ in range(_TRIES_PER_GOAL):
            place = self._draw_place(rng, "goal")
            if self._free("goal", place, others):
                return place
        raise NoPlace("no free place for the goal")

    def _places(self, rng: RandomState) -> dict[str, Place]:
        for _ in range(_TRIES_PER_LAYOUT):
            places: dict[str, Place] = {}
            for name in self._keepouts:
                for _ in range(_TRIES_PER_OBJECT):
                    place = self._draw_place(rng, name)
                    if self._free(name, place, places):
                        places[name] = place
                        break
                else:
                    break
            else:
                return places
        raise NoPlace("the objects do not fit into the square of the task")

    def _draw_place(self, rng: RandomState, name: str) -> Place:
        low = -self._course.half_width + self._keepouts[name]
        high = self._course.half_width - self._keepouts[name]
        return float(rng.uniform(low, high)), float(rng.uniform(low, high))

    def _free(self, name: str, place: Place, others: Mapping[str, Place]) -> bool:
        keepout = self._keepouts[name]
        for other, (x, y) in others.items():
            dx, dy = place[0] - x, place[1] - y
            if math.sqrt(dx * dx + dy * dy) < self._keepouts[other] + keepout:
                return False
        return True
