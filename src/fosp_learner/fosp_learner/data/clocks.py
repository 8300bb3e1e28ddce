"""The clocks and rates of a recording: what its stamps say against the times at which they were logged.

The age of a message is its log time less its stamp. A camera's frames are some ms old when they are logged, commands
hardly at all; the differences tell whether two streams were stamped by one clock. Their least values are used (the 5 %
quantile), since a busy machine can only add to an age, and does so for a second when a recording begins.

What was recorded while it was played, at another speed, was logged at another pace than it was stamped. All log times
are brought to the pace of the stamps first: else streams that begin or end at different moments would seem to differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

AHEAD_S = 0.01
OLDEST_S = 0.5
"""Bounds of the age of a stream against that of the commands, s, as of the check before a recording. Beyond the first
one it is told, beyond the second one the bag is refused."""
_BUSY_S = 0.25
"""Lateness of the log times from which on it is told, s."""
_LEAST_MESSAGES = 9
_OTHER_PACE = 0.05
"""Share by which log times may pass faster or slower than the stamps without being brought to their pace."""
_OTHER_TIME_S, _OTHER_TIME_SHARE = 1.0, 0.2
"""Ages that lie so far below all others were logged by a clock that was set meanwhile, as that of a playback in a loop
is. Up to this share of them says nothing."""
_SLOWER = 1.25
"""A camera whose frames are further apart than so many decision periods is too slow."""
_OTHER_RATE = 0.2
"""Share by which the measured rate may differ from the robot file's without being told."""
_OTHER_STEP = 0.15
"""Share by which steps may be longer or shorter than the decision period because of another rate."""
_UNEVEN_STEP = 0.4
"""Share by which a step differs much from the decision period; at 30 Hz, steps of 33 and 67 ms differ by a third."""
_UNEVEN_TOLD, _UNEVEN_REFUSED = 0.05, 0.25
"""Share of such steps above which it is told, and the bag is refused."""


@dataclass(frozen=True)
class StreamClock:
    """The clock and the rate of a stream, as measured."""

    topic: str
    rate_hz: float
    """Rate by the median distance of the stamps, Hz; 0 when there are too few of them."""
    age_s: float | None
    """Log time less stamp, s; None when it says nothing."""
    lag_s: float | None = None
    """Age less the age of the commands, s; below 0 the stream is stamped ahead of them."""
    drift_s: float | None = None
    """Change of that lag from the first half of the recording to the second, s."""
    spread_s: float = 0.0
    """Spread of the ages about their trend, s: how late a busy machine logged, so how little the log times tell."""


