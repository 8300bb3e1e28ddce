"""Node that opens a camera: a RealSense, a V4L2 device or stream, or recorded images as if they were taken now."""

from __future__ import annotations

import contextlib
import pkgutil
import threading
import time
import traceback
from dataclasses import replace
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image

from fosp_core import topics
from fosp_core.cameras import CAMERA_TYPES
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_depth, fill_image
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import path_parameter
from fosp_core.ros.stamps import nanoseconds, time_message
from fosp_perception.camera.camera_diagnostics import CameraReport, FrameStatistics, diagnostic_array
from fosp_perception.camera.image_source import CameraFrame, CameraSettings, ImageSource, SourceLost

RETRY_S = 0.25
"""Time between two attempts to open a camera that is gone."""
REPORT_PERIOD_S = 1.0
END_TIMEOUT_S = 4.0
_LATENESS_S = 0.1
"""A recording that falls further behind its rate than this goes on from now, instead of catching up in a burst."""


PARAMETERS = (
    NodeParameter("source", "bag", "Camera type.", choices=tuple(CAMERA_TYPES)),
    NodeParameter("camera_name", "camera", "Name of the camera, which its topics begin with."),
    NodeParameter("frame_id", "", "Frame of the images; empty for NAME_color_optical_frame."),
    NodeParameter("rate_hz", 30.0, "Rate of the frames.", "Hz", 0.01, 1000.0),
    NodeParameter("loop", False, "Begin again at the end of a recording."),
    NodeParameter("serial", "", "Serial number of a RealSense; empty where it is the only one."),
    NodeParameter("device", "", "Device of an opencv camera: /dev/video0, a name in /dev/v4l/by-id, a URL or a file."),
    NodeParameter("path", "", "Recording in place of the camera: a bag, a folder of images or a RealSense file."),
    NodeParameter("topic", topics.COLOR_IMAGE, "Image topic in a bag."),
    NodeParameter("width", 640, "Width of the images.", "pixels", 1, 16384),
    NodeParameter("height", 480, "Height of the images.", "pixels", 1, 16384),
    NodeParameter("depth", False, "Publish depth aligned to the colour image, too."),
    NodeParameter("exposure", "auto", "Exposure time in the unit of the colour sensor (D435: 100 us), or `auto`."),
)


