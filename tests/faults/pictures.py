"""Pictures that are fresh and well-formed, but wrong: what the relay makes of the frames of the camera."""

from __future__ import annotations

import array
import copy
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from relay import Tamper, changed
from sensor_msgs.msg import Image

Picture = NDArray[np.uint8]


def shown(change: Callable[[Picture], Picture | NDArray[np.floating]]) -> Tamper:
    """Each frame (H, W, 3) changed by itself."""

    def tamper(message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        message.data = array.array("B", np.ascontiguousarray(change(pixels), np.uint8).tobytes())

    return changed(tamper)


def swapped(picture: Picture) -> Picture:
    return picture[..., ::-1]


def mirrored(picture: Picture) -> Picture:
    return picture[:, ::-1]


def upside_down(picture: Picture) -> Picture:
    return picture[::-1, ::-1]


def hand_dark(picture: Picture) -> NDArray[np.floating]:
    return picture * 0.05 + 12.0


def hand_blurred(picture: Picture) -> NDArray[np.floating]:
    # Blurred when it is small, because the relay must keep up with the camera.
    rows, columns = picture.shape[:2]
    small = cv2.resize(picture, (columns // 8, rows // 8), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), 0.12 * len(small)), (columns, rows))
    return 0.5 * blurred + np.array([75.0, 47.0, 37.0])


def half_black(picture: Picture) -> Picture:
    half = picture.copy()
    half[:, picture.shape[1] // 2 :] = 0
    return half


def old(seconds: float, rate_hz: float = 40.0) -> Tamper:
    """The frames of some time ago under the stamps of now."""
    kept: deque[Image] = deque(maxlen=1 + round(seconds * rate_hz))

    def tamper(message: Image) -> Iterable[Any]:
        kept.append(copy.copy(message))
        stale = copy.copy(kept[0])
        stale.header = message.header
        return (stale,)

    return tamper


def repeated(count: int) -> Tamper:
    """The first frames again and again under new stamps; each is shown for two frames, as long as a decision."""
    kept: list[Image] = []
    number = 0

    def tamper(message: Image) -> Iterable[Any]:
        nonlocal number
        if len(kept) < 2 * count:
            kept.append(message)
            return (message,)
        again = copy.copy(kept[number % (2 * count)])
        again.header = message.header
        number += 1
        return (again,)

    return tamper


def clock() -> Tamper:
    """The first frame for ever, but for a clock of four pixels of what the model sees, which are 15 of its own."""
    kept: list[Picture] = []

    def show(picture: Picture) -> Picture:
        if not kept:
            kept.append(picture.copy())
        kept[0][8:16, 48:56] = (int(kept[0][8, 48, 0]) + 37) % 256
        return kept[0]

    return shown(show)
