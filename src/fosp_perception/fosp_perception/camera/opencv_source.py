"""Cameras through OpenCV: a V4L2 device, a network stream, or a video file. No ROS node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_perception.camera.image_source import CameraFrame, CameraIntrinsics, CameraSettings, SourceLost

_PATIENCE_MS = 500
"""Time-out of a stream. OpenCV's default is 30 s, in which the node could not even be stopped."""
_DEVICE_PATIENCE_S = 1
"""Time-out of a device, for which OpenCV takes whole seconds; its default is 10 s."""
_OPEN_PATIENCE_MS = 2000
_OLDEST_S = 1.0
"""A kernel stamp that is older than this belongs to another clock."""


class OpenCvSource:
    """A camera that OpenCV reads. A device must give exactly the requested size; a file or stream has its own."""

    warnings: tuple[str, ...] = ()
    intrinsics = CameraIntrinsics()

    def __init__(self, settings: CameraSettings, now_ns: Callable[[], int]) -> None:
        self._settings, self._now_ns = settings, now_ns
        self.name = settings.device
        self._is_device = settings.device.startswith("/dev/")
        self._is_stream = "://" in settings.device
        self.paced = not self._is_device and Path(settings.device).is_file()
        if not self.paced and not self._is_stream and not Path(settings.device).exists():
            raise UserError(f"{settings.device}: no such device, stream or video file; is the camera plugged in?")
        self._capture = self._open()
        self._backend = self._capture.getBackendName()
        self._ahead: NDArray[np.uint8] | None = self._grab()
        if self._ahead is None:
            self.close()
            raise UserError(f"{settings.device}: opens, but gives no frame; does another program use it?")
        self.size = (self._ahead.shape[0], self._ahead.shape[1])
        if self._is_device and self.size != (settings.height, settings.width):
            self.close()
            raise UserError(
                f"{settings.device}: gives {self.size[1]}x{self.size[0]}, not {settings.width}x{settings.height}; "
                "set a size that `v4l2-ctl --list-formats-ext` shows"
            )

    def details(self) -> dict[str, str]:
        return {"backend": self._backend}

    def read(self) -> CameraFrame:
        frame, self._ahead = self._ahead, None
        if frame is None:
            frame = self._grab()
        if frame is None and self.paced and self._settings.loop:
            self._capture = self._open()
            frame = self._grab()
        if frame is None:
            why = "does its sender still run?" if self._is_stream else "unplugged?"
            reason = "end of the recording" if self.paced else f"{self.name} gives no more frames: {why}"
            raise SourceLost(reason, comes_back=not self.paced)
        if frame.shape[:2] != self.size:
            raise UserError(f"{self.name}: changed its size to {frame.shape[1]}x{frame.shape[0]}")
        return CameraFrame(frame, self._stamp_ns())

    def close(self) -> None:
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        settings = self._settings
        if self._is_stream:
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE_MS]
            capture, hint = cv2.VideoCapture(settings.device, cv2.CAP_FFMPEG, patience), "does anything answer there?"
        else:
            os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(_DEVICE_PATIENCE_S))
            capture = cv2.VideoCapture(settings.device, cv2.CAP_V4L2 if self._is_device else cv2.CAP_ANY)
            hint = "may this user read it (group video)?"
        if not capture.isOpened():
            raise UserError(f"{settings.device}: cannot be opened as a camera or video; {hint}")
        if self._is_device:
            # Most webcams give their larger sizes at full rate only as Motion JPEG.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
            capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _grab(self) -> NDArray[np.uint8] | None:
        """Return a frame (H, W, 3) uint8 RGB, or None when none arrives in time."""
        good, image = self._capture.read()
        return np.ascontiguousarray(image[..., ::-1], np.uint8) if good else None

    def _stamp_ns(self) -> int | None:
        """Return the stamp of a V4L2 frame, which the kernel takes from its monotonic clock, or None without one."""
        if not self._is_device:
            return None
        age_s = time.monotonic() - self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e-3
        return self._now_ns() - round(age_s * 1e9) if 0.0 <= age_s <= _OLDEST_S else None
