"""The pre-flight check of a recording: rates, clocks, exposure, commanders and disk space.

Each check is a pure function of what was observed for a few seconds. Its finding says what is wrong and how to mend it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fosp_core.image import SETTLED_FRAMES
from fosp_core.robot.config import RobotConfig
from fosp_core.topics import are_one
from fosp_recording.feedback_rules import GoalRule

LEAST_SHARE = 0.8
"""Share of the wanted rate below which a stream is too slow."""
OLDEST_S = 0.5
AHEAD_S = 0.01
"""Bounds of a message's age by its stamp, s. Beyond them the clocks differ, or the source lags."""
RAW_COMPRESSED = 0.7
"""Largest size of recorded raw images relative to what was published."""
SPARE_BYTES = 2 * 10**9
"""Disk space that must stay free."""


@dataclass(frozen=True)
class Expected:
    """A topic that must come at `rate_hz`, with the remedy for the case that nobody publishes it."""

    topic: str
    rate_hz: float
    remedy: str


@dataclass
class Observed:
    """The messages of a topic during `seconds`."""

    seconds: float = 0.0
    publishers: int = 0
    ages_s: list[float] = field(default_factory=list)
    """Age of each message at its receipt by its header stamp, s, on the ROS clock; NaN without a header."""
    bytes: int = 0
    """Size of all of them together."""


@dataclass
class Brightness:
    """The images of one camera before its exposure is judged."""

    frames: int = 0
    settled: bool = False
    unreadable: str = ""
    """Reason why the newest image could not be read; empty when it could."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, in one line; `remedy` is empty when all is well."""

    ok: bool
    text: str
    remedy: str = ""


def check_stream(expected: Expected, observed: Observed) -> CheckResult:
    """Check that a topic comes at its rate and that its stamps agree with the clock of this computer."""
    topic, messages = expected.topic, len(observed.ages_s)
    if not observed.publishers and not messages:
        return CheckResult(False, f"{topic}: nobody publishes it", expected.remedy)
    if messages < 2:
        remedy = "switch the device on, and compare DDS settings and ROS_DOMAIN_ID"
        return CheckResult(False, f"{topic}: {messages} messages in {observed.seconds:.0f} s", remedy)
    rate_hz = messages / observed.seconds
    if rate_hz < LEAST_SHARE * expected.rate_hz:
        text = f"{topic}: {rate_hz:.1f} Hz instead of {expected.rate_hz:g}"
        return CheckResult(False, text, "use a slower profile, USB 3, a wired network, or larger socket buffers")
    return _check_clock(topic, rate_hz, [age for age in observed.ages_s if not math.isnan(age)])


def check_images(expected: Expected, images: Observed, infos: Observed) -> CheckResult:
    """Check the images of a camera. `infos` are those of its camera_info, which may come where the images do not."""
    if images.ages_s or not infos.ages_s:
        return check_stream(expected, images)
    text = f"{expected.topic}: no image in {images.seconds:.0f} s, although its camera_info comes"
    if not images.publishers:
        return CheckResult(False, text, "nobody publishes it: correct camera_topics in the robot file, or the driver")
    return CheckResult(
        False, text, "use larger socket buffers (fosp doctor) or a wired network, or restart the camera's driver"
    )


def check_publisher(topic: str, publishers: int, remedy: str) -> CheckResult:
    """Check that somebody publishes a topic which has no rate because it speaks only when something changes."""
    if publishers:
        return CheckResult(True, f"{topic}: {publishers} publisher{'s' if publishers > 1 else ''}")
    return CheckResult(False, f"{topic}: nobody publishes it", remedy)


def check_device(missing: str) -> CheckResult:
    """Check that the operator's device has the axes and buttons of its mapping: `missing` says which it lacks."""
    text, _, remedy = missing.rpartition(": ")
    return CheckResult(not missing, text or "the device has every axis and button of its mapping", remedy)


def check_goal(rule: GoalRule, robot: RobotConfig) -> CheckResult:
    """Check that the goal of the feedback rules lies within the workspace."""
    goal = ", ".join(f"{value:g}" for value in rule.goal)
    box = robot.workspace
    if box is not None and are_one(rule.topic, robot.pose_topic):
        for value, lower, upper in zip(rule.goal, box.lower, box.upper, strict=True):
            if not lower - rule.within_m <= value <= upper + rule.within_m:
                remedy = "correct the goal in the feedback rules, or the workspace in the robot file"
                return CheckResult(False, f"the goal ({goal}) lies outside of the workspace of {robot.name}", remedy)
    return CheckResult(True, f"goal ({goal}) on {rule.topic}")


def _check_clock(topic: str, rate_hz: float, ages_s: Sequence[float]) -> CheckResult:
    if not ages_s:
        return CheckResult(True, f"{topic}: {rate_hz:.1f} Hz")
    age_s = float(np.median(ages_s))
    if age_s < -AHEAD_S:
        text = f"{topic}: stamped {-age_s * 1e3:.0f} ms in the future"
        return CheckResult(False, text, "synchronise the clocks of both computers (chrony)")
    if age_s > OLDEST_S:
        text = f"{topic}: {age_s:.2f} s old by its stamp when it comes"
        return CheckResult(
            False, text, "synchronise the clocks of both computers (chrony), and see that the driver fills in stamps"
        )
    return CheckResult(True, f"{topic}: {rate_hz:.1f} Hz, {age_s * 1e3:.0f} ms old")


def check_commander(topic: str, publishers: int) -> CheckResult:
    """Check that the stack's safety monitor is the only publisher of the command topic."""
    if publishers == 1:
        return CheckResult(True, f"{topic}: one publisher")
    if not publishers:
        return CheckResult(False, f"{topic}: nobody publishes it", "the monitor did not come up: see its log")
    return CheckResult(False, f"{topic}: {publishers} publishers", "stop whatever else commands the robot")


def recorded_bytes_per_s(observed: Mapping[str, Observed], recorded: Mapping[str, str]) -> float:
    """Return the bytes per second that a bag of the `recorded` topics (name -> type) grows by, as they were observed.

    Raw images shrink to RAW_COMPRESSED in a bag, and everything else is taken as it comes.
    """
    return sum(
        one.bytes / one.seconds * (RAW_COMPRESSED if recorded[topic].endswith("/Image") else 1.0)
        for topic, one in observed.items()
        if topic in recorded and one.seconds > 0.0
    )


def check_disk(free_bytes: int, needed_bytes: int) -> CheckResult:
    """Check that the disk has room for the recording and SPARE_BYTES more."""
    text = f"disk: {free_bytes / 1e9:.1f} GB free, about {needed_bytes / 1e9:.1f} GB needed"
    if free_bytes >= needed_bytes + SPARE_BYTES:
        return CheckResult(True, text)
    return CheckResult(
        False, text, f"free {(needed_bytes + SPARE_BYTES - free_bytes) / 1e9:.1f} GB, or choose another --out"
    )


def check_exposure(topic: str, seen: Brightness) -> CheckResult:
    """Check that the images of a camera have a steady brightness."""
    if seen.unreadable:
        return CheckResult(False, f"{topic}: {seen.unreadable}", "have the camera's driver publish rgb8, bgr8 or mono8")
    if seen.settled:
        return CheckResult(True, f"{topic}: exposure settled")
    if seen.frames < SETTLED_FRAMES:
        remedy = "start again once the camera has warmed up"
        return CheckResult(False, f"{topic}: {seen.frames} images are too few to judge the exposure", remedy)
    return CheckResult(False, f"{topic}: the brightness of the images changes", "steady the light, or fix the exposure")
