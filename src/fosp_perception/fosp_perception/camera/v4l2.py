"""The V4L2 devices of this machine, asked through the kernel's interface (linux/videodev2.h). No ROS node.

A webcam has several /dev/video*, of which one captures; the others carry metadata and are left out.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPTURE, _HAS_DEVICE_CAPS = 0x1, 0x80000000
_VIDEO_CAPTURE_BUFFER = 1
_DISCRETE = 1
_MOST = 64
"""Entries of one list of the driver that are read; a list that begins to repeat itself has ended, too."""
_REALSENSE_VENDOR, _REALSENSE_PRODUCTS = "8086", ("0a", "0b")

Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True)
class CameraMode:
    """A picture size and rate that a camera offers."""

    width: int
    height: int
    rate_hz: float
    """0 where the driver does not tell."""
    pixels: str
    """Name of the pixel format, such as MJPG."""

    def __str__(self) -> str:
        return f"{self.width}x{self.height}@{self.rate_hz:g} {self.pixels}".rstrip()


@dataclass(frozen=True)
class VideoDevice:
    """A device that gives pictures, or of which this user may not know it (`problem`)."""

    path: Path
    name: str
    serial: str
    stable: Path
    """The name in /dev/v4l/by-id that stays after a restart; `path` where there is none."""
    modes: tuple[CameraMode, ...]
    problem: str = ""
    realsense: bool = False
    """The device is part of a RealSense, which pyrealsense2 opens."""


def video_devices(
    dev: Path = Path("/dev"), sys: Path = Path("/sys"), ioctl: Ioctl = fcntl.ioctl
) -> Iterator[VideoDevice]:
    """Yield every /dev/video* that gives pictures, in the order of their numbers, and those that cannot be opened."""
    links: dict[Path, Path] = {}
    for link in sorted((dev / "v4l" / "by-id").glob("*")):
        links.setdefault(link.resolve(), link)
    numbered = [(int(path.name[5:]), path) for path in dev.glob("video*") if path.name[5:].isdecimal()]
    for _, path in sorted(numbered):
        about = sys / "class" / "video4linux" / path.name
        name, usb = _text(about / "name") or path.name, _usb_device(about)
        serial = _text(usb / "serial") if usb else ""
        is_realsense = (
            usb is not None
            and _text(usb / "idVendor") == _REALSENSE_VENDOR
            and _text(usb / "idProduct").startswith(_REALSENSE_PRODUCTS)
        )
        stable = links.get(path.resolve(), path)
        try:
            modes = _modes_of(path, ioctl)
        except OSError as error:
            problem = f"cannot be opened: {error.strerror or error}"
            problem += " (group video)" if isinstance(error, PermissionError) else ""
            yield VideoDevice(path, name, serial, stable, (), problem, is_realsense)
            continue
        if modes is not None:
            yield VideoDevice(path, name, serial, stable, modes, "", is_realsense)


def _usb_device(about: Path) -> Path | None:
    """Return the folder of the USB device to which an interface belongs, or None for a device that is not USB."""
    interface = (about / "device").resolve()
    return next((folder for folder in (interface, interface.parent) if (folder / "idVendor").is_file()), None)


def _modes_of(path: Path, ioctl: Ioctl) -> tuple[CameraMode, ...] | None:
    """Return the modes of a device, None for one that captures no pictures; raise OSError when it cannot be asked."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = bytearray(104)
        ioctl(descriptor, _QUERYCAP, answer)
        capabilities, of_this_node = struct.unpack_from("=II", answer, 84)
        if not (of_this_node if capabilities & _HAS_DEVICE_CAPS else capabilities) & _CAPTURE:
            return None
        found: dict[CameraMode, None] = {}
        for pixels in _formats(descriptor, ioctl):
            for width, height in _sizes(descriptor, pixels, ioctl):
                name = struct.pack("=I", pixels).decode("ascii", "replace").strip("\0 ")
                for rate_hz in _rates(descriptor, pixels, width, height, ioctl) or [0.0]:
                    found[CameraMode(width, height, rate_hz, name)] = None
        return tuple(found)
    finally:
        os.close(descriptor)


def _entries(descriptor: int, request: int, size: int, head: bytes, ioctl: Ioctl) -> Iterator[bytearray]:
    """Yield the driver's answers to an enumeration: a structure that begins with an index, and then `head`."""
    seen: set[bytes] = set()
    for index in range(_MOST):
        answer = bytearray(size)
        answer[: 4 + len(head)] = struct.pack("=I", index) + head
        try:
            ioctl(descriptor, request, answer)
        except OSError:  # the end of the list, or a driver without it
            return
        if bytes(answer[4:]) in seen:
            return
        seen.add(bytes(answer[4:]))
        yield answer


def _formats(descriptor: int, ioctl: Ioctl) -> list[int]:
    head = struct.pack("=I", _VIDEO_CAPTURE_BUFFER)
    return [struct.unpack_from("=I", one, 44)[0] for one in _entries(descriptor, _ENUM_FMT, 64, head, ioctl)]


def _sizes(descriptor: int, pixels: int, ioctl: Ioctl) -> list[tuple[int, int]]:
    """Return the discrete sizes; of a continuous range its smallest and its largest."""
    sizes: list[tuple[int, int]] = []
    for one in _entries(descriptor, _ENUM_FRAMESIZES, 44, struct.pack("=I", pixels), ioctl):
        (kind,) = struct.unpack_from("=I", one, 8)
        if kind == _DISCRETE:
            sizes.append(struct.unpack_from("=II", one, 12))
        else:
            least_w, most_w, _, least_h, most_h, _ = struct.unpack_from("=6I", one, 12)
            return [(least_w, least_h), (most_w, most_h)]
    return sizes


def _rates(descriptor: int, pixels: int, width: int, height: int, ioctl: Ioctl) -> list[float]:
    """Return the rates in Hz; of a continuous range its highest."""
    rates = []
    head = struct.pack("=III", pixels, width, height)
    for one in _entries(descriptor, _ENUM_FRAMEINTERVALS, 52, head, ioctl):
        kind, numerator, denominator = struct.unpack_from("=III", one, 16)
        rates.append(round(denominator / numerator, 3) if numerator else 0.0)
        if kind != _DISCRETE:
            break
    return rates


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
