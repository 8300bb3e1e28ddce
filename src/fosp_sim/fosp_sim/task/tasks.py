"""The registry of simulated tasks: `TASKS` holds everything in which one task differs from another.

A new task takes a World in a module of its own, an entry here, and its scenario files in config/scenarios. Worlds and
drivers are imported when they are built, so that a scenario can be read where MuJoCo is not installed.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.mjcf import ARM_CAMERA
from fosp_sim.task.safety_gym.layout import COURSES, Course
from fosp_sim.task.safety_gym.scenes import draw_course_scene
from fosp_sim.task.scene import Scene

if TYPE_CHECKING:
    from fosp_sim.task.drivers import Driver
    from fosp_sim.task.world import SimulatedWorld


ENTRY_POINTS = "fosp_sim.tasks"
"""Group of entry points by which a package of others adds tasks: NAME = package.module:task, a Task."""
GYMNASIUM = "gymnasium"
"""The task whose scenario names an environment of others."""


class ScenarioLike(Protocol):
    """A scenario, as far as a task reads it (fosp_sim.task.scenario.Scenario)."""

    @property
    def task(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def obstacles(self) -> Any: ...
    @property
    def goal(self) -> Any: ...


@dataclass(frozen=True)
class Layout:
    """The geometry in which the scenes of a task are drawn, in m and rad."""

    lower: tuple[float, float]
    upper: tuple[float, float]
    """Corners of the rectangle in which start, goal and obstacles lie."""
    start_heights: tuple[float, float]
    goal_heights: tuple[float, float]
    obstacle_heights: tuple[float, float]
    """Ranges above the ground from which heights are drawn; that of an obstacle is its top."""
    distance: tuple[float, float]
    """Range of the distance from start to goal on the ground."""
    room: float
    """Distance from every footprint that a path must keep; start and goal keep a little more."""
    detour: float
    """Length of the longest acceptable path, as a multiple of the distance."""
    blocking: float
    """Probability that an obstacle stands near the straight line from start to goal."""
    heading: float
    """Largest angle between the robot's heading at the start and the bearing of the goal; 0 for an arm."""
    camera: tuple[float, float, float] | None
    """Position of a fixed camera, which must see start and goal past the obstacles; None for a moving camera."""


@dataclass(frozen=True)
class Task:
    """Everything that the simulator knows about one task."""

    robot: str
    """Name of the default robot: config/robots/NAME.yaml."""
    layout: Layout
    obstacles: Mapping[str, Any]
    goal: Mapping[str, Any]
    """Defaults of the scenario file's `obstacles` and `goal` sections: tasks differ in scale."""
    world: Callable[[RobotConfig], SimulatedWorld]
    """Build the physics with its rewards, costs and termination. Raise UserError for a robot of another kind."""
    driver: Callable[[Scene, tuple[float, ...]], Driver]
    """Build the privileged controller of a scene, given the action scale (n,) in m/s and rad/s."""
    max_steps: int = 100
    """Default of the scenario file's time limit, in decisions."""
    continuing: bool = False
    """Goals follow one another until the time limit, which is not terminal; costs are summed."""
    course: Course | None = None
    """The objects of a task of Safety-Gymnasium."""
    build: Callable[[RobotConfig, Any], SimulatedWorld] | None = None
    """Build the physics in place of `world` where the scenario decides on more than the scenes."""
    demonstrator: str = ""
    """Import path of what makes a scripted driver from kind, scene, robot, random generator and `noise`, in place of
    the common one; a text, because a task does not know who demonstrates it."""
    draw: Callable[[Any, int], Scene] | None = None
    """Draw the scene of an episode in place of what `layout` says. Raise UserError where there is none."""


def _arm_world(robot: RobotConfig) -> SimulatedWorld:
    from fosp_sim.task.arm_world import ArmWorld

    return ArmWorld(robot)


def _base_world(robot: RobotConfig) -> SimulatedWorld:
    from fosp_sim.task.base_world import BaseWorld

    return BaseWorld(robot)


def _arm_driver(scene: Scene, scale: tuple[float, ...]) -> Driver:
    from fosp_sim.task.drivers import ArmDriver

    return ArmDriver(scene, scale)


def _base_driver(scene: Scene, scale: tuple[float, ...]) -> Driver:
    from fosp_sim.task.drivers import BaseDriver

    return BaseDriver(scene, scale)


def _course_driver(scene: Scene, scale: tuple[float, ...]) -> Driver:
    raise UserError(f"{scene.task} has demonstrators of its own (fosp_sim.demonstration)")


def _course_task(name: str, course: Course) -> Task:
    """Return the entry of one of the paper's five tasks; a scenario may change its hazards and its goal."""
    hazards, goal = course.group("hazard"), course.group("goal")
    assert hazards is not None
    assert goal is not None

    def of(scenario: ScenarioLike) -> Course:
        hazards, goal = scenario.obstacles, scenario.goal
        changed = course.with_hazards(hazards.count_range[0], hazards.size_m[0], hazards.colors[0])
        return changed.with_goal(goal.radius_m, goal.colors[0])

    def world(robot: RobotConfig) -> SimulatedWorld:
        from fosp_sim.task.safety_gym.world import CourseWorld

        return CourseWorld(robot, name, course)

    def build(robot: RobotConfig, scenario: ScenarioLike) -> SimulatedWorld:
        from fosp_sim.task.safety_gym.world import CourseWorld

        return CourseWorld(robot, name, of(scenario))

    def draw(scenario: ScenarioLike, episode: int) -> Scene:
        return draw_course_scene(name, of(scenario), scenario.seed + episode, episode)

    corner = course.half_width
    return Task(
        robot=f"sim_{course.robot}",
        layout=Layout(
            lower=(-corner, -corner),
            upper=(corner, corner),
            start_heights=(0.0, 0.0),
            goal_heights=(0.0, 0.0),
            obstacle_heights=(0.02, 0.02),
            distance=(0.0, 4.0 * corner),
            room=0.0,
            detour=math.inf,
            blocking=0.0,
            heading=math.pi,
            camera=None,
        ),
        obstacles={
            "count": hazards.count,
            "shape": "cylinder",
            "size_m": (hazards.half, hazards.half),
            "color": hazards.color,
        },
        goal={"shape": "cylinder", "radius_m": goal.half, "color": goal.color},
        world=world,
        driver=_course_driver,
        max_steps=250,
        continuing=True,
        course=course,
        build=build,
        draw=draw,
        demonstrator="fosp_sim.demonstration.course_driver:CourseDemonstrator",
    )


