"""V4L2 devices, played by answers laid out as the kernel's structures (linux/videodev2.h)."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from fosp_perception.camera.devices import WANTED, opencv_cameras
from fosp_perception.camera.v4l2 import CameraMode, video_devices

MJPG, YUYV = (int.from_bytes(name, "little") for name in (b"MJPG", b"YUYV"))
OFFERS: dict[int, dict[tuple[int, int], list[int]]] = {
    MJPG: {(640, 480): [30, 15], (1280, 720): [30]},
    YUYV: {(640, 480): [10]},
}


class PlayedDriver:
    """Answers for every device: the even numbers capture, the odd ones carry metadata."""

    def __init__(self, stepwise: bool = False, endless: bool = False) -> None:
        self.stepwise, self.endless = stepwise, endless

    def __call__(self, descriptor: int, request: int, answer: bytearray) -> int:
        number = int(os.readlink(f"/proc/self/fd/{descriptor}")[-1])
        code, (index,) = request & 0xFF, struct.unpack_from("=I", answer)
        assert len(answer) == request >> 16 & 0x3FFF, "the size is part of the request"
        if code == 0:
            struct.pack_into("=II", answer, 84, 0x80000000 | 0x1 | 0x800000, 0x1 if number % 2 == 0 else 0x800000)
        elif code == 2:
            assert struct.unpack_from("=I", answer, 4) == (1,)
            struct.pack_into("=I", answer, 44, self._entry(list(OFFERS), index))
        elif code == 74:
            (pixels,) = struct.unpack_from("=I", answer, 4)
            if self.stepwise:
                struct.pack_into("=I6I", answer, 8, 3, 160, 1920, 16, 120, 1080, 8)
            else:
                struct.pack_into("=III", answer, 8, 1, *self._entry(list(OFFERS[pixels]), index))
        else:
            pixels, *size = struct.unpack_from("=III", answer, 4)
            rates = [30] if self.stepwise else OFFERS[pixels][size[0], size[1]]
            struct.pack_into("=III", answer, 16, 1, 1, self._entry(rates, index))
        return 0

    def _entry(self, entries: list[Any], index: int) -> Any:
        if self.endless:
            return entries[index % len(entries)]
        if index >= len(entries):
            raise OSError(errno.EINVAL, "Invalid argument")
        return entries[index]


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Return /dev and /sys with a webcam (video0, video1) and a RealSense (video2)."""
    dev, sys = tmp_path / "dev", tmp_path / "sys"
    (dev / "v4l/by-id").mkdir(parents=True)
    for number, (vendor, product, serial) in {
        0: ("046d", "082d", "ABC123"), 1: ("046d", "082d", "ABC123"), 2: ("8086", "0b07", ""),
    }.items():  # fmt: skip
        (dev / f"video{number}").touch()
        usb = sys / f"devices/usb{number}"
        (usb / "interface").mkdir(parents=True)
        (usb / "idVendor").write_text(vendor + "\n")
        (usb / "idProduct").write_text(product + "\n")
        if serial:
            (usb / "serial").write_text(serial + "\n")
        about = sys / f"class/video4linux/video{number}"
        about.mkdir(parents=True)
        (about / "name").write_text(f"Camera {number}\n")
        (about / "device").symlink_to(usb / "interface")
    (dev / "v4l/by-id/usb-046d_C920-video-index0").symlink_to(dev / "video0")
    return dev, sys


def test_a_webcam_is_told_once_with_its_serial_and_the_name_that_survives_a_restart(machine: tuple[Path, Path]) -> None:
    first, second = video_devices(*machine, PlayedDriver())
    assert (first.path.name, first.name, first.serial) == ("video0", "Camera 0", "ABC123")
    assert first.stable.name == "usb-046d_C920-video-index0"
    assert (second.path.name, second.realsense, second.stable.name) == ("video2", True, "video2")
    assert first.modes == (
        CameraMode(640, 480, 30.0, "MJPG"),
        CameraMode(640, 480, 15.0, "MJPG"),
        CameraMode(1280, 720, 30.0, "MJPG"),
        CameraMode(640, 480, 10.0, "YUYV"),
    )


def test_the_video_devices_of_a_realsense_are_left_to_its_driver(machine: tuple[Path, Path]) -> None:
    (camera,) = opencv_cameras(list(video_devices(*machine, PlayedDriver())))
    assert (camera.source, Path(camera.identity).name) == ("opencv", "usb-046d_C920-video-index0")
    assert camera.mode == CameraMode(*WANTED, "MJPG")


def test_a_driver_without_discrete_sizes_tells_its_ends_and_one_without_an_end_is_cut(
    machine: tuple[Path, Path],
) -> None:
    (first, _) = video_devices(*machine, PlayedDriver(stepwise=True))
    assert {(mode.width, mode.height) for mode in first.modes} == {(160, 120), (1920, 1080)}
    (first, _) = video_devices(*machine, PlayedDriver(endless=True))
    assert len(first.modes) == 4


def test_a_device_that_may_not_be_opened_is_listed_with_the_reason(machine: tuple[Path, Path]) -> None:
    def denied(descriptor: int, request: int, answer: bytearray) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    first = next(iter(video_devices(*machine, denied)))
    assert "Permission denied (group video)" in first.problem
    assert first.modes == ()


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert list(video_devices(tmp_path, tmp_path)) == []
