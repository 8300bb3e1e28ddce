"""A bag that is played to a recorder, at any speed, in a loop or with pauses, comes out as the same episodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from fosp_core.bag_types import typestore
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.alignment import Episode
from fosp_learner.data.bags import find_bags, read_bag
from fosp_recording.episode_recorder import DISCARDED_FOLDER, EpisodeRecorder, Record, Topic, stamp_of
from fosp_recording.recorder_node import DISCOVERY_PERIOD_S

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
S = 1_000_000_000
WALL_NS = 1_800_000_000 * S
"""The present, long after the recording."""
FIRST, LAST = (10, 50), (40, 78)
"""Frames with which the two episodes of the bag begin and end."""


@dataclass(frozen=True)
class Playing:
    """How a bag is played; times in s."""

    rate: float = 1.0
    loops: int = 1
    pauses: tuple[tuple[float, float], ...] = ()
    """Moment of the recording, and how long time stands still there."""
    clock_hz: float = 40.0
    """Rate of /clock; 0: without, so that the recorder's clock is the machine's."""
    ends_at: float = 1e9
    """Moment of the recording at which the player ends, and /clock with it."""
    gap: float = 0.02
    """Time from a pass to the next one."""
    late_clock: float = 0.0
    """How much later than the messages /clock arrives."""


@pytest.fixture
def recording(write_bag: Callable[..., Path], rewrite_bag: Callable[..., Path]) -> Path:
    """Two episodes, with frames and commands before, between and after them; every command differs."""

    def change(message: tuple[str, str, int, Any]) -> list[tuple[str, str, int, Any]]:
        topic, kind, when, content = message
        moment = content.header.stamp.nanosec + (content.header.stamp.sec - 1000) * S
        if kind.endswith("StepFeedback"):
            frame = moment // 25_000_000
            inside = any(first <= frame <= last for first, last in zip(FIRST, LAST, strict=True))
            told = replace(content, is_first=frame in FIRST, is_last=frame in LAST, episode=int(frame >= FIRST[1]))
            return [(topic, kind, when, told)] if inside else []
        if kind.endswith("TwistStamped"):
            linear = replace(content.twist.linear, x=0.2 * np.sin(moment * 3e-9))
            return [(topic, kind, when, replace(content, twist=replace(content.twist, linear=linear)))]
        return [(topic, kind, when + 4_000_000, content)]  # an image takes a moment

    return rewrite_bag(write_bag(frames=89), change)


def events(bag: Path, playing: Playing) -> Iterator[tuple[float, int, tuple[Topic, bytes] | None]]:
    """Yield steady time in s, time of the ROS clock in ns, and a message, or None for a tick of the recorder."""
    with Reader(bag) as reader:
        stored = [(when, Topic(c.topic, c.msgtype), bytes(data)) for c, when, data in reader.messages()]
    first_ns = stored[0][0]
    length_s = min((stored[-1][0] - first_ns) * 1e-9, playing.ends_at)

    def wall_s(moment_s: float) -> float:
        return moment_s / playing.rate + sum(wait for at, wait in playing.pauses if at < moment_s)

    pass_s = wall_s(length_s) + playing.gap
    messages = [
        (number * pass_s + wall_s((when - first_ns) * 1e-9), topic, data)
        for number in range(playing.loops)
        for when, topic, data in stored
        if (when - first_ns) * 1e-9 <= length_s
    ]
    end_s = playing.loops * pass_s

    def ros_ns(steady_s: float) -> int:
        if not playing.clock_hz:
            return WALL_NS + round(steady_s * S)
        tick_s = np.floor(min(steady_s - playing.late_clock, end_s - 1e-3) * playing.clock_hz) / playing.clock_hz
        if tick_s < 0:
            return 0
        inside_s = tick_s % pass_s
        low, high = 0.0, length_s
        for _ in range(40):  # the moment of the recording that is played then
            middle = (low + high) / 2
            low, high = (middle, high) if wall_s(middle) <= inside_s else (low, middle)
        return first_ns + round(low * S)

    ticks = [(float(at), None, b"") for at in np.arange(0.0, end_s + 5.0, DISCOVERY_PERIOD_S)]
    for at, topic, data in sorted([*messages, *ticks], key=lambda entry: entry[0]):
        yield at, ros_ns(at), (topic, data) if topic is not None else None


def recorded(bag: Path, playing: Playing, out: Path) -> EpisodeRecorder:
    """Do with the events what recorder_node does."""
    recorder = EpisodeRecorder(out, [], required=["/fosp/feedback"])
    most = 0
    for steady_s, now_ns, message in events(bag, playing):
        steady_ns = round(steady_s * S)
        if message is None:
            recorder.tick(now_ns, steady_ns)
            continue
        topic, data = message
        stamp_ns = stamp_of(data, topic.type, now_ns)
        recorder.message(Record(topic, data, now_ns or stamp_ns, stamp_ns))
        if topic.name == "/fosp/feedback":
            told: Any = typestore().deserialize_cdr(data, topic.type)
            recorder.feedback(stamp_ns, told.is_first, told.is_last, told.episode, steady_ns)
        most = max(most, len(recorder._recent))
    assert most < 2 * 145 * 0.5 * max(1.0, playing.rate if not playing.clock_hz else 1.0)
    return recorder


def same(episode: Episode, other: Episode) -> bool:
    return all(
        np.array_equal(getattr(episode, name), getattr(other, name))
        for name in ("images", "action", "reward", "cost", "is_terminal")
    )


PLAYED = {
    "once": Playing(),
    "half speed": Playing(rate=0.5),
    "four times": Playing(rate=4.0),
    "four times, without clock": Playing(rate=4.0, clock_hz=0.0),
    "looped": Playing(loops=3),
    "looped, four times": Playing(rate=4.0, loops=3),
    "looped, four times, without clock": Playing(rate=4.0, loops=3, clock_hz=0.0),
    "looped, clock comes late": Playing(loops=3, late_clock=0.06),
    "paused": Playing(pauses=((0.6, 20.0), (1.0, 2.0))),
    "paused, without clock": Playing(pauses=((0.6, 20.0), (1.1, 2.0)), clock_hz=0.0),
    "paused at the end of an episode": Playing(pauses=((1.004, 2.0),)),
    "looped and paused at half speed": Playing(rate=0.5, loops=2, pauses=((0.9, 7.0),)),
}


@pytest.mark.parametrize("playing", PLAYED.values(), ids=PLAYED.keys())
def test_a_bag_that_is_played_comes_out_as_the_same_episodes(
    recording: Path, robot: RobotConfig, tmp_path: Path, playing: Playing
) -> None:
    expected = read_bag(recording, SMALL, robot, PERIOD_S).episodes
    assert [len(episode.reward) for episode in expected] == [16, 15]
    out = tmp_path / "out"
    recorder = recorded(recording, playing, out)
    assert not recorder.recording, "the last episode is closed, too"
    bags = find_bags([out])
    assert [bag.name for bag in bags] == [f"episode_{number:06d}" for number in range(2 * playing.loops)]
    found = [episode for bag in bags for episode in read_bag(bag, SMALL, robot, PERIOD_S).episodes]
    assert len(found) == 2 * playing.loops
    for episode, wanted in zip(found, itertools.cycle(expected), strict=False):
        assert same(episode, wanted)


def test_an_episode_with_which_the_playback_ends_is_closed_though_its_clock_stands_still(
    recording: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    at = LAST[1] * 0.025 + 0.004
    recorder = recorded(recording, Playing(ends_at=at), tmp_path / "out")
    assert not recorder.recording
    assert [bag.name for bag in find_bags([tmp_path / "out"])] == ["episode_000000", "episode_000001"]


@pytest.mark.parametrize("late_clock", [0.0, 0.02, 0.06])
def test_a_short_bag_that_begins_again_at_once_gives_its_episode_each_time(
    recording: Path, robot: RobotConfig, tmp_path: Path, late_clock: float
) -> None:
    playing = Playing(loops=3, gap=0.0, ends_at=LAST[0] * 0.025 + 0.004, late_clock=late_clock)
    recorded(recording, playing, tmp_path / "out")
    (expected, *_) = read_bag(recording, SMALL, robot, PERIOD_S).episodes
    bags = find_bags([tmp_path / "out"])
    assert [bag.name for bag in bags] == [f"episode_{number:06d}" for number in range(3)]
    for bag in bags:
        (episode,) = read_bag(bag, SMALL, robot, PERIOD_S).episodes
        assert same(episode, expected)


def test_an_episode_that_a_loop_cuts_off_is_not_called_complete(
    recording: Path, robot: RobotConfig, tmp_path: Path
) -> None:
    recorded(recording, Playing(loops=2, ends_at=1.6), tmp_path / "out").close()
    names = [bag.name for bag in find_bags([tmp_path / "out"])]
    assert names == ["episode_000000", "episode_000002", "incomplete_000001", "incomplete_000003"]
    assert DISCARDED_FOLDER not in names
    for name in ("episode_000000", "episode_000002"):
        (episode,) = read_bag(tmp_path / "out" / name, SMALL, robot, PERIOD_S).episodes
        assert len(episode.reward) == 16
