"""Environments of others: the example of docs/plug_in.md as it stands there, and what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.env import Env
from fosp_sim.task import tasks
from fosp_sim.task.plugged.environment import FromGymnasium, StepOutcome, as_camera_environment
from fosp_sim.task.scenario import Scenario, read_scenario

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plug_in.md").read_text()


def block(first: str) -> str:
    """Return the code block of the page that follows the text `first`."""
    found = re.search(re.escape(first) + r".*?\n```\w+\n(.*?)\n```", PAGE, re.DOTALL)
    assert found, first
    return found.group(1) + "\n"


class Corridor:
    """A CameraEnvironment of two cameras: a light moves along a line, and the left half costs."""

    step_s = 0.05
    low, high = np.array([-2.0]), np.array([2.0])
    broken: StepOutcome | None = None

    def reset(self, seed: int) -> None:
        self.place, self.steps = 0.5 + 0.01 * (seed % 10), 0

    def step(self, action: np.ndarray) -> StepOutcome:
        self.place = float(np.clip(self.place + 0.05 * action[0], 0.0, 1.0))
        self.steps += 1
        if self.broken is not None:
            return self.broken
        return StepOutcome(
            self.place, float(self.place < 0.5), terminated=self.place >= 1.0, truncated=self.steps >= 40
        )

    def images(self) -> Mapping[str, np.ndarray]:
        ahead = np.zeros((32, 32, 3), np.uint8)
        ahead[:, int(31 * self.place)] = 255
        return {"color": ahead, "side": 255 - ahead}


class DrawsAnew(Corridor):
    """Ignores the seed."""

    drawn = 0

    def reset(self, seed: int) -> None:
        self.drawn += 1
        super().reset(seed + self.drawn)


def make_corridor(broken: str = "", seeded: bool = True) -> Corridor:
    made = Corridor() if seeded else DrawsAnew()
    made.broken = {"nan": StepOutcome(float("nan"), 0.0), "negative": StepOutcome(0.0, -1.0)}.get(broken)
    return made


@pytest.fixture
def corridor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Scenario, RobotConfig]:
    """A scenario and a robot of Corridor."""
    monkeypatch.setitem(sys.modules, "corridor_task", SimpleNamespace(make=make_corridor))  # type: ignore[arg-type]
    robot = block("`reacher_robot.yaml`").replace("    - {name: angular.x, scale: 1.0}\n", "")
    robot = re.sub(r"  angular.x: .*\n", "", robot).replace("hz: 50.0", "hz: 20.0").replace("hz: 25.0", "hz: 10.0")
    (tmp_path / "robot.yaml").write_text(robot)
    text = f"task: gymnasium\nmake: corridor_task:make\nrobot_file: {tmp_path}/robot.yaml\naction_repeat: 2\n"
    (tmp_path / "scenario.yaml").write_text(text)
    return read_scenario(tmp_path / "scenario.yaml"), read_robot(tmp_path / "robot.yaml")


def test_rewards_and_costs_are_summed_over_a_decision_and_only_the_end_of_the_task_is_terminal(
    corridor: tuple[Scenario, RobotConfig],
) -> None:
    env = Env(*corridor, rendering="native")
    env.reset(0)
    left = [env.step(np.array([-1.0])) for _ in range(3)]
    assert left[-1].cost == 2.0
    assert not left[-1].last
    env.reset(0)
    right = [env.step(np.array([1.0])) for _ in range(4)]
    assert right[-1].terminal
    env.reset(0)
    still = [env.step(np.array([0.0])) for _ in range(20)]
    assert still[-1].last
    assert not still[-1].terminal
    assert still[-1].time == pytest.approx(2.0)


def test_a_recording_names_the_decision_period_and_holds_both_cameras(
    corridor: tuple[Scenario, RobotConfig], tmp_path: Path
) -> None:
    from fosp_learner.data.bag_sets import decision_period_of
    from fosp_learner.data.bags import bag_topics, find_bags

    (outcome,) = record_episodes(*corridor, "random", 1, tmp_path / "bags")
    bags = find_bags([tmp_path / "bags"])
    assert decision_period_of(bags) == pytest.approx(0.1)
    assert {"camera/color/image_raw", "side/color/image_raw"} <= bag_topics(bags[0])
    assert outcome.steps <= 20


@pytest.mark.parametrize(("broken", "told"), [("nan", "reward is nan"), ("negative", "cost is -1.0")])
def test_a_reward_or_cost_that_is_none_ends_the_run(
    corridor: tuple[Scenario, RobotConfig], broken: str, told: str
) -> None:
    scenario, robot = corridor
    env = Env(scenario.model_copy(update={"options": {"broken": broken}}), robot, rendering="none")
    env.reset(0)
    with pytest.raises(UserError, match=told):
        env.step(np.array([0.0]))


def test_an_environment_whose_seed_gives_no_episode_again_is_told_of(
    corridor: tuple[Scenario, RobotConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, robot = corridor
    Env(scenario, robot, rendering="none")
    assert capsys.readouterr().err == ""
    Env(scenario.model_copy(update={"options": {"seeded": False}}), robot, rendering="none")
    assert capsys.readouterr().err.startswith("fosp: DrawsAnew: reset(seed=0) looks different the second time")


def test_what_does_not_fit_is_told_in_one_line(corridor: tuple[Scenario, RobotConfig], tmp_path: Path) -> None:
    scenario, robot = corridor
    for update, told in (
        ({"make": "corridor_task:nothing"}, "cannot be imported"),
        ({"options": {"nonsense": 1}}, "unexpected keyword"),
        ({"action_repeat": 3}, "camera_frame_rate_hz must be 6.66667"),
    ):
        with pytest.raises(UserError, match=told):
            Env(scenario.model_copy(update=update), robot)
    with pytest.raises(UserError, match="by --demonstrator random alone"):
        list(record_episodes(scenario, robot, "careful", 1, tmp_path / "none"))
    with pytest.raises(UserError, match="neither a Gymnasium environment"):
        as_camera_environment(object())
    (tmp_path / "wrong.yaml").write_text("task: gymnasium\nmake: corridor_task\nrobot_file: x\n")
    with pytest.raises(UserError, match="make: String should match pattern"):
        read_scenario(tmp_path / "wrong.yaml")


def fails(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("the hand\nis gone")


def pictures(change: Callable[[Corridor, dict[str, Any]], Any]) -> dict[str, Any]:
    """Return what replaces the pictures of Corridor by what `change` makes of them."""
    return {"images": lambda self: change(self, dict(Corridor.images(self)))}


def outcome(**fields: Any) -> dict[str, Any]:
    """Return what replaces the outcomes of Corridor's steps."""
    return {"step": lambda self, action: StepOutcome(**{"reward": 0.0, "cost": 0.0, **fields})}


