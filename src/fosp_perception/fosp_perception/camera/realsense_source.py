"""Intel RealSense cameras through pyrealsense2, which is imported only when such a camera is opened. No ROS node.

Opening selects the camera by its serial number, sets profile and exposure, and lets the exposure settle. An event of
the SDK, or missing frames, tell that the camera was unplugged; the node then opens it again by the same serial number.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.image import ExposureSettling
from fosp_perception.camera.image_source import CameraFrame, CameraIntrinsics, CameraSettings, DeviceClock, SourceLost

PATIENCE_MS = 500
"""Time without a frame after which the camera counts as lost."""
OLDEST_DEPTH = 2.5
"""Largest age of a depth frame beside its colour frame, in frame periods, and number of times that it may come again.
The SDK goes on pairing the last one there was, so that a depth sensor which fell silent would show a cell as it once
was, under stamps of now."""
WARM_UP_S = 1.5
"""Longest wait for the exposure to settle."""
_OLDEST_NS = 1_000_000_000
_AHEAD_NS = 10_000_000
"""A stamp on the host's clock is trusted only within these limits of its arrival."""


def realsense() -> Any:
    """Return the module pyrealsense2; raise UserError, which says how to install it, when it is missing."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise UserError(
            f"camera source 'realsense' needs pyrealsense2 ({error}): "
            "pip install pyrealsense2, and apt install libusb-1.0-0"
        ) from None
    return pyrealsense2


def sdk_context() -> Any:
    """Return a new rs.context, which sees the devices of this machine."""
    return realsense().context()


class RealSenseSource:
    """A RealSense camera, or a recording of one, with depth aligned to the colour image on request.

    `context` is an rs.context; None opens a new one.
    """

    paced = False

    def __init__(self, settings: CameraSettings, now_ns: Callable[[], int], context: Any = None) -> None:
        self._rs = rs = realsense()
        self._settings, self._now_ns = settings, now_ns
        self._changed = threading.Event()
        self._clock = DeviceClock()
        self._ahead: Any = None
        self._depth_number, self._repeats = -1, 0
        """Number of the last depth frame, and how often it has come again."""
        self._context = sdk_context() if context is None else context
        self.name = self._choose(settings.serial) if settings.path is None else str(settings.path)
        self._pipeline = rs.pipeline(self._context)
        self._profile = self._start()
        try:
            self._context.set_devices_changed_callback(lambda information: self._changed.set())
            self._device = self._profile.get_device()
            color = self._profile.get_stream(rs.stream.color).as_video_stream_profile()
            self.size = (color.height(), color.width())
            self._period_ms = 1e3 / color.fps()
            self.intrinsics = camera_intrinsics(color.get_intrinsics())
            self._color_sensor = self._sensor_of(rs.stream.color)
            self._align = rs.align(rs.stream.color) if settings.depth else None
            self._depth_mm = self._depth_unit_mm() if settings.depth else 1.0
            self._use_global_time()
            self._set_exposure()
            self.warnings = (*self._usb_warning(), *self._warm_up())
        except BaseException:
            self.close()
            raise

    # -- frames --------------------------------------------------------------------------------------
    def read(self) -> CameraFrame:
        frames, self._ahead = self._ahead, None
        if frames is None:
            try:
                frames = self._wait()
            except RuntimeError as error:
                raise SourceLost(f"RealSense {self.name}: {' '.join(str(error).split())}", comes_back=True) from None
        color = frames.get_color_frame()
        depth = frames.get_depth_frame() if self._settings.depth else None
        pixels = np.asanyarray(color.get_data())
        if pixels.shape != (*self.size, 3):
            raise UserError(f"RealSense {self.name}: a frame of shape {pixels.shape} among {self.size}")
        return CameraFrame(
            pixels,
            self._stamp_ns(color),
            self._millimetres(np.asanyarray(depth.get_data())) if depth else None,
            color.get_frame_number(),
        )

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the device is gone
            self._pipeline.stop()
        with contextlib.suppress(RuntimeError):
            self._context.set_devices_changed_callback(lambda information: None)

    def _wait(self) -> Any:
        """Return the next complete set of frames; raise SourceLost when none arrives."""
        deadline, missing = time.monotonic() + PATIENCE_MS * 1e-3, "frame"
        while time.monotonic() < deadline:
            self._check_plugged()
            arrived, frames = self._pipeline.try_wait_for_frames(PATIENCE_MS // 5)
            if not arrived:
                if self._ended():
                    raise SourceLost("end of the recording", comes_back=False)
                continue
            if not frames.get_color_frame():
                continue
            if self._align is None:
                return frames
            depth = frames.get_depth_frame()
            if depth and self._is_new(depth, frames.get_color_frame()):
                return self._align.process(frames).as_frameset()
            missing = "depth frame"
        raise SourceLost(f"RealSense {self.name} gave no {missing} for {PATIENCE_MS} ms", comes_back=True)

    def _is_new(self, depth: Any, color: Any) -> bool:
        """Return whether a depth frame is about as new as the colour frame; ages are known of equal clocks alone."""
        number = depth.get_frame_number()
        self._repeats = self._repeats + 1 if number == self._depth_number else 0
        self._depth_number = number
        same_clock = depth.get_frame_timestamp_domain() == color.get_frame_timestamp_domain()
        age_ms = color.get_timestamp() - depth.get_timestamp() if same_clock else 0.0
        return self._repeats <= OLDEST_DEPTH and age_ms <= OLDEST_DEPTH * self._period_ms

    def _check_plugged(self) -> None:
        if self._settings.path is None and self._changed.is_set():
            self._changed.clear()
            if self.name not in self._connected():
                raise SourceLost(f"RealSense {self.name} was unplugged", comes_back=True)

    def _ended(self) -> bool:
        if self._settings.path is None:
            return False
        return bool(self._device.as_playback().current_status() == self._rs.playback_status.stopped)

    def _stamp_ns(self, frame: Any) -> int:
        """Return the stamp on the ROS clock.

        Global and system time of the SDK are the host's clock already. Where the values contradict that, and for the
        hardware clock, DeviceClock maps them.
        """
        device_ns, now_ns = round(frame.get_timestamp() * 1e6), self._now_ns()
        mapped_ns = self._clock.ros_ns(device_ns, now_ns)
        on_host = frame.get_frame_timestamp_domain() != self._rs.timestamp_domain.hardware_clock
        if on_host and -_AHEAD_NS <= now_ns - device_ns <= _OLDEST_NS:
            return min(device_ns, now_ns)
        return mapped_ns

    def _millimetres(self, depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
        if self._depth_mm == 1.0:
            return depth
        return np.clip(np.rint(depth * self._depth_mm), 0, 65535).astype(np.uint16)

    # -- opening -------------------------------------------------------------------------------------
    def _connected(self) -> dict[str, str]:
        """Return the product names of the connected cameras by serial number."""
        found = {}
        for device in self._context.query_devices():
            with contextlib.suppress(RuntimeError):  # unplugged meanwhile
                found[_information(self._rs, device, "serial_number")] = _information(self._rs, device, "name")
        return found

    def _choose(self, serial: str) -> str:
        found = self._connected()
        listed = ", ".join(f"{number} ({name})" for number, name in found.items()) or "none"
        if serial and serial not in found:
            raise UserError(f"RealSense {serial} is not connected; connected: {listed}")
        if not serial and len(found) != 1:
            hint = "set the parameter 'serial'" if found else "check cable, USB port and udev rules (docs/camera.md)"
            raise UserError(f"one RealSense is needed; connected: {listed}; {hint}")
        return serial or next(iter(found))

    def _start(self) -> Any:
        rs, settings = self._rs, self._settings
        config = rs.config()
        if settings.path is None:
            if settings.rate_hz != round(settings.rate_hz):
                raise UserError(f"a RealSense has whole rates (6, 15, 30, 60, 90 Hz), not {settings.rate_hz:g}")
            config.enable_device(self.name)
            size = settings.width, settings.height
            config.enable_stream(rs.stream.color, *size, rs.format.rgb8, round(settings.rate_hz))
            if settings.depth:
                config.enable_stream(rs.stream.depth, rs.format.z16, round(settings.rate_hz))
        else:
            if not settings.path.is_file():
                raise UserError(f"{settings.path}: no such recording")
            config.enable_stream(rs.stream.color, -1, 0, 0, rs.format.rgb8, 0)
            if settings.depth:
                config.enable_stream(rs.stream.depth, -1, 0, 0, rs.format.z16, 0)
        try:
            if settings.path is not None:
                config.enable_device_from_file(str(settings.path), settings.loop)
            return self._pipeline.start(config)
        except RuntimeError as error:
            raise UserError(self._why_not(error)) from None

    def _why_not(self, error: RuntimeError) -> str:
        """Return one line on why the pipeline does not start."""
        text = " ".join(str(error).split())
        if self._settings.path is not None:
            return f"{self.name}: not a RealSense recording with the streams that are asked for ({text})"
        asked = f"{self._settings.width}x{self._settings.height} at {self._settings.rate_hz:g} Hz"
        profiles = self._profiles()
        if profiles and asked not in profiles:
            return f"RealSense {self.name} has no colour at {asked}; it has {', '.join(profiles)}"
        return f"RealSense {self.name} does not start ({text}); does another program use it?"

    def _profiles(self) -> list[str]:
        """Return the colour profiles of the camera; the SDK converts their format."""
        found: dict[str, None] = {}
        for device in self._context.query_devices():
            if _information(self._rs, device, "serial_number") != self.name:
                continue
            for profile in (p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()):
                if profile.stream_type() == self._rs.stream.color:
                    video = profile.as_video_stream_profile()
                    found[f"{video.width()}x{video.height()} at {video.fps()} Hz"] = None
        return list(found)

    def _sensor_of(self, stream: Any) -> Any:
        """Return the sensor of a stream, or None where the SDK does not tell (recordings of old versions)."""
        for sensor in self._device.query_sensors():
            if any(profile.stream_type() == stream for profile in sensor.get_stream_profiles()):
                return sensor
        return None

    def _depth_unit_mm(self) -> float:
        sensor = self._sensor_of(self._rs.stream.depth)
        unit = self._rs.option.depth_units
        if sensor is None or not sensor.supports(unit):
            return 1.0
        return round(float(sensor.get_option(unit)) * 1e3, 6)

    def _use_global_time(self) -> None:
        """Switch on stamps of the host's clock where the device has them; another program may have changed that."""
        wanted = self._rs.option.global_time_enabled
        for sensor in self._device.query_sensors() if self._settings.path is None else ():
            if sensor.supports(wanted) and not sensor.is_option_read_only(wanted):
                self._set(sensor, wanted, 1.0)

    def _set_exposure(self) -> None:
        rs, sensor, exposure = self._rs, self._color_sensor, self._settings.exposure
        if self._settings.path is not None or sensor is None:
            return
        if exposure is None:
            if sensor.supports(rs.option.enable_auto_exposure):
                self._set(sensor, rs.option.enable_auto_exposure, 1.0)
            return
        if not sensor.supports(rs.option.exposure):
            raise UserError(f"RealSense {self.name} has no exposure that can be set; use exposure 'auto'")
        span = sensor.get_option_range(rs.option.exposure)
        if not span.min <= exposure <= span.max:
            raise UserError(f"exposure {exposure:g} of RealSense {self.name} must be in [{span.min:g}, {span.max:g}]")
        if sensor.supports(rs.option.enable_auto_exposure):
            self._set(sensor, rs.option.enable_auto_exposure, 0.0)
        self._set(sensor, rs.option.exposure, exposure)

    def _set(self, sensor: Any, option: Any, value: float) -> None:
        try:
            sensor.set_option(option, value)
        except RuntimeError as error:
            raise UserError(f"RealSense {self.name} refuses {option}: {error}") from None

    def _warm_up(self) -> tuple[str, ...]:
        """Read until the exposure has settled, keep the last frame for `read`, and return warnings."""
        settling, deadline = ExposureSettling(), time.monotonic() + WARM_UP_S
        while not settling.settled and time.monotonic() < deadline:
            try:
                self._ahead = self._wait()
            except SourceLost as error:
                raise UserError(f"{error} while its exposure settled") from None
            color = self._ahead.get_color_frame()
            settling.add(np.asanyarray(color.get_data()))
            self._stamp_ns(color)
        return () if settling.settled else (f"exposure has not settled within {WARM_UP_S:g} s: is the light steady?",)

    # -- diagnostics ---------------------------------------------------------------------------------
    def _usb_warning(self) -> tuple[str, ...]:
        usb = _information(self._rs, self._device, "usb_type_descriptor")
        if not usb.startswith("2"):
            return ()
        return (f"RealSense {self.name} is on USB {usb}: use a USB 3 port and cable, or frames will be lost",)

    def details(self) -> dict[str, str]:
        rs = self._rs
        found = {
            "product": _information(rs, self._device, "name"),
            "firmware": _information(rs, self._device, "firmware_version"),
            "usb": _information(rs, self._device, "usb_type_descriptor"),
        }
        options = {"temperature_c": rs.option.asic_temperature, "projector_c": rs.option.projector_temperature}
        with contextlib.suppress(RuntimeError):  # unplugged meanwhile
            for sensor in self._device.query_sensors():
                for name, option in options.items():
                    if sensor.supports(option):
                        found[name] = f"{sensor.get_option(option):.0f}"
            if self._color_sensor is not None and self._color_sensor.supports(rs.option.exposure):
                found["exposure"] = f"{self._color_sensor.get_option(rs.option.exposure):g}"
        return {name: value for name, value in found.items() if value}


def camera_intrinsics(intrinsics: Any) -> CameraIntrinsics:
    """Convert rs.intrinsics: K, P without rectification, and the distortion model with the name of realsense-ros."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy
    fisheye = str(intrinsics.model).endswith("kannala_brandt4")
    return CameraIntrinsics(
        distortion_model="equidistant" if fisheye else "plumb_bob",
        d=tuple(intrinsics.coeffs)[: 4 if fisheye else 5],
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def _information(rs: Any, device: Any, name: str) -> str:
    """Return the rs.camera_info `name` of a device, which is empty where there is none."""
    key = getattr(rs.camera_info, name)
    return str(device.get_info(key)) if device.supports(key) else ""
