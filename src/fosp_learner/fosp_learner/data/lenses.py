"""The lenses of recorded cameras, from their camera_info, and whether two of them show the same picture.

A policy that learned with one lens sees every distance wrong through another one, and nothing in the images says so.
Two lenses are compared by where they show the same directions: that counts focal length, optical centre, distortion,
and a resolution that is another crop of the sensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

INFO = "sensor_msgs/msg/CameraInfo"
LENSES = "lenses"
"""Key of the manifest's entry on the training under which a bundle notes the lenses it was trained with."""
TOLD, REFUSED = 0.01, 0.03
"""Share of the image's shorter side by which two lenses may show a direction apart: beyond the first one it is told,
beyond the second one (two pixels of 64) they are lenses of their own."""
_RAYS = 9
"""Directions along each side of the image that are compared."""
_MARGIN = 1.1
"""Multiple of the image up to which a direction counts as shown: those at the edges move most."""
_POLYNOMIAL = ("plumb_bob", "rational_polynomial")


@dataclass(frozen=True)
class Lens:
    """Size of the images in pixels, focal lengths, optical centre, and distortion as sensor_msgs/CameraInfo has it."""

    width: float
    height: float
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = ""
    distortion: tuple[float, ...] = ()

    @property
    def side(self) -> float:
        """Shorter side of the image, pixels."""
        return min(self.width, self.height)

    def places(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where directions (x, y, 1), each (n,), are shown: (n, 2) from the middle, in shorter sides."""
        x, y = _distorted(self.model, self.distortion, x, y)
        u, v = self.fx * x + self.cx - self.width / 2, self.fy * y + self.cy - self.height / 2
        return np.stack([u, v], axis=1) / self.side

    def __str__(self) -> str:
        return f"{self.width:g}x{self.height:g} with a focal length of {self.fx:.4g}"


def lens_of(message: Any) -> Lens | None:
    """Return the lens that a camera_info tells of; None of a camera that is not calibrated.

    Binning and region of interest are taken into account. UserError for numbers that no lens has.
    """
    k = np.asarray(message.k, np.float64)
    if not k.any():
        return None
    bin_x, bin_y = max(1, message.binning_x), max(1, message.binning_y)
    width, height = message.roi.width or message.width, message.roi.height or message.height
    lens = Lens(
        width / bin_x,
        height / bin_y,
        k[0] / bin_x,
        k[4] / bin_y,
        (k[2] - message.roi.x_offset) / bin_x,
        (k[5] - message.roi.y_offset) / bin_y,
        str(message.distortion_model),
        tuple(float(value) for value in message.d),
    )
    numbers = (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion)
    if not all(map(math.isfinite, numbers)) or min(lens.width, lens.height, lens.fx, lens.fy) <= 0:
        raise UserError(f"no lens has a focal length of {lens.fx:g} for an image of {lens.width:g}x{lens.height:g}")
    return lens


def apart(lens: Lens, other: Lens) -> float:
    """Return how far apart two lenses show the same direction at most, in shorter sides of the image; or infinity.

    Directions count that both of them show; infinity means that there are hardly any.
    """
    across, down = np.linspace(0, lens.width, _RAYS), np.linspace(0, lens.height, _RAYS)
    u, v = (grid.ravel() for grid in np.meshgrid(across, down))
    x, y = (u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy
    ours, theirs = lens.places(x, y), other.places(x, y)
    shown = _inside(ours, lens) & _inside(theirs, other)
    if shown.sum() < _RAYS:
        return math.inf
    return float(np.linalg.norm(ours - theirs, axis=1)[shown].max())


def describe(camera: str, lens: Lens, usual: Lens, where: str) -> str:
    """Return in words how a lens differs from the usual one, that of `where`."""
    percent = 100 * apart(lens, usual)
    how = f"{percent:.1f} % of the image apart" if math.isfinite(percent) else "nowhere near"
    return f"the lens of {camera} ({lens}) shows things {how} from where that of {where} does ({usual})"


def require_lenses(
    cameras: Sequence[str], lenses: Sequence[Lens | None], usual: Sequence[Lens | None], where: str
) -> None:
    """Raise UserError when a camera has another lens than the `usual` one, that of `where`; unknown ones pass."""
    for camera, lens, other in zip(cameras, lenses, usual, strict=False):
        if lens is not None and other is not None and apart(lens, other) > REFUSED:
            raise UserError(
                f"{describe(camera, lens, other, where)}: another camera, lens or resolution; record "
                "with the same one, or train another bundle"
            )


def as_noted(lenses: Sequence[Lens | None]) -> list[dict[str, Any] | None]:
    """Return lenses as a bundle's manifest notes them."""
    return [asdict(lens) if lens is not None else None for lens in lenses]


def from_note(noted: object) -> tuple[Lens | None, ...]:
    """Return the lenses that a manifest notes; none where it notes nothing that can be read."""
    if not isinstance(noted, list):
        return ()
    try:
        return tuple(
            Lens(**{**entry, "distortion": tuple(entry["distortion"])}) if isinstance(entry, Mapping) else None
            for entry in noted
        )
    except (KeyError, TypeError):
        return ()


class LensOfCamera:
    """Gathers the camera_info of one camera while a bag is read."""

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self.lens: Lens | None = None
        self._odd = ""
        self._farthest = 0.0
        self._changed: Lens | None = None
        self._seen: tuple[object, ...] = ()

    def take(self, message: Any) -> None:
        """Take in a camera_info."""
        seen = (message.width, message.height, bytes(np.asarray(message.k)), bytes(np.asarray(message.d)))
        if seen == self._seen:
            return
        self._seen = seen
        try:
            lens = lens_of(message)
        except UserError as error:
            self.refuse(str(error))
            return
        if lens is None or self.lens is None:
            self.lens = self.lens or lens
            return
        distance = apart(self.lens, lens)
        if distance > self._farthest:
            self._farthest, self._changed = distance, lens

    def refuse(self, text: str) -> None:
        """Take note of a camera_info that cannot be used."""
        self._odd = self._odd or text

    def notes(self, size: tuple[int, int] | None) -> Iterator[str]:
        """Yield what is odd; UserError when the lens changed. `size` is that of the images, width and height."""
        if self._odd:
            yield f"camera_info of {self.camera} is not used: {self._odd}"
        if self.lens is None:
            return
        if self._changed is not None and self._farthest > TOLD:
            line = describe(self.camera, self._changed, self.lens, "the beginning of the recording")
            if self._farthest > REFUSED:
                raise UserError(f"{line}; fix zoom, focus and resolution, and record again")
            yield line
        if size is not None and size != (round(self.lens.width), round(self.lens.height)):
            yield (
                f"camera_info of {self.camera} is for images of {self.lens.width:g}x{self.lens.height:g}, these are "
                f"{size[0]}x{size[1]}: a calibration at another resolution?"
            )


def _inside(places: NDArray[np.float64], lens: Lens) -> NDArray[np.bool_]:
    half = np.array([lens.width, lens.height]) / lens.side / 2
    return np.asarray((np.abs(places) <= _MARGIN * half).all(axis=1))


def _distorted(
    model: str, distortion: Sequence[float], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return directions as the distortion shows them, by OpenCV's models; others are taken for none."""
    squared = x * x + y * y
    if model in _POLYNOMIAL and any(distortion):
        k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion[:8], *[0.0] * (8 - len(distortion[:8])))
        radial = 1 + squared * (k1 + squared * (k2 + squared * k3))
        radial = radial / (1 + squared * (k4 + squared * (k5 + squared * k6)))
        return (
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
        )
    if model == "equidistant":
        k1, k2, k3, k4 = (*distortion[:4], *[0.0] * (4 - len(distortion[:4])))
        radius = np.maximum(np.sqrt(squared), 1e-12)
        angle = np.arctan(radius)
        bent = angle**2
        scale = angle * (1 + bent * (k1 + bent * (k2 + bent * (k3 + bent * k4)))) / radius
        return x * scale, y * scale
    return x, y
