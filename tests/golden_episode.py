"""Replays an episode of the real safety-gymnasium in our own engine, and returns how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fosp_sim.task.safety_gym.engine import Engine
from fosp_sim.task.safety_gym.layout import COURSES


def differences(task: str, golden: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return absolute differences by step: agent, goal, objects in m, reward, cost; and when something is pushed first.

    `golden` is what `safety_gymnasium_peer.py` writes.
    """
    engine = Engine(COURSES[task])
    engine.reset(int(golden["seed"]))
    placed = [engine.layout.places[_name(name)] for name in golden["layout_names"]]
    names = [_name(name) for name in golden["names"]]
    rows: dict[str, list[float]] = {"agent": [], "goal": [], "objects": [], "reward": [], "cost": []}
    goals = 0
    for step, thousandths in enumerate(golden["thousandths"]):
        outcome = engine.step(thousandths / 1000)
        goals += outcome.goal
        places = np.array([engine.place(name) for name in names]).reshape(-1, 2)
        rows["agent"].append(np.abs(np.array(engine.place("agent")) - golden["agent"][step, :2]).max())
        rows["goal"].append(np.abs(np.array(engine.goal_place) - golden["goal"][step]).max())
        rows["objects"].append(np.abs(places - golden["objects"][step]).max(initial=0.0))
        rows["reward"].append(abs(outcome.reward - golden["reward"][step]))
        rows["cost"].append(abs(outcome.cost - golden["cost"][step]))
    pushed = np.flatnonzero(golden["pushed"])
    return {
        "layout": np.abs(np.array(placed) - golden["layout"]),
        "goals": np.array(goals),
        "first_push": np.array(pushed[0] if len(pushed) else len(golden["pushed"])),
        **{name: np.array(values) for name, values in rows.items()},
    }


def _name(theirs: str) -> str:
    """Return our name of an object of the library."""
    return "box" if theirs == "push_box" else str(theirs).removesuffix("obj")
