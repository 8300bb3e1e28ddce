"""Checks whether the numbers of a data set can be velocities of the robot: a wrong mapping looks like a right one.

Arrays are (n, A) in m/s and rad/s, in the order of the robot's axes, one per episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig

_WORKSPACES = 3.0
"""Widths of the workspace that velocities may lead along an axis in one episode; more are no velocities."""
_LEAST_SHARE = 0.05
"""Share of the robot's scale that some action should reach."""
_WINDOW_S = 0.5
"""Time over which a measured motion is compared with the commanded one, s: a robot lags behind its commands."""
_LEAST_PATH_M = 0.005
"""Commanded motion within that time, m, from which on it is compared."""
_FOLLOWS = (0.3, 3.0)
"""Share of the commanded motion that a robot does which follows its commands, in the mean."""


def motion_notes(
    velocities: Sequence[NDArray[np.float64]],
    positions: Sequence[NDArray[np.float64] | None],
    fps: float,
    robot: RobotConfig,
    beyond_scale: float,
) -> list[str]:
    """Return lines about what training will clip, and what is odd; UserError when these cannot be velocities.

    `positions` are measured by the tool, (n, 3) m, or None. A share of `beyond_scale` may lie beyond the robot's scale.
    """
    return [
        *_scale_notes(np.concatenate(velocities), robot, beyond_scale),
        *_workspace_notes(velocities, fps, robot),
        *_measured_notes(velocities, positions, fps, robot),
    ]


def _scale_notes(every: NDArray[np.float64], robot: RobotConfig, allowed: float) -> Iterator[str]:
    for column, axis in enumerate(robot.action.axes):
        speed = np.abs(every[:, column])
        beyond = int((speed > axis.scale * (1 + 1e-6)).sum())
        told = (
            f"{beyond} of {len(speed)} steps ({beyond / len(speed):.1%}) are beyond the robot's {axis.scale:g} "
            f"{axis.unit} on {axis.name}, up to {speed.max():.3g}"
        )
        if beyond > allowed * len(speed):
            raise UserError(
                f"{told}: not this robot's velocities, or not in this unit; mend kind or factor in the mapping, take a "
                "robot file of this scale, or allow more with action.beyond_scale"
            )
        if beyond:
            yield f"{told}; training clips them"
        if not speed.any():
            yield f"{axis.name} is 0 in every step"
    reached = float((np.abs(every) / np.array(robot.action.scale)).max())
    if 0.0 < reached < _LEAST_SHARE:
        yield f"no action is beyond {reached:.2%} of the robot's scale: is the factor of the mapping right?"


def _workspace_notes(velocities: Sequence[NDArray[np.float64]], fps: float, robot: RobotConfig) -> Iterator[str]:
    box = robot.workspace
    far: list[tuple[float, str, float]] = []
    for episode in velocities if box is not None else ():
        assert box is not None
        for moved, axis in zip(excursions(episode, fps), robot.action.axes, strict=True):
            part, component = axis.name.split(".")
            width = box.upper["xyz".index(component)] - box.lower["xyz".index(component)]
            if part == "linear" and moved > _WORKSPACES * width:
                far.append((moved, axis.name, width))
                break
    if len(far) > 0.5 * len(velocities):
        moved, name, width = max(far)
        raise UserError(
            f"the actions would move the tool by {moved:.2f} m along {name} in one episode, in a workspace of "
            f"{width:.2f} m: these are no velocities; absolute positions cannot be mapped"
        )
    if far:
        yield f"the actions of {len(far)} episodes lead far beyond the robot's workspace"


def _measured_notes(
    velocities: Sequence[NDArray[np.float64]],
    positions: Sequence[NDArray[np.float64] | None],
    fps: float,
    robot: RobotConfig,
) -> Iterator[str]:
    names = [axis.name for axis in robot.action.axes]
    linear = [(column, "xyz".index(name[-1])) for column, name in enumerate(names) if name.startswith("linear")]
    window = max(1, round(_WINDOW_S * fps))
    both, commanded, compared = 0.0, 0.0, 0
    for velocity, position in zip(velocities, positions, strict=True):
        if position is None or len(position) <= window or not linear:
            continue
        path = np.concatenate([np.zeros((1, len(linear))), velocity[:, [c for c, _ in linear]].cumsum(0) / fps])
        asked = path[window:] - path[:-window]
        done = (position[window:] - position[:-window])[:, [p for _, p in linear]]
        moves = (np.linalg.norm(asked, axis=1) > _LEAST_PATH_M) & np.isfinite(done).all(1)
        both += float((asked[moves] * done[moves]).sum())
        commanded += float((asked[moves] ** 2).sum())
        compared += int(moves.sum())
    if not compared:
        return
    share = both / commanded
    told = f"the measured tool moves by {share:.2f} of what the actions say, over {_WINDOW_S:g} s"
    if not _FOLLOWS[0] <= share <= _FOLLOWS[1]:
        raise UserError(
            f"{told}: mend kind, factor, names or signs of the action, or of the measurement on {robot.pose_topic}"
        )
    yield told


def excursions(velocities: NDArray[np.float64], fps: float) -> list[float]:
    """Return how far velocities (n, A) at `fps` lead along each axis: the extent of the path, m or rad."""
    path = velocities.cumsum(0) / fps
    return [float(x) for x in path.max(0) - path.min(0)]
