"""Device stamps on the ROS clock: drift, delays, clocks that jump."""

from __future__ import annotations

import numpy as np

from fosp_perception.camera.image_source import BUCKET_NS, BUCKETS, DeviceClock

MS = 1_000_000
PERIOD = 33 * MS
ROS_START = 1_700_000_000 * 1_000_000_000


def stamps(device: list[int], arrivals: list[int]) -> list[int]:
    clock = DeviceClock()
    return [clock.ros_ns(d, a) for d, a in zip(device, arrivals, strict=True)]


def test_a_frame_that_was_held_up_on_the_bus_keeps_its_true_age() -> None:
    device = [i * PERIOD for i in range(30)]
    arrivals = [ROS_START + d + 5 * MS for d in device]
    arrivals[20] += 200 * MS
    got = stamps(device, arrivals)
    assert got[20] == ROS_START + device[20] + 5 * MS
    assert np.diff(got).tolist() == [PERIOD] * 29


def test_no_stamp_is_later_than_the_arrival_and_none_is_out_of_order() -> None:
    random = np.random.default_rng(1)
    device = [i * PERIOD for i in range(300)]
    arrivals = [ROS_START + d + int(random.integers(2 * MS, 30 * MS)) for d in device]
    got = stamps(device, arrivals)
    assert all(stamp <= arrival for stamp, arrival in zip(got, arrivals, strict=True))
    assert (np.diff(got) > 0).all()


def test_a_first_frame_that_came_late_spoils_nothing_but_itself() -> None:
    device = [i * PERIOD for i in range(10)]
    arrivals = [ROS_START + d for d in device]
    arrivals[0] += 300 * MS
    assert stamps(device, arrivals)[1:] == arrivals[1:]


def test_the_drift_of_the_device_is_followed() -> None:
    seconds = 120
    device = [round(i * PERIOD * (1 - 1e-4)) for i in range(seconds * 30)]
    arrivals = [ROS_START + i * PERIOD for i in range(seconds * 30)]
    error = np.array(stamps(device, arrivals)) - arrivals
    assert np.abs(error).max() <= 1e-4 * BUCKETS * BUCKET_NS, "the drift of the memory, not that of the whole run"


def test_a_device_that_starts_its_clock_anew_is_mapped_anew() -> None:
    device = [10**12 + i * PERIOD for i in range(5)] + [i * PERIOD for i in range(5)]
    arrivals = [ROS_START + i * PERIOD for i in range(10)]
    assert stamps(device, arrivals) == arrivals


def test_when_the_ros_clock_is_set_back_stamps_follow_at_once() -> None:
    device = [i * PERIOD for i in range(10)]
    arrivals = [ROS_START + d - (5_000 * MS if i >= 5 else 0) for i, d in enumerate(device)]
    assert stamps(device, arrivals) == arrivals


def test_when_the_ros_clock_is_set_forward_frames_count_as_old_until_the_memory_has_passed() -> None:
    """The same is seen when frames are held up for long: what cannot be told apart must not pass as fresh."""
    device = [i * PERIOD for i in range(700)]
    arrivals = [ROS_START + d + (5_000 * MS if i >= 100 else 0) for i, d in enumerate(device)]
    got = stamps(device, arrivals)
    assert arrivals[150] - got[150] == 5_000 * MS
    assert got[-1] == arrivals[-1]
