"""The interface of image sources, from which camera_node takes its frames, and what they share. No ROS node.

To add a camera type, write a class with the interface ImageSource in this folder, and enter it in fosp_core.cameras.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BUCKET_NS = 1_000_000_000
BUCKETS = 10
"""Number of buckets, of one second each, over which DeviceClock takes the least delay."""
_STEP_BACK_NS = 100_000_000
"""A stamp is shifted by at most this much to keep the order; a larger step means that the ROS clock was set back."""


@dataclass(frozen=True)
class CameraIntrinsics:
    """The content of sensor_msgs/CameraInfo except the size; all zero means uncalibrated, as documented there."""

    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = ()
    k: tuple[float, ...] = (0.0,) * 9
    r: tuple[float, ...] = (0.0,) * 9
    p: tuple[float, ...] = (0.0,) * 12


@dataclass(frozen=True)
class CameraFrame:
    """One frame. The arrays may be views of the device's memory, which are valid until the next `read`."""

    color: NDArray[np.uint8]
    """Colour image (H, W, 3) uint8, RGB."""
    stamp_ns: int | None = None
    """Time of the exposure on the ROS clock; None when the source does not know it, which then is now."""
    depth: NDArray[np.uint16] | None = None
    """Depth in mm, (H, W) uint16, aligned to the colour image; 0 where unknown."""
    number: int | None = None
    """Number of the frame in the device's own count; a gap is a lost frame."""


@dataclass(frozen=True)
class CameraSettings:
    """Settings of a camera; each source class reads those that its entry in fosp_core.cameras names."""

    serial: str = ""
    """Serial number; empty where only one such camera is connected."""
    device: str = ""
    """/dev/video0, a name in /dev/v4l/by-id (which survives replugging), a URL, or a video file."""
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
    """Exposure time in the unit of the camera's colour sensor (D435: 100 us); None for automatic exposure."""


class SourceLost(Exception):
    """The source has no more frames; `comes_back` when opening it again may help (a device, not a recording)."""

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
        """Height and width of every frame."""

    @property
    def intrinsics(self) -> CameraIntrinsics: ...

    @property
    def name(self) -> str:
        """Identity of the device or recording: a serial number, a device, a path."""

    @property
    def paced(self) -> bool:
        """True when `read` does not wait, as with a file: the node then reads at the rate of the camera."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the camera that do not keep it from working, one line each."""

    def details(self) -> dict[str, str]:
        """Return values for /diagnostics, such as temperature and firmware; the device may be asked for them."""

    def read(self) -> CameraFrame:
        """Return the next frame; block for at most about a second.

        Raise SourceLost when there is none, UserError when it is damaged or of another size.
        """

    def close(self) -> None:
        """Release files and devices."""


class DeviceClock:
    """The clock of a device on the ROS clock, in ns, from one plugging in to the next.

    A device stamps the exposure with an exact clock of its own. The host knows only when a frame arrived, after a delay
    that varies. The offset between the clocks is the minimum, over the last seconds, of arrival minus device time. It
    includes the delay of an idle bus, which cannot be told from it. A frame that was held up keeps its age, and the
    minimum follows the drift of the device's quartz.
    """

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque()
        """Second of arrival and least offset in it, oldest first."""
        self._device_ns: int | None = None
        self._stamp_ns = -_STEP_BACK_NS

    def ros_ns(self, device_ns: int, arrival_ns: int) -> int:
        """Return the stamp of a frame that the device stamped `device_ns` and that arrived at `arrival_ns`.

        It is never later than the arrival, and later than the stamp before unless the ROS clock was set back.
        """
        if self._device_ns is not None and device_ns < self._device_ns:
            self._least.clear()  # the device, or its recording, was restarted
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
