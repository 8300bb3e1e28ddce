"""Where camera_node takes its frames from: what a source must do, and what it says of its frames. No ROS node here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Intrinsics:
    """What sensor_msgs/CameraInfo says beyond the size; all zero means uncalibrated, as its documentation has it."""

    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = ()
    k: tuple[float, ...] = (0.0,) * 9
    r: tuple[float, ...] = (0.0,) * 9
    p: tuple[float, ...] = (0.0,) * 12


@dataclass(frozen=True)
class Frame:
    """One exposure. The arrays may be views of the device's memory: use them before the next `read`."""

    color: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    stamp_ns: int | None = None
    """Moment of the exposure on the ROS clock; None when the source cannot tell: then it is now."""
    depth: NDArray[np.uint16] | None = None
    """(H, W) mm, pixel by pixel of the colour image; 0 where unknown."""
    number: int | None = None
    """The device's own count; a gap in it is a lost frame."""


@dataclass(frozen=True)
class CameraSettings:
    """Settings of a camera; each source class reads those that its entry in fosp_core.cameras names."""

    serial: str = ""
    """Serial number; empty where only one such camera is connected."""
    device: str = ""
    """/dev/video0, a name in /dev/v4l/by-id (that one survives replugging), a URL, or a video file."""
    path: Path | None = None
    """A recording that stands for the camera: a bag, a folder of images, or a file of the RealSense Viewer."""
    topic: str = ""
    """Image topic in a bag."""
    loop: bool = False
    """Begin again at the end of a recording."""
    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    depth: bool = False
    """Read depth aligned to the colour image, too."""
    exposure: float | None = None
    """In the unit of the camera's colour sensor (D435: 100 us); None: automatic."""


class SourceLost(Exception):
    """No more frames; `comes_back` says whether opening the source again may help (a device, not a recording)."""

    def __init__(self, reason: str, comes_back: bool) -> None:
        super().__init__(reason)
        self.comes_back = comes_back


class ImageSource(Protocol):
    """A camera, or what stands for one.

    The constructor takes CameraSettings and `now_ns`, a function that returns the time on the ROS clock. It opens the
    camera, and raises UserError when the camera gives no frame.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""

    @property
    def intrinsics(self) -> Intrinsics: ...

    @property
    def name(self) -> str:
        """What tells this device from another: a serial number, a path."""

    @property
    def paced(self) -> bool:
        """Whether frames are there at once, as those of a file, and are to be taken at the camera's rate."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it should be, one line each."""

    def details(self) -> dict[str, str]:
        """For /diagnostics: temperature, firmware and the like; may ask the device."""

    def read(self) -> Frame:
        """Next frame; blocks for at most about a second.

        SourceLost when there is none; UserError when it is damaged or of another size.
        """

    def close(self) -> None:
        """Release files and devices."""
