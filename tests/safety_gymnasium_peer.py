"""Episodes of the real safety-gymnasium, as the reference of our own engine; run by a Python that has it installed.

    python tests/safety_gymnasium_peer.py OUT.npz TASK SEED STEPS GOALS

drives one episode by a simple controller with noise, until STEPS environment steps are over or GOALS goals reached,
and writes what happened. The library is imported without its `__init__`, which needs packages that nothing here uses.
Its sky of six large pictures is replaced by a black one, because decoding them takes seconds at every reset.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "point_goal1": ("Point", "Goal1"),
    "point_goal2": ("Point", "Goal2"),
    "point_button1": ("Point", "Button1"),
    "point_push1": ("Point", "Push1"),
    "car_goal2": ("Car", "Goal2"),
}


class _Hashable(np.ndarray):
    """An array that Python 3.11 takes as the default of a dataclass's field."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def load_builder() -> Any:
    """Import the library's `builder` module, past its `__init__`, and return it."""
    found = importlib.machinery.PathFinder.find_spec("safety_gymnasium")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("safety_gymnasium is not installed for this Python")
    folder = Path(next(iter(found.submodule_search_locations)))
    package = types.ModuleType("safety_gymnasium")
    package.__path__ = [str(folder)]
    package.__file__ = str(folder / "__init__.py")
    sys.modules["safety_gymnasium"] = package
    for part in ("assets", "utils"):
        child = types.ModuleType(f"safety_gymnasium.{part}")
        child.__path__ = [str(folder / part)]
        sys.modules[f"safety_gymnasium.{part}"] = child
    spec = importlib.util.spec_from_file_location("safety_gymnasium.assets.color", folder / "assets" / "color.py")
    assert spec is not None
    assert spec.loader is not None
    colors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(colors)
    for name, color in colors.COLOR.items():
        colors.COLOR[name] = np.asarray(color, float).view(_Hashable)
    sys.modules["safety_gymnasium.assets.color"] = colors
    import yaml

    real_load = yaml.load

    def load(*arguments: Any, **options: Any) -> Any:
        loaded = real_load(*arguments, **options)
        if isinstance(loaded, dict) and "skybox" in loaded.get("textures", {}):
            black = {
                "type": "skybox",
                "builtin": "flat",
                "rgb1": "0 0 0",
                "rgb2": "0 0 0",
                "width": "8",
                "height": "48",
            }
            loaded["textures"]["skybox"] = {f"@{key}": value for key, value in black.items()}
        return loaded

    yaml.load = load
    # Only offscreen viewers of the library import glfw; the physics does not need a window.
    sys.modules.setdefault("glfw", types.ModuleType("glfw"))
    for name in ("keyboard_viewer",):
        stub = types.ModuleType(f"safety_gymnasium.utils.{name}")
        stub.KeyboardViewer = object  # type: ignore[attr-defined]
        sys.modules[f"safety_gymnasium.utils.{name}"] = stub
    from safety_gymnasium import builder

    return builder


def make(task: str) -> Any:
    """Return the library's environment of one of the five tasks, without its own time limit."""
    agent, rest = NAMES[task]
    builder = load_builder()
    environment = builder.Builder(f"Safety{agent}{rest}-v0", config={"agent_name": agent})
    environment.task.num_steps = 10**6
    return environment


def main() -> None:
    """Run one episode and write it."""
    out, task, seed, steps, goals = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    environment = make(task)
    environment.reset(seed=seed)
    noise = np.random.default_rng(seed + 1)
    rows: dict[str, list[Any]] = {key: [] for key in ("action", "agent", "reward", "cost", "goal", "objects", "pushed")}
    start = _objects(environment)
    reached = 0
    while len(rows["reward"]) < steps and reached < goals:
        action = np.round(_drive(environment, task, noise), 3)
        _, reward, cost, _, _, info = environment.step(action)
        reached += bool(info.get("goal_met"))
        rows["action"].append(action)
        rows["agent"].append([*environment.task.agent.pos[:2], _heading(environment)])
        rows["reward"].append(reward)
        rows["cost"].append(cost)
        rows["goal"].append(environment.task.goal.pos[:2])
        rows["objects"].append(_objects(environment)[:, :2])
        rows["pushed"].append(_pushed(environment))
    places = {name: place for name, place in environment.task.world_info.reset_layout.items() if name != "goal"}
    columns = {key: np.array(value) for key, value in rows.items()}
    moved = np.abs(columns["objects"] - start[:, :2]).max(axis=(0, 2)) > 1e-3
    columns["objects"] = columns["objects"][:, moved]
    columns["cost"], columns["pushed"] = columns["cost"].astype(bool), columns["pushed"].astype(bool)
    columns["thousandths"] = np.round(1000 * columns.pop("action")).astype(np.int16)
    columns["names"] = np.array(_names(environment))[moved]
    columns["layout_names"], columns["layout"] = np.array(list(places)), np.array(list(places.values()))
    np.savez_compressed(out, seed=seed, **columns)
    print(
        f"{task}: {len(columns['cost'])} steps, {reached} goals, reward {columns['reward'].sum():.3f}, "
        f"cost {columns['cost'].sum()}, {columns['pushed'].sum()} steps in contact"
    )


