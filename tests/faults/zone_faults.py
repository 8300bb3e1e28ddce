"""Faults of protective zones and of their scanner, on a base."""

from __future__ import annotations

import math

import scanner
from effects import Effect
from fault import Fault

from fosp_core.robot.protective import ZoneSourceConfig

SCAN_TIMEOUT_S = ZoneSourceConfig(**scanner.SOURCE).timeout_s


def _zone(name: str, effect: Effect, timeout_s: float | None = scanner.PERIOD_S, decision: str = "STOP") -> Fault:
    return Fault(name, decision, ("PROTECTIVE_ZONE",), effect, timeout_s, "zones")


ZONED = (
    _zone("something in the stop zone of a base", scanner.scans(scanner.seen_at(0.18))),
    _zone("something in front of a base", scanner.scans(scanner.seen_at(0.4)), None, "PASS"),
    _zone("scans dropped", scanner.scans(None), SCAN_TIMEOUT_S),
    _zone("scans delayed by 300 ms", scanner.late(0.3), SCAN_TIMEOUT_S),
    _zone("scans of NaN", scanner.scans(scanner.filled(math.nan))),
    _zone("scans nearer than the scanner can tell", scanner.scans(scanner.filled(-math.inf))),
    _zone("scans without ranges", scanner.scans(scanner.emptied)),
    _zone("scans in another frame", scanner.scans(scanner.elsewhere)),
    _zone("scans stop for good", scanner.scans(None), SCAN_TIMEOUT_S, "LATCH"),
)
