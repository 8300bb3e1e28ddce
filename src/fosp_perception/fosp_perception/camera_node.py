"""A camera for the graph: recorded images, replayed at a fixed rate as if they were taken now."""

from __future__ import annotations

import sys

from sensor_msgs.msg import CameraInfo, Image

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.model_parameters import path_parameter
from fosp_perception.image_source import BagSource, FolderSource, ImageSource

SOURCES = ("bag", "folder")


class CameraNode(ManagedNode):
    """Publishes camera/color/image_raw (rgb8) and camera/color/camera_info, stamped with the moment of the frame.

    Parameters: `source` (bag or folder), `path`, `topic` (of a bag; its only image topic if it has no such one),
    `rate_hz`, `loop`, `frame_id`. At the end of a recording that does not loop, and at a damaged frame, the camera
    falls silent, as one that is unplugged; the safety monitor then stops the robot.
    """

    def __init__(self) -> None:
        super().__init__("camera_node")
        self.declare_parameter("source", "bag")
        self.declare_parameter("path", "")
        self.declare_parameter("topic", topics.COLOR_IMAGE)
        self.declare_parameter("rate_hz", 30.0)
        self.declare_parameter("loop", False)
        self.declare_parameter("frame_id", "camera_color_optical_frame")
        self._source: ImageSource | None = None
        self._timer = None

    def configure(self) -> None:
        rate_hz = float(self.get_parameter("rate_hz").value)
        if not 0.0 < rate_hz <= 1000.0:
            raise UserError(f"parameter 'rate_hz' must be above 0 and at most 1000, got {rate_hz:g}")
        self._source = self._open()
        self._image = Image()
        self._info = self._camera_info(self._source)
        self._image.header.frame_id = self._info.header.frame_id = str(self.get_parameter("frame_id").value)
        self._images = self.create_publisher(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
        self._infos = self.create_publisher(CameraInfo, topics.CAMERA_INFO, qos.IMAGE_SOURCE)
        self._timer = self.create_gated_timer(1.0 / rate_hz, self._publish)

    def activate(self) -> None:
        self._ended = False

    def cleanup(self) -> None:
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._source is not None:
            self._source.close()
            self._source = None

    def _open(self) -> ImageSource:
        kind, path = str(self.get_parameter("source").value), path_parameter(self, "path")
        loop = bool(self.get_parameter("loop").value)
        if kind == "folder":
            return FolderSource(path, loop)
        if kind == "bag":
            return BagSource(path, str(self.get_parameter("topic").value), loop)
        raise UserError(f"parameter 'source' must be one of {', '.join(SOURCES)}, got '{kind}'")

    @staticmethod
    def _camera_info(source: ImageSource) -> CameraInfo:
        intrinsics = source.intrinsics
        return CameraInfo(
            height=source.size[0],
            width=source.size[1],
            distortion_model=intrinsics.distortion_model,
            d=list(intrinsics.d),
            k=list(intrinsics.k),
            r=list(intrinsics.r),
            p=list(intrinsics.p),
        )

    def _publish(self) -> None:
        if self._ended or self._source is None:
            return
        stamp = self.get_clock().now().to_msg()
        try:
            frame = self._source.read()
        except UserError:
            self._ended = True
            raise
        if frame is None:
            self._ended = True
            self.get_logger().warning("end of the recording: no more frames")
            return
        fill_image(self._image, frame)
        self._image.header.stamp = self._info.header.stamp = stamp
        self._images.publish(self._image)
        self._infos.publish(self._info)


def main() -> None:
    sys.exit(run_node(CameraNode))


if __name__ == "__main__":
    main()
