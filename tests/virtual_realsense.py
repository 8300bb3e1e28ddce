"""A RealSense that is not there, for tests: real frames of the SDK, with intrinsics, depth and a hardware clock.

`record` makes a recording with the SDK's software device. Loaded into an SDK context such a file is a camera with a
serial number, which can be unplugged. Run as a program this is camera_node with that camera:

    python tests/virtual_realsense.py --ros-args -p recording:=FILE -p plug:=FILE -p source:=realsense ...

It is plugged in as long as the file `plug` exists.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyrealsense2 as rs

SERIAL = "012345678901"
"""Like real ones: digits only, which must not become a number on the way through parameters."""
WIDTH, HEIGHT, RATE_HZ = 160, 120, 30
DISTANCE_MM = 700
FOCAL = 140.0
TEMPERATURE_C = 41.0
POLL_S = 0.02
START_MS = 1_700_000_000_000.0


def _slowly_changing(frame: int) -> int:
    return 60 + frame // 30 % 100


def _everywhere(frame: int) -> Any:
    return np.full((HEIGHT, WIDTH), DISTANCE_MM, np.uint16)


def record(
    path: Path,
    frames: int,
    *,
    serial: str = SERIAL,
    usb: str = "3.2",
    unit_m: float = 0.001,
    domain: Any = rs.timestamp_domain.hardware_clock,
    brightness: Callable[[int], int] = _slowly_changing,
    distances: Callable[[int], Any] = _everywhere,
    depth_until: int | None = None,
) -> Path:
    """A recording of `frames` grey frames of this `brightness`, and of `distances` (H, W), mm, both by number.

    The depth sensor falls silent with frame `depth_until`.
    """
    device = rs.software_device()
    for key, value in (("serial_number", serial), ("name", "Virtual RealSense"), ("usb_type_descriptor", usb)):
        device.register_info(getattr(rs.camera_info, key), value)
    sensors = [device.add_sensor("RGB Camera"), device.add_sensor("Stereo Module")]
    color = sensors[0].add_video_stream(_stream(rs.stream.color, 1, rs.format.rgb8, 3))
    depth = sensors[1].add_video_stream(_stream(rs.stream.depth, 2, rs.format.z16, 2))
    sensors[1].add_read_only_option(rs.option.depth_units, unit_m)
    sensors[1].add_read_only_option(rs.option.asic_temperature, TEMPERATURE_C)
    together = rs.extrinsics()
    together.rotation, together.translation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
    depth.register_extrinsics_to(color, together)
    recorder = rs.recorder(str(path), device)
    received = rs.frame_queue(64)
    recorded = recorder.query_sensors()
    for sensor, profile in zip(recorded, (color, depth), strict=True):
        sensor.open(profile)
        sensor.start(received)
    for number in range(frames):
        timestamp_ms, grey = START_MS + number * 1e3 / RATE_HZ, brightness(number)
        pixels = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
        pixels[: HEIGHT // 2, : WIDTH // 2, 0] = 255 - grey
        depths = np.rint(distances(number) * 1e-3 / unit_m).astype(np.uint16)
        sensors[0].on_video_frame(_frame(pixels, 3, color, number, timestamp_ms, domain))
        received.wait_for_frame(1000)  # what was written has come through
        if depth_until is None or number < depth_until:
            sensors[1].on_video_frame(_frame(depths.view(np.uint8), 2, depth, number, timestamp_ms, domain))
            received.wait_for_frame(1000)
    for sensor in recorded:
        sensor.stop()
        sensor.close()
    recorder.pause()
    del recorder, recorded  # closes the file
    _pace(path)
    return path


def _pace(path: Path) -> None:
    """The SDK records when a frame came, which was as fast as it could; let a player take the camera's time."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for (topic,) in connection.execute("SELECT id FROM topics").fetchall():
            rows = "SELECT id FROM messages WHERE topic_id = ? AND timestamp > 0 ORDER BY id"
            moments = [
                (i * 1_000_000_000 // RATE_HZ + 1, row) for i, (row,) in enumerate(connection.execute(rows, (topic,)))
            ]
            connection.executemany("UPDATE messages SET timestamp = ? WHERE id = ?", moments)


def _stream(kind: Any, uid: int, pixel_format: Any, bytes_per_pixel: int) -> Any:
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = WIDTH, HEIGHT
    intrinsics.fx = intrinsics.fy = FOCAL
    intrinsics.ppx, intrinsics.ppy = WIDTH / 2, HEIGHT / 2
    intrinsics.model, intrinsics.coeffs = rs.distortion.inverse_brown_conrady, [0.1, -0.2, 0.001, 0.002, 0.05]
    stream = rs.video_stream()
    stream.type, stream.index, stream.uid = kind, 0, uid
    stream.width, stream.height, stream.fps, stream.bpp = WIDTH, HEIGHT, RATE_HZ, bytes_per_pixel
    stream.fmt, stream.intrinsics = pixel_format, intrinsics
    return stream


def _frame(pixels: Any, bytes_per_pixel: int, profile: Any, number: int, timestamp_ms: float, domain: Any) -> Any:
    frame = rs.software_video_frame()
    frame.pixels, frame.stride, frame.bpp = pixels, WIDTH * bytes_per_pixel, bytes_per_pixel
    frame.timestamp, frame.domain = timestamp_ms, domain
    frame.frame_number, frame.profile = number, profile.as_video_stream_profile()
    return frame


class VirtualPlug:
    """An SDK context in which the recording is a camera while `plugged`; in a `with` statement, while that lasts."""

    def __init__(self, recording: Path) -> None:
        self.context = rs.context()
        self._recording = str(recording)
        self._device: Any = None

    def __enter__(self) -> VirtualPlug:
        self.plug_in()
        return self

    def __exit__(self, *reason: object) -> None:
        self.unplug()

    @property
    def plugged(self) -> bool:
        return self._device is not None

    def plug_in(self) -> None:
        if not self.plugged:
            self._device = self.context.load_device(self._recording)  # listed as long as somebody holds it

    def unplug(self) -> None:
        if self.plugged:
            self.context.unload_device(self._recording)
            self._device = None


class _Follower(threading.Thread):
    """Keeps the plug in while a file exists."""

    def __init__(self, plug: VirtualPlug, file: Path) -> None:
        super().__init__()
        self._plug, self._file, self._ending = plug, file, threading.Event()
        self._follow()

    def run(self) -> None:
        while not self._ending.wait(POLL_S):
            self._follow()

    def end(self) -> None:
        """The SDK ends the process with an error where its devices outlive it."""
        self._ending.set()
        self.join()
        self._plug.unplug()

    def _follow(self) -> None:
        if self._file.exists():
            self._plug.plug_in()
        else:
            self._plug.unplug()


def main() -> None:
    from fosp_core.ros.lifecycle import run_node
    from fosp_core.ros.parameters import NodeParameter
    from fosp_core.ros.robot_parameter import path_parameter
    from fosp_perception import camera_node
    from fosp_perception.camera import realsense_source

    followers: list[_Follower] = []

    def make() -> camera_node.CameraNode:
        camera_node.PARAMETERS += tuple(NodeParameter(name, "", "File of the test.") for name in ("recording", "plug"))
        node = camera_node.CameraNode()
        plug = VirtualPlug(path_parameter(node, "recording"))
        realsense_source.sdk_context = lambda: plug.context
        followers.append(_Follower(plug, path_parameter(node, "plug")))
        followers[0].start()
        return node

    code = run_node(make)
    for follower in followers:
        follower.end()
    sys.exit(code)


if __name__ == "__main__":
    main()
