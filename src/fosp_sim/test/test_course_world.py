"""The paper's five tasks behind the interface of simulated worlds: protocol, cameras, commands, demonstrators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.horizon import needed_horizon_steps
from fosp_core.specs import CameraSpec, ObservationSpec, parse_spec
from fosp_sim.demonstration.demonstrators import make_demonstrator
from fosp_sim.env import Env, StepResult, make_arena
from fosp_sim.real_time import RealTimeTask
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.safety_gym.engine import Engine
from fosp_sim.task.safety_gym.layout import COURSES
from fosp_sim.task.safety_gym.world import CourseWorld
from fosp_sim.task.scenario import Scenario, read_scenario

CONFIG = Path(__file__).parents[3] / "config"
BOTH = ObservationSpec(
    cameras=(CameraSpec(), CameraSpec(name="back", topic="back/color/image_raw")),
)


def described(task: str) -> tuple[Scenario, RobotConfig]:
    scenario = read_scenario(CONFIG / "scenarios" / f"{task}.yaml")
    return scenario, read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml")


@pytest.mark.parametrize("task", COURSES)
def test_the_shipped_scenario_is_the_papers_task(task: str) -> None:
    scenario, robot = described(task)
    env = Env(scenario, robot, rendering="none", observation=BOTH)
    assert env.reset(3).images.shape == (2, 64, 64, 3)
    assert isinstance(env.world, CourseWorld)
    assert env.world.engine.course == COURSES[task]
    assert scenario.max_steps == 250
    assert env.timing.decision_s == pytest.approx(0.16 if task.startswith("car") else 0.08)
    assert robot.camera_frame_rate_hz == pytest.approx(1.0 / env.timing.frame_s)
    assert robot.command_rate_hz == pytest.approx(1.0 / env.timing.command_s)


def test_a_decision_is_four_environment_steps_of_the_library_with_the_first_one_late() -> None:
    scenario, robot = described("point_goal1")
    env, engine = Env(scenario, robot, rendering="none"), Engine(COURSES["point_goal1"])
    env.reset(0)
    engine.reset(scenario.seed)
    reward = cost = 0.0
    last = np.zeros(2)
    for decision in range(30):
        action = np.array([1.0, 0.2 * np.sin(decision)], np.float32)
        result = env.step(action)
        for repeat in range(4):
            twist = np.array(robot.action.scale) * (last if repeat == 0 else action)
            step = engine.step(env.world.control(twist))  # type: ignore[attr-defined]
            reward, cost = reward + step.reward, cost + step.cost
        last = action
        assert result.time == pytest.approx(0.08 * (decision + 1))
        assert engine.place("agent") == pytest.approx(tuple(env.world.position()[:2]), abs=1e-9)


def driven(task: str, kind: str, episode: int, steps: int) -> list[StepResult]:
    """Return what each decision of a demonstrator brings in an episode of so many of them."""
    scenario, robot = described(task)
    env = Env(scenario.model_copy(update={"max_steps": steps}), robot, rendering="none")
    env.reset(episode)
    driver = make_demonstrator(kind, env.scene, robot, episode)
    return [env.step(driver.act(env.world.state(), env.world.time)) for _ in range(steps)]


def test_a_time_limit_is_never_terminal_and_goals_continue() -> None:
    results = driven("point_goal1", "greedy", episode=1, steps=60)
    assert sum(result.success for result in results) >= 2
    assert [result.last for result in results] == [False] * 59 + [True]
    assert not any(result.terminal for result in results)


def test_the_careful_demonstrator_earns_reward_without_cost() -> None:
    results = driven("point_goal1", "careful", episode=2, steps=80)
    assert sum(result.reward for result in results) > 4.0
    assert sum(result.cost for result in results) == 0.0


def test_the_careful_demonstrator_pushes_the_box_to_its_goals_without_cost() -> None:
    results = driven("point_push1", "careful", episode=12, steps=150)
    assert sum(result.success for result in results) >= 2
    assert sum(result.cost for result in results) == 0.0


def test_front_and_back_camera_show_different_things_and_an_old_picture_shows_the_old_goal() -> None:
    scenario, robot = described("point_goal1")
    env = Env(scenario, robot, observation=BOTH)
    front, back = env.reset(0).images
    assert (front != back).any()
    world = env.world
    assert isinstance(world, CourseWorld)
    before, picture = world.snapshot(), env._painter.paint(None, 64, 64)[0]  # type: ignore[union-attr]
    world.model.body_pos[world.engine._bodies["goal"], :2] = (5.0, 5.0)
    assert (env._painter.paint(before, 64, 64)[0] == picture).all()  # type: ignore[union-attr]


def test_a_stop_is_no_thrust_and_the_point_coasts_as_its_robot_file_says() -> None:
    scenario, robot = described("point_goal1")
    world = CourseWorld(robot, "point_goal1", COURSES["point_goal1"])
    world.reset(draw_scene(scenario, 4))
    for _ in range(40):
        world.advance(np.array(robot.action.scale) * (1.0, 0.0))
    assert (world.control(np.zeros(2)) == 0.0).all()
    speed = float(np.hypot(*world.state().velocity))
    for _ in range(26):  # one time constant
        world.advance(np.zeros(2))
    assert float(np.hypot(*world.state().velocity)) == pytest.approx(speed * np.exp(-0.52 / robot.response_s), rel=0.02)


def test_the_point_brakes_itself_within_the_time_that_the_calibration_looks_ahead() -> None:
    scenario, robot = described("point_goal1")
    world = CourseWorld(robot, "point_goal1", COURSES["point_goal1"])
    world.reset(draw_scene(scenario, 4))
    scale = np.array(robot.action.scale)
    while world.state().twist[0] < 0.8 * scale[0]:
        world.advance(scale * (1.0, 0.0))
    speed, ticks = world.state().twist[0], 0
    while world.state().twist[0] > 0.0:
        world.advance(scale * (-1.0, 0.0))
        ticks += 1
    expected_s = robot.response_s * np.log(1.0 + speed / scale[0])
    assert ticks * world.timing.tick_s == pytest.approx(expected_s, abs=0.04)
    assert expected_s < needed_horizon_steps(robot, 0.08) * 0.08 < 2.0 * expected_s


def test_the_whole_range_of_the_actuators_can_be_reached() -> None:
    _, robot = described("car_goal2")
    car = CourseWorld(robot, "car_goal2", COURSES["car_goal2"])
    scale = np.array(robot.action.scale)
    corners = [car.control(scale * action) for action in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    assert np.allclose(np.array(corners), 0.02 * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]]))
    _, robot = described("point_push1")
    point = CourseWorld(robot, "point_push1", COURSES["point_push1"])
    assert np.allclose(point.control(np.array(robot.action.scale)), [0.05, 0.95])


def test_hazards_of_a_scenario_are_those_of_the_world() -> None:
    base = {"task": "point_goal1", "obstacles": {"count": 3, "size_m": [0.3, 0.3], "color": [0.5, 0.1, 0.7]}}
    scenario = parse_spec(Scenario, base, "s.yaml")
    assert len(draw_scene(scenario, 0).obstacles) == 3
    world = Env(scenario, described("point_goal1")[1], rendering="none").world
    assert isinstance(world, CourseWorld)
    assert world.engine.course.group("hazard").half == 0.3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("obstacles", "told"),
    [
        ({"count": [2, 3]}, "obstacles.count must be one number|count must be one number"),
        ({"count": 25}, "between 0 and 24"),
        ({"motion": "linear", "speed_m_s": 0.1}, "still discs"),
        ({"size_m": [0.1, 0.2]}, "one radius, twice"),
    ],
)
def test_hazards_that_these_tasks_do_not_have_are_refused(obstacles: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_spec(Scenario, {"task": "point_goal1", "obstacles": obstacles}, "s.yaml")


def test_in_real_time_an_episode_has_the_frames_of_its_decisions() -> None:
    scenario, robot = described("point_goal1")
    task = RealTimeTask(scenario.model_copy(update={"max_steps": 5}), robot, robot.camera_frame_rate_hz)
    task.begin(draw_scene(scenario, 0))
    shots = [task.tick(np.zeros(2)) for _ in range(24)]
    told = [shot.feedback for shot in shots if shot is not None and shot.feedback is not None]
    assert [feedback.is_last for feedback in told] == [False] * 4 + [True]
    with pytest.raises(UserError, match=r"must divide 50, such as 12\.5; got 40"):
        RealTimeTask(scenario, robot, 40.0)


def test_other_simulators_and_robots_are_refused() -> None:
    scenario, robot = described("point_goal1")
    with pytest.raises(UserError, match="runs in this simulator alone"):
        make_arena(scenario, robot)
    arm = read_robot(CONFIG / "robots" / "sim_arm.yaml")
    with pytest.raises(UserError, match="needs a base with axes"):
        Env(scenario, arm, rendering="none")
    with pytest.raises(UserError, match="has the cameras color, back, not side"):
        Env(scenario, robot, observation=ObservationSpec(cameras=(CameraSpec(name="side"),)))
