"""The RealSense source on real frames of the SDK: a recorded camera that can be plugged in and unplugged."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="pip install -r requirements/realsense.txt")

import pyrealsense2 as rs
from virtual_realsense import (
    DISTANCE_MM,
    FOCAL,
    HEIGHT,
    RATE_HZ,
    SERIAL,
    START_MS,
    WIDTH,
    VirtualPlug,
    record,
)

from fosp_core.errors import UserError
from fosp_perception.camera.image_source import CameraSettings, SourceLost
from fosp_perception.camera.realsense_source import OLDEST_DEPTH, RealSenseSource, camera_intrinsics

pytestmark = pytest.mark.slow

SIZE = {"width": WIDTH, "height": HEIGHT}


def read_until_lost(source: RealSenseSource) -> tuple[SourceLost, int]:
    """Return the reason why there are no more frames, and how many there were."""
    frames, begin = 0, time.monotonic()
    while time.monotonic() < begin + 10.0:
        try:
            source.read()
        except SourceLost as lost:
            return lost, frames
        frames += 1
    raise AssertionError("still frames after 10 s")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("realsense") / "camera.db3", 60)


@pytest.fixture(autouse=True)
def sdk_objects_end_here() -> Iterator[None]:
    """The SDK aborts when its objects end in a thread of its own, where Python's collector may run next."""
    yield
    gc.collect()


@pytest.fixture
def plug(recording: Path) -> Iterator[VirtualPlug]:
    with VirtualPlug(recording) as plug:
        yield plug


@pytest.fixture
def opened(plug: VirtualPlug) -> Iterator[Callable[..., RealSenseSource]]:
    sources: list[RealSenseSource] = []

    def open_source(**settings: Any) -> RealSenseSource:
        sources.append(RealSenseSource(CameraSettings(**{**SIZE, **settings}), time.time_ns, plug.context))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def test_colour_and_aligned_depth_come_with_stamps_of_now(opened: Callable[..., RealSenseSource]) -> None:
    source = opened(depth=True)
    first = source.read()
    assert (source.name, source.size, first.color.shape) == (SERIAL, (HEIGHT, WIDTH), (HEIGHT, WIDTH, 3))
    assert first.color[-1, -1].tolist() == [60, 60, 60]
    assert first.color[0, 0].tolist() == [195, 60, 60], "RGB, not BGR"
    assert first.depth is not None
    assert np.median(first.depth) == DISTANCE_MM
    moments = np.array([(frame.number, frame.stamp_ns) for frame in (source.read() for _ in range(20))])
    assert 0 <= time.time_ns() - moments[-1, 1] < 200_000_000
    steps = np.diff(moments, axis=0)
    assert (steps[:, 0] > 0).all()
    spacing = np.median(steps[:, 1] / steps[:, 0])
    assert spacing == pytest.approx(1e9 / RATE_HZ, rel=0.05), "the device's time, not that of the arrival"


@pytest.mark.parametrize(("behind_s", "exact"), [(0.04, True), (2.0, False), (-0.005, None)])
def test_stamps_of_global_time_are_taken_as_they_are_where_they_can_be_true(
    tmp_path: Path, behind_s: float, exact: bool | None
) -> None:
    """`behind_s`: the device's clock behind the host's. Slightly ahead of it a stamp may be cut to the arrival."""
    recording = record(tmp_path / "global.db3", 45, domain=rs.timestamp_domain.global_time)
    moments = {round((START_MS + i * 1e3 / RATE_HZ) * 1e6) for i in range(45)}
    offset_ns = round(START_MS * 1e6 + behind_s * 1e9) - time.monotonic_ns()
    asked: list[int] = []

    def now_ns() -> int:
        asked.append(time.monotonic_ns() + offset_ns)
        return asked[-1]

    source = RealSenseSource(CameraSettings(**SIZE, path=recording), now_ns)
    try:
        stamps = [(source.read().stamp_ns, asked[-1]) for _ in range(5)]
    finally:
        source.close()
    assert all(0 <= now - stamp < 500_000_000 for stamp, now in stamps), "young, and never in the future"
    taken = [min(abs(stamp - moment) for moment in moments) < 1000 for stamp, _ in stamps]
    assert exact is None or any(taken) is exact