def first_decision(scenario: Scenario, robot: RobotConfig) -> None:
    env = Env(scenario, robot, rendering="native")
    env.reset(0)
    env.step(np.array([0.5]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"reset": fails}, r"Broken.reset fails: RuntimeError: the hand is gone \(test_plugged_environment.py, line"),
        ({"step": fails}, "Broken.step fails: RuntimeError"),
        ({"images": fails}, "Broken.images fails: RuntimeError"),
        *[({"step_s": value}, "length of a step must be above 0") for value in (0, -0.05, float("nan"), "a", None)],
        ({"low": -2.0, "high": 2.0}, "must be a vector with a lower and an upper bound"),
        ({"high": np.array([2.0, 2.0])}, "must be a vector with a lower and an upper bound"),
        ({"low": np.array([2.0]), "high": np.array([-2.0])}, "no finite bounds, the lower below the upper"),
        ({"low": np.array([-np.inf])}, "no finite bounds"),
        ({"low": np.array([np.nan])}, "no finite bounds"),
        (pictures(lambda self, given: {name: one / 255 for name, one in given.items()}), r"\(32, 32, 3\) float64"),
        (pictures(lambda self, given: {name: one[:0] for name, one in given.items()}), r"\(0, 32, 3\) uint8"),
        (pictures(lambda self, given: {"color": None}), r"got \(\) object"),
        (pictures(lambda self, given: given["color"]), "for each camera by name, got a ndarray"),
        (pictures(lambda self, given: {name: 0 * one for name, one in given.items()}), "of one colour all over"),
        (pictures(lambda self, given: {"color": given["color"], "a b": given["side"]}), "cannot name a camera"),
        (pictures(lambda self, given: {"color": given["color"], "camera": given["side"]}), "are those of 'color'"),
        (
            pictures(lambda self, given: {n: np.tile(one, (1 + self.steps, 1, 1)) for n, one in given.items()}),
            "cameras and sizes must stay: color 32x32, side 32x32 became color 32x96, side 32x96",
        ),
        (
            pictures(lambda self, given: dict(list(given.items())[: 2 - self.steps // 2])),
            "side 32x32 became color 32x32$",
        ),
        ({"step": lambda self, action: (0.0, 0.0, False, False, {})}, "must return a StepOutcome, got a tuple"),
        ({"step": lambda self, action: None}, "must return a StepOutcome, got nothing"),
        (outcome(reward="much"), "reward is much"),
        (outcome(reward=np.zeros(2)), "reward is"),
        (outcome(reward=1e300), r"reward is 1e\+300"),
        (outcome(cost=None), "cost is None"),
        (outcome(terminated=float("nan")), "terminated is nan; it must be True or False"),
        (outcome(success=np.array([True, False])), "success is"),
    ],
)
def test_whatever_an_environment_does_wrong_is_one_line(
    corridor: tuple[Scenario, RobotConfig], monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], told: str
) -> None:
    broken = type("Broken", (Corridor,), wrong)
    monkeypatch.setitem(sys.modules, "corridor_task", SimpleNamespace(make=broken))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=told) as raised:
        first_decision(*corridor)
    assert "\n" not in str(raised.value)


