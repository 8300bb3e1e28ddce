"""The camera types: the one table that robot files, the stack and camera_node read.

To add a camera type, write its source class in fosp_perception/camera and add its entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fosp_core.bag.files import METADATA, is_storage


@dataclass(frozen=True)
class CameraType:
    """A kind of image source that camera_node opens."""

    source: str
    """Import path of its class, which is called with CameraSettings and the ROS clock (image_source.ImageSource)."""
    identity: str
    """The setting that tells one camera of this type from another; also the `name` of the opened source."""
    found_alone: bool = False
    """The identity may be left out where the machine has one such camera only."""
    options: tuple[str, ...] = ()
    """Settings that this type takes beside identity, size and rate."""
    recordings: tuple[str, ...] = ()
    """Suffixes of the files that this type plays in place of a device."""


_SOURCES = "fosp_perception.camera"
DEVICES: dict[str, CameraType] = {
    "realsense": CameraType(
        f"{_SOURCES}.realsense_source:RealSenseSource",
        identity="serial",
        found_alone=True,
        options=("depth", "exposure"),
        recordings=(".db3", ".bag"),
    ),
    "opencv": CameraType(f"{_SOURCES}.opencv_source:OpenCvSource", identity="device"),
}
"""Name -> type, of the cameras that a robot file may list."""

CAMERA_TYPES: dict[str, CameraType] = {
    **DEVICES,
    "bag": CameraType(f"{_SOURCES}.recorded_source:BagSource", identity="path", options=("topic",)),
    "folder": CameraType(f"{_SOURCES}.recorded_source:FolderSource", identity="path"),
}
"""Name -> type, of everything that camera_node opens: devices and recordings."""


def recording_type(path: Path) -> str:
    """Return the camera type that plays the recording at `path`, or "" when none does."""
    if path.is_dir():
        return "bag" if any(is_storage(found.name) or found.name == METADATA for found in path.iterdir()) else "folder"
    if not path.is_file():
        return ""
    # A .db3 of its own is a recording of the RealSense Viewer; one of rosbag2 has its metadata beside it.
    if is_storage(path.name) and (path.suffix != ".db3" or (path.parent / METADATA).is_file()):
        return "bag"
    return next((name for name, kind in CAMERA_TYPES.items() if path.suffix in kind.recordings), "")
