"""The simulated robot with a camera of 640x480 pixels, for measurements of what frames of that size cost the nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_sim import sim_node
from fosp_sim.task import render
from fosp_sim.task.render import CAMERA, NATIVE_HEIGHT, NATIVE_WIDTH, Renderer


class LargeRenderer(Renderer):
    """Gives each pixel of the simulated camera four times, so that a model sees what it knows."""

    def render(
        self, data: Any, height: int = NATIVE_HEIGHT, width: int = NATIVE_WIDTH, camera: str = CAMERA
    ) -> NDArray[np.uint8]:
        """Return the view of `data` as a new array (2 * height, 2 * width, 3) uint8 RGB."""
        return super().render(data, height, width, camera).repeat(2, axis=0).repeat(2, axis=1)


def main() -> None:
    render.Renderer = LargeRenderer  # type: ignore[misc]
    sim_node.main()


if __name__ == "__main__":
    main()