def _pick_world(robot: RobotConfig) -> SimulatedWorld:
    world: SimulatedWorld = load_attribute("fosp_sim.pick.world:PickWorld")(robot)
    return world


def _pick_driver(scene: Scene, scale: tuple[float, ...]) -> Driver:
    driver: Driver = load_attribute("fosp_sim.pick.driver:PickDriver")(scene, scale)
    return driver


def _draw_pick(scenario: ScenarioLike, episode: int) -> Scene:
    scene: Scene = load_attribute("fosp_sim.pick.scene:draw_pick_scene")(scenario, episode)
    return scene


_NO_LAYOUT = Layout((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), 0.0, 1.0, 0.0, 0.0, None)


def _no_world(robot: RobotConfig) -> SimulatedWorld:
    raise UserError("task gymnasium needs a scenario with make: package.module:factory")


def _build_plugged(robot: RobotConfig, scenario: Any) -> SimulatedWorld:
    from fosp_sim.task.plugged.checked import one_line
    from fosp_sim.task.plugged.environment import as_camera_environment
    from fosp_sim.task.plugged.world import PluggedWorld

    factory, options = load_attribute(scenario.make), dict(scenario.options)
    step_s = options.pop("step_s", None)
    with one_line(scenario.make):
        made = as_camera_environment(factory(**options), step_s)
    return PluggedWorld(robot, made, scenario.action_repeat)


def _draw_plugged(scenario: Any, episode: int) -> Scene:
    from fosp_sim.task.plugged.world import plugged_scene

    return plugged_scene(scenario.task, scenario.seed + episode, episode, scenario.driver)


TASKS: dict[str, Task] = {
    "safe_reach": Task(
        robot="sim_arm",
        layout=Layout(
            lower=(0.32, -0.34),
            upper=(0.72, 0.34),
            start_heights=(0.08, 0.24),
            goal_heights=(0.08, 0.24),
            obstacle_heights=(0.24, 0.29),
            distance=(0.30, 0.75),
            room=0.065,
            detour=1.4,
            blocking=0.4,
            heading=0.0,
            camera=ARM_CAMERA,
        ),
        obstacles={"count": 3, "size_m": (0.03, 0.06)},
        goal={"radius_m": 0.04},
        world=_arm_world,
        driver=_arm_driver,
    ),
    "safe_goal": Task(
        robot="sim_base",
        layout=Layout(
            lower=(-1.15, -1.15),
            upper=(1.15, 1.15),
            start_heights=(0.0, 0.0),
            goal_heights=(0.40, 0.40),  # a beacon that shows above the obstacles
            obstacle_heights=(0.26, 0.34),
            distance=(0.8, 1.3),
            room=0.22,
            detour=1.4,
            blocking=0.4,
            heading=0.45,
            camera=None,
        ),
        obstacles={"count": 4, "size_m": (0.08, 0.14)},
        goal={"radius_m": 0.10},
        world=_base_world,
        driver=_base_driver,
    ),
    "safe_pick": Task(
        robot="sim_pick",
        layout=_NO_LAYOUT,
        obstacles={"count": 2, "size_m": (0.03, 0.05)},
        goal={"shape": "cylinder", "radius_m": 0.07},
        world=_pick_world,
        driver=_pick_driver,
        max_steps=200,
        draw=_draw_pick,
    ),
    **{name: _course_task(name, course) for name, course in COURSES.items()},
    GYMNASIUM: Task(
        robot="",
        layout=_NO_LAYOUT,
        obstacles={},
        goal={},
        world=_no_world,
        driver=_course_driver,
        max_steps=250,
        continuing=True,
        build=_build_plugged,
        draw=_draw_plugged,
        demonstrator="fosp_sim.demonstration.plugged_driver:PluggedDriver",
    ),
}


def load_attribute(path: str) -> Any:
    """Return what `package.module:name` names. Raise UserError when it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"'{path}' cannot be imported: {error}; write package.module:name") from None
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a module of others does while it is imported
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"'{path}' cannot be imported: {said}") from error


def known_tasks() -> tuple[str, ...]:
    """Return the names of all tasks: those of TASKS, and those that installed packages bring along."""
    return (*TASKS, *(point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in TASKS))


def find_task(name: str) -> Task:
    """Return the task called `name`. Raise UserError, which lists the known tasks, when there is none."""
    if name in TASKS:
        return TASKS[name]
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return _plugged_task(point)
    raise UserError(f"unknown task '{name}'; known tasks: {', '.join(known_tasks())}")


def _plugged_task(point: EntryPoint) -> Task:
    try:
        task = point.load()
    except Exception as error:  # whatever a package of others does while it is imported
        raise UserError(f"task '{point.name}': {point.value} cannot be imported: {error}") from None
    if not isinstance(task, Task):
        raise UserError(f"task '{point.name}': {point.value} is not a fosp_sim.task.tasks.Task")
    return task
