"""Where camera_node takes its frames from: what a source must do, and what it says of its frames. No ROS node here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BUCKET_NS = 1_000_000_000
BUCKETS = 10
"""Seconds that are remembered."""
_STEP_BACK_NS = 100_000_000
"""A stamp may be held back by no more than this to keep the order; beyond it the ROS clock itself was set back."""


@dataclass(frozen=True)
class CameraIntrinsics:
    """What sensor_msgs/CameraInfo says beyond the size; all zero means uncalibrated, as its documentation has it."""

    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = ()
    k: tuple[float, ...] = (0.0,) * 9
    r: tuple[float, ...] = (0.0,) * 9
    p: tuple[float, ...] = (0.0,) * 12


@dataclass(frozen=True)
class CameraFrame:
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
    def intrinsics(self) -> CameraIntrinsics: ...

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

    def read(self) -> CameraFrame:
        """Next frame; blocks for at most about a second.

        SourceLost when there is none; UserError when it is damaged or of another size.
        """

    def close(self) -> None:
        """Release files and devices."""


class DeviceClock:
    """Of one device, from one plugging in to the next."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque()
        """(second of arrival, least offset in it), oldest first."""
        self._device_ns: int | None = None
        self._stamp_ns = -_STEP_BACK_NS

    def ros_ns(self, device_ns: int, arrival_ns: int) -> int:
        """Stamp of a frame that the device stamped `device_ns` and that arrived at `arrival_ns` on the ROS clock.

        Never later than the arrival, and later than the stamp before unless the ROS clock was set back.
        """
        if self._device_ns is not None and device_ns < self._device_ns:
            self._least.clear()  # the device was started anew, or its recording was
        self._device_ns = device_ns
        self._remember(arrival_ns - device_ns, arrival_ns // BUCKET_NS)
        stamp_ns = device_ns + min(offset for _, offset in self._least)
        if stamp_ns <= self._stamp_ns < stamp_ns + _STEP_BACK_NS:
            stamp_ns = min(self._stamp_ns + 1, arrival_ns)
        self._stamp_ns = stamp_ns
        return stamp_ns

    def _remember(self, offset_ns: int, bucket: int) -> None:
        if self._least and self._least[-1][0] == bucket:
            self._least[-1] = (bucket, min(offset_ns, self._least[-1][1]))
        else:
            self._least.append((bucket, offset_ns))
        while not bucket - BUCKETS < self._least[0][0] <= bucket:
            self._least.popleft()
