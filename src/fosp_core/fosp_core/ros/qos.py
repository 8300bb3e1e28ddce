"""Named quality-of-service profiles: every publisher and subscription of the stack takes its profile from here."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


IMAGE = _profile(2, reliable=False)
"""Subscribe to cameras: only the newest frame matters, and best effort matches reliable drivers, too."""

IMAGE_SOURCE = _profile(5)
"""Publish images: reliable, so that reliable subscribers (recorders, viewers) are served, too."""

SENSOR = _profile(5, reliable=False)
"""Subscribe to joint states, odometry, poses and operator devices: late values are useless, and any driver matches."""

STEP = _profile(10)
"""Publish and subscribe to latents, proposals, verdicts, feedback and robot state: one per step, none to be lost."""

FEEDBACK_SOURCE = _profile(100)
"""Publish feedback: what says that an episode begins or ends stays to be asked for again for more than a second."""

COMMAND = _profile(1)
"""Publish and obey the command stream: a queue would make the robot follow old commands."""

COMMAND_HISTORY = _profile(50)
"""Subscribe to the command stream to know what was executed: every command counts, half a second of them is kept."""

LATCHED = _profile(1, latched=True)
"""Publish announcements and model states: a late subscriber gets the newest."""

LATCHED_EVENTS = _profile(20, latched=True)
"""Publish and subscribe to events for the operator: a late subscriber gets the last ones."""

MODEL_STATUSES = _profile(20, latched=True)
"""Subscribe to announcements and model states: a late subscriber needs the newest of every node."""

RECORD = _profile(100)
"""Record reliable topics: nothing is lost while the disk is busy."""

RECORD_BEST_EFFORT = _profile(100, reliable=False)
"""Record topics of best-effort publishers, which a reliable subscription would not match."""

REPLAY = _profile(50)
"""Publish recorded topics: reliable, so that every kind of subscriber hears them."""

REPLAY_LATCHED = _profile(50, latched=True)
"""Publish recorded topics that were latched: subscribers of such topics match no other durability."""

TRANSFER = _profile(64)
"""Publish and subscribe to pieces of bundles, and requests for them: more than a window of them is under way."""
