"""Scenario files: what is not allowed is told in one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fosp_core.errors import UserError
from fosp_core.specs import parse_spec
from fosp_sim.task.scenario import Scenario, read_scenario

SCENARIOS = sorted((Path(__file__).parents[3] / "config" / "scenarios").glob("*.yaml"))


def message(**keys: Any) -> str:
    with pytest.raises(UserError) as refused:
        parse_spec(Scenario, keys, "file.yaml")
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_shipped_scenario_is_valid(path: Path) -> None:
    assert read_scenario(path).task in path.stem


@pytest.mark.parametrize("task", ["safe_reach", "safe_goal"])
def test_demonstrations_and_evaluation_share_no_seed(task: str) -> None:
    folder = SCENARIOS[0].parent
    train, evaluation = (read_scenario(folder / f"{task}{part}.yaml") for part in ("_train", ""))
    assert evaluation.seed + 1_000_000 <= train.seed
    assert evaluation.model_copy(update={"seed": 0, "episodes": 1}) == train.model_copy(
        update={"seed": 0, "episodes": 1}
    )


def test_only_the_task_is_required() -> None:
    assert parse_spec(Scenario, {"task": "safe_goal"}, "file.yaml").max_steps == 100
    assert "task" in message()


def test_lengths_default_to_the_scale_of_the_task() -> None:
    reach, goal = (
        parse_spec(Scenario, {"task": t, "obstacles": {"shape": "box"}}, "") for t in ("safe_reach", "safe_goal")
    )
    assert reach.obstacles.size_m < goal.obstacles.size_m
    assert reach.obstacles.shape == goal.obstacles.shape == "box"


def test_an_unknown_key_is_named_with_the_allowed_ones() -> None:
    text = message(task="safe_reach", obstacle={})
    assert "file.yaml" in text
    assert "'obstacle'" in text
    assert "obstacles" in text.split("allowed")[1]


def test_an_unknown_nested_key_is_named_with_its_neighbours() -> None:
    text = message(task="safe_reach", camera={"noise": 1})
    assert "'camera.noise'" in text
    assert "noise_std" in text.split("allowed")[1]


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("obstacles", {"count": 2.5}),
        ("obstacles", {"count": [5, 2]}),
        ("obstacles", {"count": 100}),
        ("obstacles", {"shape": "cone"}),
        ("obstacles", {"size_m": [0.06, 0.03]}),
        ("obstacles", {"color": "red"}),
        ("obstacles", {"color": [0, 0, 255]}),
        ("obstacles", {"motion": "linear"}),
        ("obstacles", {"speed_m_s": float("nan")}),
        ("obstacles", {"shape": []}),
        ("obstacles", {"shape": ["box", "cone"]}),
        ("obstacles", {"shape": ["box", "mixed"]}),
        ("obstacles", {"color": [[0.1, 0.2, 0.9], [0, 0, 255]]}),
        ("goal", {"shape": "mixed"}),
        ("goal", {"shape": ["sphere", 3]}),
        ("goal", {"color": [[0.1, 0.2]]}),
        ("goal", {"radius_m": 0}),
        ("camera", {"drop_probability": 1.0}),
        ("camera", {"brightness": 0}),
        ("camera", {"brightness": [0, 1]}),
        ("camera", {"brightness": [1.2, 0.8]}),
        ("camera", {"moved_m": [0.02, 0.01]}),
        ("camera", {"turned_deg": [0.0, 100.0]}),
        ("camera", {"brightness": [1, 1, 1]}),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_key(section: str, value: dict[str, Any]) -> None:
    text = message(task="safe_reach", **{section: value})
    key = next(iter(value))
    assert f"{section}.{key}" in text or section in text


def test_a_count_may_be_a_number_or_a_range() -> None:
    for count, expected in ((3, (3, 3)), ([2, 5], (2, 5))):
        parsed = parse_spec(Scenario, {"task": "safe_reach", "obstacles": {"count": count}}, "")
        assert parsed.obstacles.count_range == expected


def test_a_course_has_one_goal_and_one_kind_of_hazard() -> None:
    with pytest.raises(UserError, match="one shape and one colour"):
        parse_spec(Scenario, {"task": "point_goal1", "goal": {"color": [[0.1, 0.8, 0.1], [0.1, 0.8, 0.2]]}}, "")
    with pytest.raises(UserError, match="of one colour"):
        parse_spec(Scenario, {"task": "point_goal1", "obstacles": {"color": [[0.1, 0.8, 0.1], [0.1, 0.8, 0.2]]}}, "")
