"""Camera images for the page: the newest of each camera becomes a JPEG, in a thread that waits for nobody.

A frame is one binary message: the length of a header (4 bytes, little endian), the header as JSON (camera, stamp, size
of the picture that the camera sent), and the JPEG.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

QUALITY = 82
LARGEST = 800
"""Longer side of the pictures that are sent, pixels; smaller ones are sent as they are."""
MOST_HZ = 15.0
NICENESS = 10


def frame_message(camera: int, stamp_s: float, pixels: NDArray[np.uint8]) -> bytes:
    """Return the binary message of one frame (H, W, 3) uint8 RGB; UserError when it cannot be encoded."""
    height, width = pixels.shape[:2]
    try:
        data = jpeg(pixels)
    except UserError as error:
        raise UserError(f"camera {camera}: {error}") from None
    header = json.dumps({"camera": camera, "stamp": stamp_s, "width": width, "height": height}).encode()
    return struct.pack("<I", len(header)) + header + data


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) uint8 RGB as JPEG, no larger than LARGEST; UserError when it cannot be encoded."""
    height, width = pixels.shape[:2]
    scale = LARGEST / max(height, width)
    if scale < 1.0:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise UserError("the image cannot be encoded as JPEG")
    return data.tobytes()


class FrameEncoder:
    """Encodes the newest message of each camera at MOST_HZ at most, in a thread of its own.

    `read` turns a message, serialised, into its stamp, s, and its pixels (H, W, 3) uint8 RGB, or raises UserError.
    `send` gets the camera and the message of the frame; `failed` gets the text of an image that cannot be shown.
    """

    def __init__(
        self,
        read: Callable[[int, bytes], tuple[float, NDArray[np.uint8]]],
        send: Callable[[int, bytes], None],
        failed: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._read, self._send, self._failed = read, send, failed
        self._newest: dict[int, Any] = {}
        self._due_s: dict[int, float] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="frames", daemon=True)
        self._thread.start()

    def put(self, camera: int, data: bytes) -> None:
        """Put the newest message of a camera in place of one that waits."""
        with self._changed:
            self._newest[camera] = data
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(2.0)

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # pictures take what orders and the control path leave of a busy computer
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (taken := self._take()) is not None:
            camera, data = taken
            try:
                stamp_s, pixels = self._read(camera, data)
                self._send(camera, frame_message(camera, stamp_s, pixels))
            except UserError as error:
                self._failed(str(error))
            except Exception as error:  # whatever a strange image does, the next one is shown
                self._failed(f"camera {camera}: an image cannot be shown: {error}")

    def _take(self) -> tuple[int, bytes] | None:
        """Wait for a message of a camera that is due, and return it; None at the end."""
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                waits = {camera: self._due_s.get(camera, 0.0) - now_s for camera in self._newest}
                due = [camera for camera, wait_s in waits.items() if wait_s <= 0.0]
                if due:
                    camera = min(due, key=lambda one: self._due_s.get(one, 0.0))
                    self._due_s[camera] = max(now_s, self._due_s.get(camera, 0.0)) + 1.0 / MOST_HZ
                    return camera, self._newest.pop(camera)
                self._changed.wait(min(waits.values(), default=None) if waits else None)
            return None
