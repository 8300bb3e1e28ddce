"""The cameras of this machine: what they are, what they offer, and a picture of each. No ROS node.

As a program (`python -m fosp_perception.camera.devices KIND [FOLDER]`) it prints a line of JSON per camera. `fosp
cameras` runs it so, because the drivers of cameras may hang, or end their process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.robot.config import CameraConfig
from fosp_perception.camera.image_source import CameraSettings, ImageSource, SourceLost
from fosp_perception.camera.v4l2 import CameraMode, VideoDevice, video_devices

WANTED = (640, 480, 30.0)
"""Width, height and rate, Hz, that are proposed where a camera offers them, else the nearest to them."""
_THUMBNAIL_WIDTH = 320


@dataclass(frozen=True)
class FoundCamera:
    """A camera that is connected to this machine."""

    source: str
    """Camera type, a key of fosp_core.cameras.DEVICES."""
    identity: str
    """Serial number of a RealSense, device of another camera: what the robot file names it by."""
    name: str
    serial: str
    modes: tuple[CameraMode, ...]
    """Colour modes."""
    usb: str = ""
    """USB version of the connection, where the camera tells."""
    problem: str = ""
    """Why it gives no picture; empty where it does or was not asked."""
    thumbnail: str = ""
    """File of the picture."""

    @property
    def mode(self) -> CameraMode | None:
        """The mode to propose: the nearest to WANTED, by size first; None where the modes are not known."""
        width, height, rate_hz = WANTED
        return min(
            self.modes,
            key=lambda mode: (abs(mode.width - width) + abs(mode.height - height), abs(mode.rate_hz - rate_hz)),
            default=None,
        )

    def in_robot_file(self, name: str) -> str:
        """Return the entry of `cameras` in a robot file that opens this camera as `name`."""
        named = {"realsense": f"serial: {json.dumps(self.identity)}", "opencv": f"device: {json.dumps(self.identity)}"}
        width, height = (self.mode.width, self.mode.height) if self.mode else WANTED[:2]
        CameraConfig(
            name=name, source=self.source, width=width, height=height,
            serial=self.identity if self.source == "realsense" else "",
            device=self.identity if self.source == "opencv" else "",
        )  # fmt: skip
        return f"{{name: {name}, source: {self.source}, {named[self.source]}, width: {width}, height: {height}}}"


def realsense_cameras(context: Any = None) -> Iterator[FoundCamera]:
    """Yield the RealSense cameras that an rs.context sees, by default a new one. Raise UserError without the SDK."""
    from fosp_perception.camera.realsense_source import realsense, sdk_context

    rs = realsense()
    for device in (sdk_context() if context is None else context).query_devices():

        def told(key: str, device: Any = device) -> str:
            information = getattr(rs.camera_info, key)
            return str(device.get_info(information)) if device.supports(information) else ""

        try:
            serial = told("serial_number")
            profiles = [profile for sensor in device.query_sensors() for profile in sensor.get_stream_profiles()]
            color = [one.as_video_stream_profile() for one in profiles if one.stream_type() == rs.stream.color]
            modes = dict.fromkeys(CameraMode(one.width(), one.height(), float(one.fps()), "") for one in color)
            yield FoundCamera("realsense", serial, told("name"), serial, tuple(modes), told("usb_type_descriptor"))
        except RuntimeError as error:  # unplugged meanwhile, or in an update of its firmware
            yield FoundCamera("realsense", "", "RealSense", "", (), problem=" ".join(str(error).split()))


def opencv_cameras(devices: Sequence[VideoDevice]) -> Iterator[FoundCamera]:
    """Yield the V4L2 devices that are no part of a RealSense."""
    for device in devices:
        if not device.realsense:
            yield FoundCamera(
                "opencv", str(device.stable), device.name, device.serial, device.modes, problem=device.problem
            )


def with_thumbnail(found: FoundCamera, folder: Path, context: Any = None) -> FoundCamera:
    """Open the camera, write one picture of it to `folder`, and return it with the file, or with what was in the way.

    `context` is the rs.context that sees a RealSense; None opens a new one. Raise UserError when the folder cannot be
    written.
    """
    if found.problem:
        return found
    try:
        pixels = _picture(found, context)
    except (UserError, SourceLost) as error:
        return replace(found, problem=str(error))
    name = "".join(letter if letter.isalnum() else "_" for letter in Path(found.identity).name)
    path = folder / f"{found.source}_{name}.jpg"
    height, width = pixels.shape[:2]
    size = (_THUMBNAIL_WIDTH, max(1, round(height * _THUMBNAIL_WIDTH / width)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if not cv2.imwrite(str(path), np.ascontiguousarray(small[..., ::-1])):
        raise UserError(f"{path}: cannot be written")
    return replace(found, thumbnail=str(path))


def _picture(found: FoundCamera, context: Any) -> NDArray[np.uint8]:
    """Return one frame (H, W, 3) uint8 RGB. Raise UserError or SourceLost where the camera gives none."""
    from fosp_perception.camera.opencv_source import OpenCvSource
    from fosp_perception.camera.realsense_source import RealSenseSource

    width, height, rate_hz = (found.mode.width, found.mode.height, found.mode.rate_hz) if found.mode else WANTED
    size = {"width": width, "height": height, "rate_hz": rate_hz or WANTED[2]}
    source: ImageSource
    if found.source == "realsense":
        source = RealSenseSource(CameraSettings(serial=found.identity, **size), time.time_ns, context)  # type: ignore[arg-type]
    else:
        source = OpenCvSource(CameraSettings(device=found.identity, **size), time.time_ns)  # type: ignore[arg-type]
    try:
        return source.read().color.copy()  # a view of the device's memory
    finally:
        source.close()


def as_json(found: FoundCamera) -> dict[str, Any]:
    """Return a camera as plain values."""
    return asdict(found)


def from_json(content: dict[str, Any]) -> FoundCamera:
    """Return the camera that `as_json` wrote."""
    return FoundCamera(**{**content, "modes": tuple(CameraMode(**mode) for mode in content["modes"])})


def main(arguments: Sequence[str]) -> int:
    """Print the cameras of a kind, `realsense` or `opencv`, a line of JSON each as soon as it is known."""
    kind, folder = arguments[0], Path(arguments[1]) if len(arguments) > 1 else None
    found = realsense_cameras() if kind == "realsense" else opencv_cameras(list(video_devices()))
    try:
        for camera in found:
            print(json.dumps(as_json(with_thumbnail(camera, folder) if folder else camera)), flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