def pace_of(stamps: NDArray[np.int64], logged: NDArray[np.int64]) -> float:
    """Return how much log time passes per stamped time in a stream of (n,) ns; 1 if that is nearly so, or unknown."""
    if len(stamps) < 2 * _LEAST_MESSAGES:
        return 1.0
    # Medians of both ends: a message or two that came late, or by a clock that was set, do not count.
    end = max(3, len(stamps) // 10)
    begin_end = [
        float(np.median(times[piece])) for times in (stamps, logged) for piece in (slice(end), slice(-end, None))
    ]
    stamped, took = begin_end[1] - begin_end[0], begin_end[3] - begin_end[2]
    pace = took / stamped if stamped > 0.0 and took > 0.0 else 1.0
    differs = abs(pace - 1.0) > _OTHER_PACE and abs(took - stamped) > _BUSY_S * 1e9
    return pace if differs and 0.01 <= pace <= 100.0 else 1.0


def at_pace(logged: NDArray[np.int64], first_ns: int, pace: float) -> NDArray[np.int64]:
    """Return (n,) log times in ns as they would be at the pace of the stamps, counted from `first_ns`."""
    return logged if pace == 1.0 else first_ns + np.rint((logged - first_ns) / pace).astype(np.int64)


def pace_notes(pace: float) -> Iterator[str]:
    """Yield a line where log times did not keep the pace of the stamps."""
    if pace != 1.0:
        yield f"stamps passed {1.0 / pace:.3g} times as fast as the log times: a playback, or a simulator's clock"


def measure(
    topic: str, stamps: NDArray[np.int64], logged: NDArray[np.int64], stamped: bool, reference: StreamClock | None
) -> StreamClock:
    """Return the clock of a stream of (n,) stamps and log times in ns, in the order of arrival.

    `reference` is the clock of the commands. Without a header the log time is the stamp (`stamped` False).
    """
    ages = _by_one_clock(np.asarray((logged - stamps) * 1e-9, np.float64))
    span, logged_span = (int(np.ptp(times)) if len(times) else 0 for times in (stamps, logged))
    told = stamped and len(stamps) >= 2 and logged_span >= 0.05 * span
    age_s = (_low(ages) if told else None) if stamped else 0.0
    distances = np.diff(np.unique(stamps))
    rate_hz = 1e9 / float(np.median(distances)) if len(distances) >= _LEAST_MESSAGES - 1 else 0.0
    half = len(ages) // 2
    long_enough = told and len(ages) >= 2 * _LEAST_MESSAGES
    change_s = (_low(ages[half:]) - _low(ages[:half]) if long_enough else None) if stamped else 0.0
    spread_s = _spread(ages) if told and stamped else 0.0
    if reference is None:
        return StreamClock(topic, rate_hz, age_s, 0.0, change_s, spread_s)
    lag_s, drift_s = _less(age_s, reference.age_s), _less(change_s, reference.drift_s)
    return StreamClock(topic, rate_hz, age_s, lag_s, drift_s, spread_s)


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def clock_notes(clocks: Sequence[StreamClock], period_s: float) -> Iterator[str]:
    """Yield a line for each stream that is stamped by another clock than the commands, so far as that is bearable.

    UserError for one that would pair images or feedback with the commands of another moment. `clocks` begins with the
    commands.
    """
    commands, *others = clocks
    busy_s = max(clock.spread_s for clock in clocks)
    if busy_s > _BUSY_S:
        yield f"messages were logged up to {busy_s * 1e3:.0f} ms late: a busy machine"
    for clock in others:
        lag_s, drift_s = clock.lag_s or 0.0, abs(clock.drift_s or 0.0)
        # What a busy machine logs late says as much less of the clocks.
        late_s = clock.spread_s + commands.spread_s
        mend = (
            "by the times at which both were logged; synchronise the clocks (chrony) or relieve the machine, "
            "and record again"
        )
        if lag_s < -max(AHEAD_S, 0.5 * period_s) - late_s:
            raise UserError(f"{clock.topic} is stamped {-lag_s * 1e3:.0f} ms ahead of {commands.topic}, {mend}")
        if lag_s > OLDEST_S + late_s:
            raise UserError(f"{clock.topic} is stamped {lag_s * 1e3:.0f} ms behind {commands.topic}, {mend}")
        if drift_s > period_s + late_s:
            raise UserError(
                f"the clocks of {clock.topic} and {commands.topic} drift apart by {drift_s * 1e3:.0f} ms within the "
                f"recording, {mend}"
            )
        if lag_s < -AHEAD_S - late_s:
            yield f"{clock.topic} is stamped {-lag_s * 1e3:.0f} ms ahead of {commands.topic}"
        if lag_s > period_s + late_s:
            yield f"{clock.topic} was logged {lag_s * 1e3:.0f} ms after its stamps (lag)"
        if drift_s > 0.5 * period_s + late_s:
            yield f"the clocks of {clock.topic} and {commands.topic} drift apart by {drift_s * 1e3:.0f} ms"


def check_rates(cameras: Sequence[StreamClock], period_s: float) -> None:
    """Raise UserError for a camera that is too slow for a decision every `period_s`."""
    for camera in cameras:
        if camera.rate_hz and camera.rate_hz * period_s * _SLOWER < 1.0:
            raise UserError(
                f"{camera.topic} comes at {camera.rate_hz:.3g} Hz, slower than a decision every {period_s:g} s "
                f"({1 / period_s:g} Hz); train with --config and decision_period_s: {1 / camera.rate_hz:.3g}, or let "
                "the camera run faster"
            )


def rate_notes(camera: StreamClock, expected_hz: float, steps_s: NDArray[np.float64], period_s: float) -> Iterator[str]:
    """Yield a line when the first camera has another rate than the robot file says, and when steps differ in length.

    UserError when its steps, (n,) s, are not those of the decision period: all of them because of another rate, or many
    because the rate changed, as that of a camera does in the dark.
    """
    other = camera.rate_hz and abs(camera.rate_hz / expected_hz - 1.0) > _OTHER_RATE
    if other:
        found = f"{camera.topic} comes at {camera.rate_hz:.3g} Hz, the robot file says {expected_hz:g} Hz"
        if len(steps_s) >= 3 and abs(float(np.median(steps_s)) / period_s - 1.0) > _OTHER_STEP:
            raise UserError(
                f"{found}: steps take {np.median(steps_s) * 1e3:.0f} ms, longer or shorter than the decision period of "
                f"{period_s * 1e3:.0f} ms; correct camera_frame_rate_hz, or train with --config and decision_period_s: "
                f"{np.median(steps_s):.3g}"
            )
        yield found
    uneven = int((np.abs(steps_s / period_s - 1.0) > _UNEVEN_STEP).sum())
    if len(steps_s) < _LEAST_MESSAGES or uneven <= _UNEVEN_TOLD * len(steps_s):
        return
    line = (
        f"{uneven} of {len(steps_s)} steps are much longer or shorter than the decision period of "
        f"{period_s * 1e3:.0f} ms: {camera.topic} does not keep its rate"
    )
    if uneven > _UNEVEN_REFUSED * len(steps_s):
        raise UserError(f"{line}; fix its exposure time, or record with less load")
    yield line


def _spread(ages: NDArray[np.float64]) -> float:
    """Return how far the median of (n,) ages lies above the least ones, apart from a steady drift, s."""
    index = np.arange(len(ages))
    rest = ages - np.polyval(np.polyfit(index, ages, 1), index) if len(ages) > 2 else ages
    return float(np.quantile(rest, 0.5) - np.quantile(rest, 0.05))


def _low(ages: NDArray[np.float64]) -> float:
    return float(np.quantile(ages, 0.05))


def _by_one_clock(ages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) ages without those few, a gap below the rest, that were logged by a clock before it was set."""
    lowest = np.sort(ages)[: int(_OTHER_TIME_SHARE * len(ages)) + 1]
    gaps = np.flatnonzero(np.diff(lowest) > _OTHER_TIME_S)
    return ages[ages >= lowest[gaps[-1] + 1]] if len(gaps) else ages