def _names(environment: Any) -> list[str]:
    """Return the bodies that can be pushed."""
    model = environment.task.model
    bodies = [str(model.body(number).name) for number in range(model.nbody)]
    return [name for name in bodies if name.startswith(("vase", "push_box", "gremlin")) and not name.endswith("mocap")]


def _objects(environment: Any) -> Any:
    return np.array([environment.task.data.body(name).xpos for name in _names(environment)]).reshape(-1, 3)


def _pushed(environment: Any) -> bool:
    """Return True if the robot touches something that it can push."""
    model, data = environment.task.model, environment.task.data
    robot = set(environment.task.agent.body_info.geom_names)
    for one, other in data.contact.geom:
        names = {model.geom(one).name, model.geom(other).name}
        bodies = {model.body(model.geom_bodyid[g]).name for g in (one, other)}
        if names & robot and any(b.startswith(("vase", "push_box", "gremlin")) for b in bodies):
            return True
    return False


def _heading(environment: Any) -> float:
    matrix = environment.task.agent.mat
    return math.atan2(matrix[1, 0], matrix[0, 0])


def _drive(environment: Any, task: str, noise: Any) -> Any:
    """Return an action towards the goal, or from behind the box, with noise."""
    agent, goal = environment.task.agent.pos[:2], environment.task.goal.pos[:2]
    heading = _heading(environment) - (math.pi / 2 if task.startswith("car") else 0.0)
    target = goal
    if task == "point_push1":
        target = _push_target(agent, environment.task.push_box.pos[:2], goal)
    if task.startswith("car"):
        dx, dy = target - agent
        error = (math.atan2(dy, dx) - heading + math.pi) % (2 * math.pi) - math.pi
        forward, turn = 0.02 * max(0.0, math.cos(error)), float(np.clip(0.02 * error, -0.012, 0.012))
        return np.clip(np.array([forward + turn, forward - turn]) + noise.normal(0, 0.003, 2), -1, 1)
    wish = steer(target - agent, environment.task.agent.vel[:2], heading, 0.4 if task == "point_push1" else 0.9)
    return np.clip(wish + noise.normal(0, [0.01, 0.1]), -1, 1)


def steer(way: Any, velocity: Any, heading: float, speed: float) -> Any:
    """Return the point's action that brings its velocity to `speed` along `way`, slower near the end."""
    length = float(np.linalg.norm(way))
    lack = way / max(length, 1e-6) * min(speed, 1.5 * length) - velocity
    error = (math.atan2(lack[1], lack[0]) - heading + math.pi) % (2 * math.pi) - math.pi
    return np.array([0.15 * float(np.linalg.norm(lack)) * max(0.0, math.cos(error)), np.clip(2.0 * error, -1, 1)])


def _push_target(agent: Any, box: Any, goal: Any) -> Any:
    """Return where to head: around the box to the point behind it, and from there through the box to the goal."""
    away = (box - goal) / max(np.linalg.norm(box - goal), 1e-6)
    across = np.array([-away[1], away[0]])
    along, aside = float((agent - box) @ away), float((agent - box) @ across)
    if along > 0.2 and abs(aside) < 0.18 + 0.2 * max(0.0, along - 0.4):
        return goal if along < 0.42 else box
    if along > 0.35:
        return box + 0.55 * away
    return box + math.copysign(0.65, aside) * across + 0.55 * away


if __name__ == "__main__":
    main()