def test_bounds_and_pictures_are_those_of_their_moment(
    corridor: tuple[Scenario, RobotConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reused(Corridor):
        """Paints into one array, and changes its bounds and the action that it is given."""

        def __init__(self) -> None:
            self.low, self.high = Corridor.low.copy(), Corridor.high.copy()
            self.canvas = np.zeros((32, 32, 3), np.uint8)

        def step(self, action: np.ndarray) -> StepOutcome:
            outcome = super().step(action)
            action.fill(9.0)
            self.low.fill(-9.0)
            return outcome

        def images(self) -> Mapping[str, np.ndarray]:
            self.canvas[:] = super().images()["color"]
            return {"color": self.canvas}

    steps = {}
    for made in (Corridor, Reused):
        monkeypatch.setitem(sys.modules, "corridor_task", SimpleNamespace(make=made))  # type: ignore[arg-type]
        env = Env(*corridor, rendering="native")
        begun = env.reset(0)
        steps[made] = [begun, *(env.step(np.array([0.5])) for _ in range(3))]
    for theirs, ours in zip(steps[Reused], steps[Corridor], strict=True):
        assert (theirs.images == ours.images).all()


def test_a_robot_that_does_not_fit_the_steps_is_refused(corridor: tuple[Scenario, RobotConfig]) -> None:
    scenario, robot = corridor
    with pytest.raises(UserError, match=r"command_rate_hz must be 20, a command for each step of 0\.05 s; it is 100"):
        Env(scenario, robot.model_copy(update={"command_rate_hz": 100.0}))
    gripper = {
        **{"how": "array", "topic": "fingers", "joint": "finger", "closed": 0.0, "open": 0.04, "max_rate": 0.1},
        "feedback_topic": "finger_states",
    }
    held = RobotConfig.model_validate({**robot.model_dump(mode="json"), "gripper": gripper})
    with pytest.raises(UserError, match="has a gripper"):
        Env(scenario, held)


def test_a_module_or_driver_that_fails_is_one_line(
    corridor: tuple[Scenario, RobotConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, robot = corridor
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text, told in (
        ("mistyped_task", "def make(:\n", "cannot be imported: SyntaxError: "),
        ("leaving_task", "raise SystemExit(0)\n", "cannot be imported: SystemExit: 0"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(UserError, match=told):
            Env(scenario.model_copy(update={"make": f"{name}:make"}), robot)
    drivers = SimpleNamespace(none=fails, later=lambda rng: fails, text=lambda rng: lambda environment: "left")
    monkeypatch.setitem(sys.modules, "their_drivers", drivers)  # type: ignore[arg-type]
    for name in ("none", "later", "text"):
        driven = scenario.model_copy(update={"driver": f"their_drivers:{name}"})
        with pytest.raises(UserError, match=f"driver their_drivers:{name} fails: "):
            list(record_episodes(driven, robot, "careful", 1, tmp_path / "bags"))
    assert not list((tmp_path / "bags").iterdir())


def test_pictures_that_are_smaller_than_what_a_bundle_sees_are_refused(corridor: tuple[Scenario, RobotConfig]) -> None:
    seen = ObservationSpec(cameras=(CameraSpec(height=64, width=64),))
    with pytest.raises(UserError, match="the pictures of task 'gymnasium' are 32x32, smaller than the 64x64"):
        Env(*corridor, observation=seen)
    Env(*corridor, observation=ObservationSpec(cameras=(CameraSpec(height=32, width=32),)))


def test_a_length_of_a_step_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(UserError, match="leave step_s out of the options"):
        as_camera_environment(Corridor(), 0.02)


def test_a_step_without_a_cost_is_refused() -> None:
    space = SimpleNamespace(low=np.array([-1.0]), high=np.array([1.0]), dtype=np.float32)
    env: Any = SimpleNamespace(
        action_space=space, render_mode="rgb_array", dt=0.1, step=lambda a: (0, 1.0, False, False, {})
    )
    with pytest.raises(UserError, match="no info\\['cost'\\]"):
        FromGymnasium(env).step(np.zeros(1))
    env.step = lambda action: (0, 1.0)
    with pytest.raises(UserError, match="neither Gymnasium's five nor Safety-Gymnasium's six values"):
        FromGymnasium(env).step(np.zeros(1))
    env.step = lambda action: (0, 1.0, 3.0, False, True, {"goal_met": True})  # Safety-Gymnasium's six values
    assert FromGymnasium(env).step(np.zeros(1)) == StepOutcome(1.0, 3.0, False, True, True)


def test_a_package_brings_a_task_along(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    points = [
        EntryPoint("their_task", "their_package:TASK", tasks.ENTRY_POINTS),
        EntryPoint("their_mistake", "their_package:make", tasks.ENTRY_POINTS),
        EntryPoint("their_absence", "no_such_package:TASK", tasks.ENTRY_POINTS),
    ]
    monkeypatch.setattr(tasks, "entry_points", lambda group: points)
    module = SimpleNamespace(TASK=tasks.TASKS["safe_goal"], make=make_corridor)
    monkeypatch.setitem(sys.modules, "their_package", module)  # type: ignore[arg-type]
    assert tasks.find_task("their_task") is tasks.TASKS["safe_goal"]
    assert Scenario(task="their_task").robot == "sim_base"
    with pytest.raises(UserError, match=r"is not a fosp_sim\.task\.tasks\.Task"):
        tasks.find_task("their_mistake")
    with pytest.raises(UserError, match="cannot be imported"):
        tasks.find_task("their_absence")


def test_the_example_of_the_page_records_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium", reason="pip install gymnasium==1.4.0 cloudpickle farama-notifications imageio")
    for name in ("reacher_task.py", "reacher.yaml", "reacher_robot.yaml"):
        (tmp_path / name).write_text(block(f"`{name}`"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    scenario = read_scenario(Path("reacher.yaml"))
    robot = read_robot(Path(scenario.robot))
    outcomes = list(record_episodes(scenario, robot, "careful", 2, tmp_path / "bags"))
    assert all(outcome.steps == 25 for outcome in outcomes)  # Reacher truncates after 50 of its own steps
    assert any(outcome.reached for outcome in outcomes)
    from fosp_learner.config import LearnerConfig
    from fosp_learner.data.bag_sets import with_period_of
    from fosp_learner.data.bags import check_bags, find_bags

    config = with_period_of(LearnerConfig(), find_bags([tmp_path / "bags"]))
    assert config.decision_period_s == pytest.approx(0.04)
    reports = check_bags([tmp_path / "bags"], config.observation, robot, config.decision_period_s)
    assert [report.problem for report in reports] == ["", ""]
