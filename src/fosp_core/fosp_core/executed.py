"""The executed action: the mean of the command stream between two decisions; and rotations, for streams of poses.

The world model is trained on, and fed with, the action that the safety monitor and the limits have shaped, not the one
that the policy proposed. The learner computes it from bags and the encoder computes it live with the same functions, so
that a model sees the same numbers in training and on the robot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fosp_core.specs import TWIST_COMPONENTS, ActionSpec


def mean_command(
    stamps_s: NDArray[np.float64], commands: NDArray[np.floating], start_s: float, end_s: float, hold: float
) -> NDArray[np.float64]:
    """Return the mean over (start_s, end_s] of a command stream under zero-order hold: (N,) s, (N, n) -> (n,) float64.

    A command is in force from its stamp until the next one, but for at most `hold` s (the robot's command timeout,
    after which the robot stops by itself). Where no command is in force the value is 0. Raise ValueError when
    `stamps_s` is not ascending or `end_s` is not after `start_s`.
    """
    if not end_s > start_s:
        raise ValueError(f"interval must end after it starts, got ({start_s}, {end_s}]")
    if commands.ndim != 2 or stamps_s.shape != commands.shape[:1]:
        raise ValueError(f"expected stamps (N,) and commands (N, n), got {stamps_s.shape} and {commands.shape}")
    first = max(int(np.searchsorted(stamps_s, start_s, "right")) - 1, 0)
    last = int(np.searchsorted(stamps_s, end_s, "left"))
    if first >= last:
        return np.zeros(commands.shape[1])
    begin = stamps_s[first:last]
    if (np.diff(begin) < 0).any():
        raise ValueError("stamps of the command stream must be ascending")
    following = np.append(begin[1:], np.inf)
    until = np.minimum(np.minimum(following, begin + hold), end_s)
    seconds = np.maximum(until - np.maximum(begin, start_s), 0.0)
    return np.asarray(seconds @ commands[first:last].astype(np.float64) / (end_s - start_s))


def normalised_action(command: NDArray[np.floating], spec: ActionSpec) -> NDArray[np.float32]:
    """Return the action of a mean command (n,) in m/s and rad/s: each axis over its scale, clipped to [-1, 1]."""
    return np.clip(command / np.asarray(spec.scale), -1.0, 1.0).astype(np.float32)


def executed_action(
    stamps_s: NDArray[np.float64],
    commands: NDArray[np.floating],
    start_s: float,
    end_s: float,
    hold: float,
    spec: ActionSpec,
) -> NDArray[np.float32]:
    """Return the action (A,) in [-1, 1] that a stream of commands (N, A), m/s and rad/s, executed in (start_s, end_s].

    The last column of a robot with a gripper is the gripper's normalised setpoint, of which the mean is taken, too.
    The setpoint holds until the next one, however long. ValueError as for `mean_command`.
    """
    size = spec.twist_size
    twist = normalised_action(mean_command(stamps_s, commands[:, :size], start_s, end_s, hold), spec)
    if spec.gripper is None:
        return twist
    held = mean_setpoint(stamps_s, np.asarray(commands[:, size], np.float64), start_s, end_s)
    return np.append(twist, np.float32(min(max(held, -1.0), 1.0)))


def mean_setpoint(stamps_s: NDArray[np.float64], setpoints: NDArray[np.float64], start_s: float, end_s: float) -> float:
    """Return the mean over (start_s, end_s] of setpoints (N,) that hold until the next one; 0 when there are none.

    Before the first one its own value counts.
    """
    if not len(setpoints):
        return 0.0
    inside = (stamps_s > start_s) & (stamps_s < end_s)
    edges = np.array([start_s, *stamps_s[inside], end_s])
    at = np.clip(np.searchsorted(stamps_s, edges[:-1], "right") - 1, 0, None)
    return float(np.diff(edges) @ setpoints[at] / (end_s - start_s))


def twists_of_poses(
    stamps_s: NDArray[np.floating], poses: NDArray[np.floating], action: ActionSpec, hold: float
) -> NDArray[np.float64]:
    """Return the twists (N, n) in m/s and rad/s from which a stream of target poses (N, 7) was integrated.

    A pose is a position in m and an orientation (x, y, z, w). Each twist leads from the pose before to its own, as the
    safety monitor integrates them. It is 0 for the first pose, and after a gap of more than `hold` s.
    """
    elapsed, turns = np.diff(stamps_s), poses[:, 3:].astype(np.float64)
    goes_on = ((elapsed > 0.0) & (elapsed <= hold))[:, None]
    moved = np.hstack([np.diff(poses[:, :3], axis=0), rotation_between(turns[:-1], turns[1:])])
    rates = np.where(goes_on, moved / np.where(goes_on, elapsed[:, None], 1.0), 0.0)
    columns = [TWIST_COMPONENTS.index(axis.name) for axis in action.axes]
    return np.vstack([np.zeros((min(1, len(poses)), len(columns))), rates[:, columns]])


def rotation_between(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest rotation vectors (..., 3), in rad, that turn the orientations `before` into `after`.

    Orientations are unit quaternions (..., 4), x, y, z, w. A rotation is about the fixed axes of their frame.
    """
    difference = _product(after, before * np.array([-1.0, -1.0, -1.0, 1.0]))
    difference = np.where(difference[..., 3:] < 0.0, -difference, difference)
    sine = np.linalg.norm(difference[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, difference[..., 3:])
    return np.where(sine > 0.0, angle / np.where(sine > 0.0, sine, 1.0), 2.0) * difference[..., :3]


def rotated(orientation: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit quaternion `orientation` (4,), turned by the rotation vector (3,), in rad, about fixed axes."""
    angle = float(np.linalg.norm(rotation))
    axis = rotation / angle if angle > 0.0 else rotation
    turned = _product(np.append(np.sin(0.5 * angle) * axis, np.cos(0.5 * angle)), orientation)
    return np.asarray(turned / np.linalg.norm(turned))


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Hamilton product (..., 4), which is the rotation b followed by a."""
    vector = a[..., 3:] * b[..., :3] + b[..., 3:] * a[..., :3] + np.cross(a[..., :3], b[..., :3])
    scalar = a[..., 3:] * b[..., 3:] - (a[..., :3] * b[..., :3]).sum(-1, keepdims=True)
    return np.concatenate([vector, scalar], -1)