class CameraNode(ManagedNode):
    """A camera of one of the types of fosp_core.cameras, with the topics of realsense-ros.

    It publishes NAME/color/image_raw (rgb8) and NAME/color/camera_info, with `depth` also
    NAME/aligned_depth_to_color/image_raw (16UC1, mm) and its camera_info, and once per second /diagnostics. The stamp
    of an image is the moment of its exposure on the ROS clock where the device tells it, else that of its arrival.

    PARAMETERS lists its parameters.

    When a device is unplugged, the node reports it and tries to open it again until it is back. The end of a recording
    and a damaged frame end the stream. Nothing is published meanwhile, and the safety monitor stops the robot.
    """

    def __init__(self) -> None:
        super().__init__("camera_node")
        declare(self, PARAMETERS)
        self._source: ImageSource | None = None
        self._thread: threading.Thread | None = None
        self._asking: threading.Thread | None = None
        self._ending, self._unconfiguring = threading.Event(), threading.Event()
        self._made: list[Any] = []
        self._timer: Any = None

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        self._rate_hz = float(self.get_parameter("rate_hz").value)
        self._settings = self._read_settings()
        self._source = self._open()
        self._statistics = FrameStatistics()
        self._report = CameraReport(self.get_fully_qualified_name().lstrip("/"), self._source.name, self._rate_hz)
        self._describe(self._source)
        self._make_publishers()
        self._timer = self.create_timer(REPORT_PERIOD_S, self._publish_report)
        self._unconfiguring = threading.Event()
        self._asking = threading.Thread(
            target=self._ask_details, args=(self._unconfiguring,), name="details", daemon=True
        )
        self._asking.start()

    def activate(self) -> None:
        self._ending.clear()
        self._thread = threading.Thread(target=self._film_guarded, name="camera")
        self._thread.start()

    def deactivate(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(END_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the camera's thread did not end within {END_TIMEOUT_S:g} s")
            self._thread = None

    def cleanup(self) -> None:
        self._unconfiguring.set()
        if self._asking is not None:
            self._asking.join(END_TIMEOUT_S)  # a device that is being asked must not be closed
            self._asking = None
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for publisher in self._made:
            self.destroy_publisher(publisher)
        self._made = []
        if self._source is not None:
            self._source.close()
            self._source = None

    def _make_publishers(self) -> None:
        name = self._text("camera_name")
        frame_id = self._text("frame_id") or f"{name}_color_optical_frame"
        self._image, self._depth_image, self._info = Image(), Image(), CameraInfo()
        for message in (self._image, self._depth_image, self._info):
            message.header.frame_id = frame_id
        kinds = [(Image, topics.COLOR_IMAGE), (CameraInfo, topics.CAMERA_INFO)]
        if self._settings.depth:
            kinds += [(Image, topics.DEPTH_IMAGE), (CameraInfo, topics.DEPTH_INFO)]
        self._made = [self.create_publisher(kind, topics.of_camera(t, name), qos.IMAGE_SOURCE) for kind, t in kinds]
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self._made.append(self._diagnostics)

    # -- sources -------------------------------------------------------------------------------------
    def _text(self, name: str) -> str:
        return str(self.get_parameter(name).value)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _read_settings(self) -> CameraSettings:
        """Return the settings in the parameters; raise UserError when the camera type cannot have them."""
        source = self._text("source")
        self._type = kind = CAMERA_TYPES[source]
        settings = CameraSettings(
            serial=self._text("serial"),
            device=self._text("device"),
            path=path_parameter(self, "path") if self._is_recorded() else None,
            topic=self._text("topic"),
            loop=bool(self.get_parameter("loop").value),
            width=int(self.get_parameter("width").value),
            height=int(self.get_parameter("height").value),
            rate_hz=self._rate_hz,
            depth=bool(self.get_parameter("depth").value),
            exposure=self._exposure() if "exposure" in kind.options else None,
        )
        if settings.depth and "depth" not in kind.options:
            able = ", ".join(name for name, other in CAMERA_TYPES.items() if "depth" in other.options)
            raise UserError(f"source '{source}' has no depth; these have: {able}")
        if not kind.found_alone and not getattr(settings, kind.identity):
            raise UserError(f"source '{source}' needs the parameter '{kind.identity}' (docs/camera.md)")
        return settings

    def _is_recorded(self) -> bool:
        return self._type.identity == "path" or bool(self._type.recordings and self._text("path"))

    def _open(self) -> ImageSource:
        """Open the camera; again after it was unplugged, and then the same one even if others are plugged in."""
        settings = self._settings
        if self._source is not None and settings.path is None:
            settings = replace(settings, **{self._type.identity: self._source.name})  # type: ignore[arg-type]
        opened: ImageSource = pkgutil.resolve_name(self._type.source)(settings, self._now_ns)
        return opened

    def _exposure(self) -> float | None:
        given = self._text("exposure")
        if given == "auto":
            return None
        with contextlib.suppress(ValueError):
            if 0.0 < float(given) < float("inf"):
                return float(given)
        raise UserError(f"parameter 'exposure' must be 'auto' or a number above 0, got '{given}'")

    def _describe(self, source: ImageSource) -> None:
        """Take over size, intrinsics and warnings of a source that was opened."""
        self._intrinsics, self._size = source.intrinsics, source.size
        self._report.warnings, self._report.lost = source.warnings, ""
        for warning in source.warnings:
            self.get_logger().warning(warning)

    # -- the camera's thread -------------------------------------------------------------------------
    def _film_guarded(self) -> None:
        try:
            self._film()
        except UserError as error:
            self._report.lost = str(error)
            self.get_logger().error(f"no more frames: {error}")
        except Exception:
            self._report.lost = "the camera's thread failed"
            self.get_logger().fatal(f"no more frames, the camera's thread failed:\n{traceback.format_exc()}")

    def _film(self) -> None:
        due_s = time.monotonic()
        while not self._ending.is_set():
            source = self._source
            assert source is not None
            if source.paced:
                due_s = max(due_s + 1.0 / self._rate_hz, time.monotonic() - _LATENESS_S)
                if self._ending.wait(max(0.0, due_s - time.monotonic())):
                    return
            try:
                frame = source.read()
            except SourceLost as lost:
                if not self._recover(source, lost):
                    return
                continue
            self._publish(frame)
            self._statistics.add(time.monotonic(), frame.number)

    def _recover(self, source: ImageSource, lost: SourceLost) -> bool:
        """Wait until the device is back; return False when it cannot come back, or the node is being deactivated."""
        self._report.lost = str(lost)
        if not lost.comes_back:
            self.get_logger().warning(f"{lost}: no more frames")
            return False
        self.get_logger().error(f"{lost}: no frames until it is back")
        self._statistics.interrupted()
        source.close()
        while not self._ending.wait(RETRY_S):
            try:
                self._source = self._open()
            except UserError as error:
                self._report.lost = str(error)
                continue
            self._report.reconnects += 1
            self._describe(self._source)
            self.get_logger().info(f"{self._source.name} is back")
            return True
        return False

    def _publish(self, frame: CameraFrame) -> None:
        now_ns = self._now_ns()
        stamp = time_message(now_ns if frame.stamp_ns is None else frame.stamp_ns)
        self._report.latency_s = (now_ns - nanoseconds(stamp)) * 1e-9
        images, infos, *depths = self._made[:-1]
        fill_image(self._image, frame.color)
        self._fill_info(stamp)
        self._image.header.stamp = stamp
        images.publish(self._image)
        infos.publish(self._info)
        if depths and frame.depth is not None:
            fill_depth(self._depth_image, frame.depth)
            self._depth_image.header.stamp = stamp
            depths[0].publish(self._depth_image)
            depths[1].publish(self._info)

    def _fill_info(self, stamp: Time) -> None:
        info, intrinsics = self._info, self._intrinsics
        info.header.stamp = stamp
        info.height, info.width = self._size
        info.distortion_model = intrinsics.distortion_model
        info.d, info.k, info.r, info.p = (list(v) for v in (intrinsics.d, intrinsics.k, intrinsics.r, intrinsics.p))

    # -- diagnostics ---------------------------------------------------------------------------------
    def _ask_details(self, ending: threading.Event) -> None:
        """Ask the device once per second, until the configuration ends.

        An answer over USB may take longer than a frame, and longer than the silence after which the robot stops: the
        thread that asks neither films nor sends heartbeats.
        """
        while not ending.is_set():
            source = self._source
            if source is not None and not self._report.lost:
                try:
                    self._report.details = source.details()
                except Exception as error:  # a device that is just unplugged raises anything
                    self.get_logger().warning(f"no details of the camera: {error}", throttle_duration_sec=10.0)
            ending.wait(REPORT_PERIOD_S)

    def _publish_report(self) -> None:
        message = diagnostic_array(self._report, self._statistics, self.is_active, time.monotonic())
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> None:
    end_process(run_node(CameraNode, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
