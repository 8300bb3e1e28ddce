"""Faults of protective zones: of their scanner on a base, and of the depth camera over the cell of an arm."""

from __future__ import annotations

import math
from collections.abc import Callable

import cell
import scanner
from effects import Effect, delayed, frozen, tampered
from fault import Fault
from relay import changed, nothing
from sensor_msgs.msg import Image

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


def _cell(name: str, effect: Effect, timeout_s: float | None = cell.PERIOD_S, decision: str = "STOP") -> Fault:
    return Fault(name, decision, ("PROTECTIVE_ZONE",), effect, timeout_s, "cell")


def _depth(*changes: Callable[[Image], None]) -> Effect:
    return tampered(cell.DEPTH, lambda: cell.both(*changes))


CELLED = (
    _cell("a hand in the cell of an arm", _depth(cell.reached_into)),
    _cell("a hand in the cell of an arm, in metres", _depth(cell.reached_into, cell.in_metres)),
    Fault("depth in metres", "PASS", ("OK", "ORDER", "SLOW_DOWN"), _depth(cell.in_metres), None, "cell", harmless=True),
    _cell("depth images dropped", tampered(cell.DEPTH, lambda: nothing), SCAN_TIMEOUT_S),
    _cell("depth images delayed by 300 ms", delayed(cell.DEPTH, 0.3), SCAN_TIMEOUT_S),
    _cell("depth images under their old stamp", frozen(cell.DEPTH, False), SCAN_TIMEOUT_S),
    _cell("depth images of zeros", _depth(cell.filled(0))),
    _cell("depth images of NaN", _depth(cell.filled(math.nan))),
    _cell("depth images cut off", _depth(cell.cut_off)),
    _cell("depth images of another size than their camera_info", _depth(cell.smaller)),
    _cell("depth images in another frame", _depth(cell.elsewhere)),
    _cell("depth images that are pictures", _depth(cell.of_colour)),
    _cell("camera_info without focal lengths", tampered(cell.INFO, lambda: changed(cell.without_focal_lengths))),
    _cell("camera_info of a fisheye lens", tampered(cell.INFO, lambda: changed(cell.of_a_fisheye))),
)
