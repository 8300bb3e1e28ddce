"""A laser scanner on a base in an empty hall, the zones that it guards, and what can go wrong with it."""

from __future__ import annotations

import array
import math
import threading
from collections.abc import Callable
from typing import Any

from effects import Begun, Effect
from graph_under_fault import GraphUnderFault
from relay import wall_s
from sensor_msgs.msg import LaserScan

from fosp_core.ros import qos

TOPIC = "scan"
BEAMS = 180
PERIOD_S = 0.05
_CORNERS = [[0.2, 0.2], [-0.2, 0.2], [-0.2, -0.2], [0.2, -0.2]]
_WIDE = [[0.6, 0.3], [-0.2, 0.3], [-0.2, -0.3], [0.6, -0.3]]
SOURCE = {"name": "laser", "topic": TOPIC, "type": "LaserScan", "frame_id": "laser", "position": [0.0, 0.0, 0.1]}
ZONES: dict[str, Any] = {
    "sources": [SOURCE],
    "zones": [
        {"name": "near", "action": "stop", "polygon": _CORNERS, "sources": ["laser"], "min_points": 2},
        {"name": "wide", "action": "slow", "polygon": _WIDE, "sources": ["laser"], "min_points": 2, "to": 0.6},
    ],
}
"""Keys of a robot file."""

Change = Callable[[LaserScan], None]


class Scanner:
    """Says all the time that nothing is near; `change` changes each scan in place, None falls silent."""

    def __init__(self, node: Any) -> None:
        self._node, self._publisher = node, node.create_publisher(LaserScan, TOPIC, qos.STEP)
        self.change: Change | None = _nothing
        self.delay_s = 0.0
        node.create_timer(PERIOD_S, self._scan)

    def _scan(self) -> None:
        if self.change is None:
            return
        step = 2 * math.pi / BEAMS
        scan = LaserScan(angle_max=step * (BEAMS - 1), angle_increment=step, range_min=0.05, range_max=8.0)
        scan.header.frame_id, scan.header.stamp = "laser", self._node.get_clock().now().to_msg()
        scan.ranges = array.array("f", [5.0] * BEAMS)
        self.change(scan)
        if self.delay_s:
            timer = threading.Timer(self.delay_s, self._publisher.publish, (scan,))
            timer.daemon = True
            timer.start()
        else:
            self._publisher.publish(scan)


def _nothing(scan: LaserScan) -> None:
    """Leave the scan as it is."""


def seen_at(distance: float, beams: int = 10) -> Change:
    """Something is ahead at this distance, m."""

    def change(scan: LaserScan) -> None:
        scan.ranges[:beams] = array.array("f", [distance] * beams)

    return change


def filled(value: float) -> Change:
    """Every beam says this."""

    def change(scan: LaserScan) -> None:
        scan.ranges = array.array("f", [value] * len(scan.ranges))

    return change


def emptied(scan: LaserScan) -> None:
    """Take every beam out."""
    scan.ranges = array.array("f")


def elsewhere(scan: LaserScan) -> None:
    """Name another frame."""
    scan.header.frame_id = "other_laser"


def scans(change: Change | None, delay_s: float = 0.0) -> Effect:
    """The scanner says something else, or nothing, or says it late."""

    def begin(graph: GraphUnderFault) -> Begun:
        scanner = graph.scanner
        assert scanner is not None
        since_s = wall_s()
        scanner.change, scanner.delay_s = change, delay_s

        def end() -> None:
            scanner.change, scanner.delay_s = _nothing, 0.0

        return Begun(since_s, end)

    return begin


def late(delay_s: float) -> Effect:
    """The scans come this late."""
    return scans(_nothing, delay_s)
