"""Before a demonstration is recorded: is every topic alive at its rate, stamped by one clock, and is there room? Pure.

Each check is a function of what was observed for a few seconds; a finding says what is wrong and how to mend it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fosp_core.image import SETTLED_FRAMES
from fosp_core.specs import RobotConfig
from fosp_recording.feedback_rules import GoalRule

LEAST_SHARE = 0.8
"""Of the wanted rate, below which a stream counts as too slow."""
OLDEST_S = 0.5
AHEAD_S = 0.01
"""Bounds of the age of a message by its stamp: beyond them the clocks differ, or the source is far behind."""
SPARE_BYTES = 2 * 10**9
"""Disk space that stays free."""


@dataclass(frozen=True)
class Expected:
    """A topic that must be alive, at `rate_hz`. `remedy`: what to do when nobody publishes it."""

    topic: str
    rate_hz: float
    remedy: str


@dataclass
class Observed:
    """What came on a topic, for `seconds`."""

    seconds: float = 0.0
    publishers: int = 0
    ages_s: list[float] = field(default_factory=list)
    """One for each message: receipt minus header stamp, on the ROS clock; NaN without a header."""


@dataclass
class Brightness:
    """What the images of one camera showed before the exposure was judged."""

    frames: int = 0
    settled: bool = False
    frame_bytes: int = 0
    """Of the newest image."""
    unreadable: str = ""
    """Why the newest image could not be read."""


@dataclass(frozen=True)
class Finding:
    """`ok` or not, and one line; `remedy` is empty when all is well."""

    ok: bool
    text: str
    remedy: str = ""


def check_stream(expected: Expected, observed: Observed) -> Finding:
    """Is it there, as often as it should, and stamped by our clock?"""
    topic, messages = expected.topic, len(observed.ages_s)
    if not observed.publishers and not messages:
        return Finding(False, f"{topic}: nobody publishes it", expected.remedy)
    if messages < 2:
        remedy = "is the device on, and do DDS settings and ROS_DOMAIN_ID agree?"
        return Finding(False, f"{topic}: {messages} messages in {observed.seconds:.0f} s", remedy)
    rate_hz = messages / observed.seconds
    if rate_hz < LEAST_SHARE * expected.rate_hz:
        text = f"{topic}: {rate_hz:.1f} Hz instead of {expected.rate_hz:g}"
        return Finding(False, text, "a slower profile, a USB 3 port, a wired network, or larger socket buffers")
    return _check_clock(topic, rate_hz, [age for age in observed.ages_s if not math.isnan(age)])


def check_images(expected: Expected, images: Observed, infos: Observed) -> Finding:
    """The images themselves; `infos`: of the camera_info beside them, which may come where they do not."""
    if images.ages_s or not infos.ages_s:
        return check_stream(expected, images)
    text = f"{expected.topic}: no image in {images.seconds:.0f} s, although its camera_info comes"
    if not images.publishers:
        return Finding(False, text, "nobody publishes it: correct camera_topics in the robot file, or the driver")
    return Finding(False, text, "larger socket buffers (fosp doctor), a wired network, or restart the camera's driver")


def check_publisher(topic: str, publishers: int, remedy: str) -> Finding:
    """A topic that speaks only when something changes: it has no rate, but somebody must be there to speak."""
    if publishers:
        return Finding(True, f"{topic}: {publishers} publisher{'s' if publishers > 1 else ''}")
    return Finding(False, f"{topic}: nobody publishes it", remedy)


def check_goal(rule: GoalRule, robot: RobotConfig) -> Finding:
    """Can the robot get there at all?"""
    goal = ", ".join(f"{value:g}" for value in rule.goal)
    box = robot.workspace
    if box is not None and rule.topic == robot.pose_topic:
        for value, lower, upper in zip(rule.goal, box.lower, box.upper, strict=True):
            if not lower - rule.within_m <= value <= upper + rule.within_m:
                remedy = "correct the goal in the feedback rules, or the workspace in the robot file"
                return Finding(False, f"the goal ({goal}) lies outside of the workspace of {robot.name}", remedy)
    return Finding(True, f"goal ({goal}) on {rule.topic}")


def _check_clock(topic: str, rate_hz: float, ages_s: Sequence[float]) -> Finding:
    if not ages_s:
        return Finding(True, f"{topic}: {rate_hz:.1f} Hz")
    age_s = float(np.median(ages_s))
    if age_s < -AHEAD_S:
        text = f"{topic}: stamped {-age_s * 1e3:.0f} ms in the future"
        return Finding(False, text, "synchronise the clocks of both computers (chrony)")
    if age_s > OLDEST_S:
        text = f"{topic}: {age_s:.2f} s old by its stamp when it comes"
        return Finding(
            False, text, "synchronise the clocks of both computers (chrony); does its driver fill in stamps?"
        )
    return Finding(True, f"{topic}: {rate_hz:.1f} Hz, {age_s * 1e3:.0f} ms old")


def check_commander(topic: str, publishers: int) -> Finding:
    """Our own monitor must be the only one that commands the robot."""
    if publishers == 1:
        return Finding(True, f"{topic}: one publisher")
    if not publishers:
        return Finding(False, f"{topic}: nobody publishes it", "the monitor did not come up: see its log")
    return Finding(False, f"{topic}: {publishers} publishers", "stop whatever else commands the robot")


def check_disk(free_bytes: int, needed_bytes: int) -> Finding:
    """Room for the recording, and some to spare."""
    text = f"disk: {free_bytes / 1e9:.1f} GB free, about {needed_bytes / 1e9:.1f} GB needed"
    if free_bytes >= needed_bytes + SPARE_BYTES:
        return Finding(True, text)
    return Finding(
        False, text, f"free {(needed_bytes + SPARE_BYTES - free_bytes) / 1e9:.1f} GB, or choose another --out"
    )


def check_exposure(topic: str, seen: Brightness) -> Finding:
    """Of a camera whose images come: are they of one brightness?"""
    if seen.unreadable:
        return Finding(False, f"{topic}: {seen.unreadable}", "have the camera's driver publish rgb8, bgr8 or mono8")
    if seen.settled:
        return Finding(True, f"{topic}: exposure settled")
    if seen.frames < SETTLED_FRAMES:
        remedy = "start again once the camera has warmed up"
        return Finding(False, f"{topic}: {seen.frames} images are too few to judge the exposure", remedy)
    return Finding(False, f"{topic}: the brightness of the images changes", "steady the light, or fix the exposure")