def test_the_first_frame_comes_when_the_exposure_has_settled(tmp_path: Path) -> None:
    recording = record(tmp_path / "dark.db3", 60, brightness=lambda frame: min(20 + 10 * frame, 140))
    source = RealSenseSource(CameraSettings(**SIZE, path=recording), time.time_ns)
    try:
        assert source.warnings == ()
        assert source.read().color[-1, -1].tolist() == [140, 140, 140]
    finally:
        source.close()


def test_an_exposure_that_does_not_settle_is_warned_of(tmp_path: Path) -> None:
    flicker = record(tmp_path / "flicker.db3", 60, brightness=lambda frame: 60 + 100 * (frame % 2))
    source = RealSenseSource(CameraSettings(**SIZE, path=flicker, loop=True), time.time_ns)
    try:
        assert "exposure has not settled" in source.warnings[0]
        assert source.read().color.shape == (HEIGHT, WIDTH, 3)
    finally:
        source.close()


class Sensor:
    """A colour sensor with options, which a software device's cannot have set."""

    def __init__(self, *options: Any) -> None:
        self.values = dict.fromkeys(options, 1.0)

    def supports(self, option: Any) -> bool:
        return option in self.values

    def is_option_read_only(self, option: Any) -> bool:
        return False

    def get_option_range(self, option: Any) -> Any:
        return SimpleNamespace(min=1.0, max=10_000.0)

    def set_option(self, option: Any, value: float) -> None:
        self.values[option] = value


def test_a_set_exposure_turns_the_automatic_one_off_and_must_be_in_range(
    opened: Callable[..., RealSenseSource],
) -> None:
    source, sensor = opened(), Sensor(rs.option.enable_auto_exposure, rs.option.exposure)
    source._color_sensor = sensor
    source._settings = replace(source._settings, exposure=150.0)
    source._set_exposure()
    assert sensor.values == {rs.option.enable_auto_exposure: 0.0, rs.option.exposure: 150.0}
    source._settings = replace(source._settings, exposure=20_000.0)
    with pytest.raises(UserError, match=r"must be in \[1, 10000\]"):
        source._set_exposure()
    source._settings = replace(source._settings, exposure=None)
    source._set_exposure()
    assert sensor.values[rs.option.enable_auto_exposure] == 1.0


def test_global_time_is_asked_for(opened: Callable[..., RealSenseSource]) -> None:
    source, sensor = opened(), Sensor(rs.option.global_time_enabled)
    sensor.values[rs.option.global_time_enabled] = 0.0
    source._device = SimpleNamespace(query_sensors=lambda: [sensor])
    source._use_global_time()
    assert sensor.values == {rs.option.global_time_enabled: 1.0}


def test_depth_in_another_unit_is_converted_to_millimetres(tmp_path: Path) -> None:
    recording = record(tmp_path / "fine.db3", 30, unit_m=1e-4)
    source = RealSenseSource(CameraSettings(path=recording, depth=True), time.time_ns)
    depth = source.read().depth
    source.close()
    assert depth is not None
    assert np.median(depth) == DISTANCE_MM


def test_a_depth_sensor_that_falls_silent_counts_as_lost_although_colour_goes_on(tmp_path: Path) -> None:
    """The SDK pairs each further colour frame with the last depth there was."""
    recording = record(tmp_path / "silent.db3", 60, depth_until=30)
    with VirtualPlug(recording) as plug:
        source = RealSenseSource(CameraSettings(width=WIDTH, height=HEIGHT, depth=True), time.time_ns, plug.context)
        numbers, lost = [0], None
        while lost is None:
            try:
                numbers.append(source.read().number)
            except SourceLost as error:
                lost = error
        source.close()
    assert "no depth frame for 500 ms" in str(lost)
    assert lost.comes_back
    assert numbers[-1] <= 29 + OLDEST_DEPTH


def test_camera_info_has_the_devices_intrinsics_as_realsense_ros_has_them(
    opened: Callable[..., RealSenseSource],
) -> None:
    intrinsics = opened().intrinsics
    assert intrinsics.distortion_model == "plumb_bob"
    assert intrinsics.d == pytest.approx((0.1, -0.2, 0.001, 0.002, 0.05))
    assert intrinsics.k == (FOCAL, 0, WIDTH / 2, 0, FOCAL, HEIGHT / 2, 0, 0, 1)
    assert intrinsics.p == (FOCAL, 0, WIDTH / 2, 0, 0, FOCAL, HEIGHT / 2, 0, 0, 0, 1, 0)
    fisheye = rs.intrinsics()
    fisheye.model = rs.distortion.kannala_brandt4
    assert camera_intrinsics(fisheye).distortion_model == "equidistant"
    assert len(camera_intrinsics(fisheye).d) == 4


