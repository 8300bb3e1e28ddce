"""The light of MuJoCo's picture in the terms of Gazebo's renderer (ogre2), which computes with linear light.

MuJoCo multiplies a colour by its brightness S, ambient plus a share of each light by the cosine of incidence, and shows
the product as it is. Ogre2 takes colours and lights as linear and encodes their product as sRGB at the end. A colour
that is decoded before, and lights for which the brightness is S decoded, therefore look alike. That fits for all
directions only nearly, so the lights are fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from fosp_sim.task.render import CAMERA

Array = NDArray[np.float64]

AMBIENT_GAIN, LIGHT_GAIN = 0.318, 0.80
"""Brightness of a surface per unit of ambient light, and per unit of a light that falls straight on it, as measured of
ogre2 in gz-sim 8.14."""
BLACK = "0 0 0 1"
"""Background of MuJoCo's picture; its haze is drawn with a skybox only."""

_GROUND_WEIGHT = 3.0
"""The ground fills three quarters of a picture, so that its direction counts as much as three times all others."""
_NORMALS, _HEADINGS = 400, 8
_SHADES = np.array([0.3, 0.6, 0.9])
"""Colours for which the fitted light has to look right."""


@dataclass(frozen=True)
class Lighting:
    """Strengths of the lights of ogre2, which are white and have no highlights."""

    ambient: float
    headlight: float
    """A directional light that shines where the camera looks."""
    lamps: tuple[float, ...]
    """The lights of the MuJoCo model, which are directional."""

    def brightness(self, normals: Array, forward: Array, directions: Array) -> Array:
        """Return ogre2's brightness (N,) of surfaces with `normals` (N, 3).

        The camera looks along `forward` (3,), and the lamps shine along `directions` (lamps, 3).
        """
        shares = LIGHT_GAIN * (self.headlight * incidence(normals, forward))
        for strength, direction in zip(self.lamps, directions, strict=True):
            shares = shares + LIGHT_GAIN * strength * incidence(normals, direction)
        return AMBIENT_GAIN * self.ambient + shares


def decoded(shown: ArrayLike) -> Array:
    """Return the linear values of sRGB values, both from 0 to 1."""
    values = np.asarray(shown, np.float64)
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def encoded(linear: ArrayLike) -> Array:
    """Return the sRGB values of linear values, from 0 to 1; brighter ones are shown as 1."""
    values = np.clip(np.asarray(linear, np.float64), 0.0, 1.0)
    return np.asarray(np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055))


def incidence(normals: Array, direction: Array) -> Array:
    """Return the cosine (N,) of the angle at which light along `direction` (3,) falls on surfaces; 0 from behind."""
    return np.maximum(-(normals @ direction), 0.0)


def mujoco_brightness(model: Any, normals: Array, forward: Array) -> Array:
    """Return the brightness (N,) that MuJoCo gives surfaces with `normals` (N, 3) whose camera looks along `forward`.

    Highlights are left out: they are white and small. Raise NotImplementedError for coloured or other lights.
    """
    head = model.vis.headlight
    strengths = [head.ambient, head.diffuse, *model.light_ambient, *model.light_diffuse]
    if any(np.ptp(strength) > 0 for strength in strengths) or not (model.light_type == 1).all():
        raise NotImplementedError("only white, directional lights are written as SDF")
    brightness = float(head.ambient[0]) + float(head.diffuse[0]) * incidence(normals, forward)
    for number in range(model.nlight):
        shares = float(model.light_diffuse[number, 0]) * incidence(normals, model.light_dir[number])
        brightness = brightness + float(model.light_ambient[number, 0]) + shares
    return np.asarray(brightness)


def fitted_lighting(model: Any, forward: Array) -> Lighting:
    """Return the lights with which ogre2 shows `model` as MuJoCo does.

    The camera looks along `forward` (3,), in every heading where it is on a robot that moves. What counts is the mean
    square difference of the shown values over the surfaces that a camera sees: ground, and all that face it and do not
    face down.
    """
    views = [forward]
    if int(model.cam_bodyid[model.camera(CAMERA).id]) > 0:
        ahead = math.hypot(forward[0], forward[1])
        turns = [math.tau * turn / _HEADINGS for turn in range(_HEADINGS)]
        views = [np.array([ahead * math.cos(turn), ahead * math.sin(turn), forward[2]]) for turn in turns]
    bases: list[Array] = []
    wanted: list[Array] = []
    weights: list[Array] = []
    for view in views:
        facing = _upper_half()
        facing = facing[facing @ view < 0]
        normals = np.vstack([facing, [0.0, 0.0, 1.0]])
        lamps = [LIGHT_GAIN * incidence(normals, model.light_dir[number]) for number in range(model.nlight)]
        head = LIGHT_GAIN * incidence(normals, view)
        bases.append(np.stack([np.full(len(normals), AMBIENT_GAIN), head, *lamps], axis=1))
        wanted.append(mujoco_brightness(model, normals, view))
        weights.append(np.append(np.full(len(facing), 1 / len(facing)), _GROUND_WEIGHT))
    basis, brightness, weight = np.concatenate(bases), np.concatenate(wanted), np.sqrt(np.concatenate(weights))
    shown = np.minimum(_SHADES[:, None] * brightness, 1.0)

    def difference(strengths: Array) -> Array:
        return np.asarray((encoded(decoded(_SHADES)[:, None] * (basis @ strengths)) - shown) * weight).ravel()

    strengths = least_squares(difference, np.ones(basis.shape[1]), bounds=(0.0, np.inf)).x.tolist()
    return Lighting(strengths[0], strengths[1], tuple(strengths[2:]))


def _upper_half() -> Array:
    """Return evenly spread directions (N, 3) that do not point down."""
    height = 1 - (np.arange(_NORMALS) + 0.5) / _NORMALS
    angle, radius = math.pi * (1 + math.sqrt(5)) * np.arange(_NORMALS), np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
