"""Quality of service of every kind of topic, in one place."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

IMAGE = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT,
    history=HistoryPolicy.KEEP_LAST,
    depth=2,
    durability=DurabilityPolicy.VOLATILE,
)
"""Subscribe to cameras: the newest frame matters. Best effort also matches a driver that publishes reliably."""

IMAGE_SOURCE = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=5)
"""Publish images: reliable, so that reliable subscribers (recorders, viewers) can be served too."""

SENSOR = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
"""Subscribe to joint states, odometry, poses."""

STEP = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)
"""Latents, proposals, verdicts, feedback: one per step, none to be lost; also publish robot state with it."""

COMMAND = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=1)
"""The command stream: only the newest counts."""

COMMAND_HISTORY = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=50)
"""Subscribe to the command stream to know what was executed, not to obey it."""

LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Announcements and status: late joiners see the newest."""

LATCHED_EVENTS = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    depth=20,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Events for the operator: late joiners see the last ones."""

RECORD = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=100)
"""Recorders of reliable topics; best-effort publishers need `RECORD_BEST_EFFORT`."""

RECORD_BEST_EFFORT = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=100)

TRANSFER = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=64)
"""Pieces of bundles on their way to another machine, and requests for them."""