def test_an_unplugged_camera_is_told_of_at_once_and_can_be_opened_again(
    opened: Callable[..., RealSenseSource], plug: VirtualPlug
) -> None:
    source = opened()
    source.read()
    plug.unplug()
    begin = time.monotonic()
    lost, _ = read_until_lost(source)
    assert "was unplugged" in str(lost)
    assert time.monotonic() - begin < 0.5
    assert lost.comes_back
    with pytest.raises(UserError, match=f"{SERIAL} is not connected; connected: none"):
        opened(serial=SERIAL)
    plug.plug_in()
    assert opened(serial=SERIAL).read().color.shape == (HEIGHT, WIDTH, 3)


def test_a_camera_that_falls_silent_counts_as_lost_although_it_is_plugged_in(
    opened: Callable[..., RealSenseSource],
) -> None:
    lost, _ = read_until_lost(opened())
    assert "gave no frame for 500 ms" in str(lost)
    assert lost.comes_back


def test_a_recording_plays_in_its_own_time_and_ends(recording: Path) -> None:
    source = RealSenseSource(CameraSettings(path=recording), time.time_ns)
    begin = time.monotonic()
    lost, frames = read_until_lost(source)
    source.close()
    assert "end of the recording" in str(lost)
    assert not lost.comes_back
    assert frames > 30
    assert time.monotonic() - begin > 1.0


def test_temperature_and_usb_are_told_and_usb_2_is_warned_of(tmp_path: Path) -> None:
    with VirtualPlug(record(tmp_path / "usb2.db3", 30, usb="2.1")) as plug:
        source = RealSenseSource(CameraSettings(**SIZE), time.time_ns, plug.context)
        warnings, details = source.warnings, source.details()
        source.close()
    assert "USB 2.1: use a USB 3 port" in warnings[0]
    assert details["temperature_c"] == "41"
    assert details["usb"] == "2.1"


def test_what_is_wrong_is_said_in_one_line_with_what_there_is(
    opened: Callable[..., RealSenseSource], plug: VirtualPlug, tmp_path: Path
) -> None:
    for settings, message in (
        ({"serial": "999"}, f"999 is not connected; connected: {SERIAL} \\(Virtual RealSense\\)"),
        ({"width": 641}, f"no colour at 641x{HEIGHT} at 30 Hz; it has {WIDTH}x{HEIGHT} at 30 Hz"),
        ({"rate_hz": 29.97}, "whole rates"),
        ({"exposure": 100.0}, "no exposure that can be set"),
    ):
        with pytest.raises(UserError, match=message) as error:
            opened(**settings)
        assert "\n" not in str(error.value)
    plug.unplug()
    with pytest.raises(UserError, match="connected: none; check cable"):
        opened()
    (tmp_path / "text.db3").write_text("no recording")
    for path, message in ((tmp_path / "absent.db3", "no such recording"), (tmp_path / "text.db3", "not a RealSense")):
        with pytest.raises(UserError, match=message):
            RealSenseSource(CameraSettings(path=path), time.time_ns)


def test_of_two_cameras_one_must_be_named(tmp_path: Path, plug: VirtualPlug) -> None:
    path = str(record(tmp_path / "other.db3", 30, serial="9876"))
    other = plug.context.load_device(path)
    assert other is not None
    with pytest.raises(UserError, match=r"9876.*set the parameter 'serial'"):
        RealSenseSource(CameraSettings(**SIZE), time.time_ns, plug.context)
    source = RealSenseSource(CameraSettings(serial="9876", **SIZE), time.time_ns, plug.context)
    assert source.name == "9876"
    source.close()
    plug.context.unload_device(path)


def test_without_pyrealsense2_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(UserError, match=r"pip install pyrealsense2, and apt install libusb-1.0-0"):
        RealSenseSource(CameraSettings(), time.time_ns)
