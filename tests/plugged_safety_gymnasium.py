"""The real safety-gymnasium as a plugged environment; test_safety_gymnasium.py runs it by a Python that has it.

Its own `render` needs an old Gymnasium, so the picture is taken by MuJoCo's renderer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from safety_gymnasium_peer import make

from fosp_core.robot.config import read_robot
from fosp_sim.task.plugged.environment import FromGymnasium
from fosp_sim.task.plugged.world import PluggedWorld, plugged_scene

REPEAT = 4


class WithPicture(FromGymnasium):
    """The library's environment with the picture of its front camera."""

    def images(self) -> dict[str, Any]:
        """Return the picture (64, 64, 3) uint8 of the camera `color`."""
        with mujoco.Renderer(self.env.task.model, 64, 64) as renderer:
            renderer.update_scene(self.env.task.data, "vision")
            return {"color": renderer.render()}


def main() -> None:
    """Drive some decisions, and print rewards, costs and the size of the picture as JSON."""
    robot_file, seed = Path(sys.argv[1]), int(sys.argv[2])
    library = make("point_goal1")
    library.render_parameters.mode = "rgb_array"
    world = PluggedWorld(read_robot(robot_file), WithPicture(library, step_s=0.02), REPEAT)
    world.reset(plugged_scene("gymnasium", seed, 0, ""))
    told = []
    for decision in range(30):
        for _ in range(REPEAT):
            world.advance(np.array([1.5, 2.0 * np.sin(decision)]))
        outcome = world.take_outcome()
        told.append([outcome.reward, outcome.cost])
    print(json.dumps({"outcomes": told, "picture": list(world.snapshot()["color"].shape)}))


if __name__ == "__main__":
    main()
