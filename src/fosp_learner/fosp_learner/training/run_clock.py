"""How long a run of several phases still takes: a step of one phase costs many times what one of another does."""

from __future__ import annotations

from collections.abc import Sequence

_MEMORY = 0.98
"""Of the mean time of a step: about the last fifty count."""


class RunClock:
    """Time is passed in, s of any clock that does not go back."""

    def __init__(self, phases: Sequence[tuple[str, int]], done: int, now_s: float) -> None:
        self._phases = [(name, steps) for name, steps in phases if steps > 0]
        self._seconds: dict[str, float] = {}
        self._started_s = self._last_s = now_s
        self.step = done

    @property
    def total(self) -> int:
        """Steps of all phases."""
        return sum(steps for _, steps in self._phases)

    @property
    def phase(self) -> str:
        """The phase that the next step belongs to (the last one when all is done)."""
        return self._phase_of(self.step)

    @property
    def elapsed_s(self) -> float:
        return self._last_s - self._started_s

    def tick(self, step: int, now_s: float) -> None:
        """Step number `step` has ended."""
        phase, taken = self._phase_of(step - 1), now_s - self._last_s
        mean = self._seconds.get(phase)
        self._seconds[phase] = taken if mean is None else _MEMORY * mean + (1 - _MEMORY) * taken
        self.step, self._last_s = step, now_s

    def left_s(self) -> float | None:
        """Estimate; a phase that was not seen yet counts like the present one. None before the first step."""
        if not self._seconds:
            return None
        present = self._seconds.get(self.phase) or next(reversed(self._seconds.values()))
        left, begin = 0.0, 0
        for name, steps in self._phases:
            to_do = steps - min(max(self.step - begin, 0), steps)
            left += to_do * self._seconds.get(name, present)
            begin += steps
        return left

    def summary(self) -> str:
        """Rate and time that is left."""
        left = self.left_s()
        if left is None:
            return "starting"
        per_step = next(reversed(self._seconds.values()))
        if self.step > 0 and self._phase_of(self.step - 1) in self._seconds:
            per_step = self._seconds[self._phase_of(self.step - 1)]
        return f"{1 / max(per_step, 1e-9):.2f}/s, {duration(left)} left"

    def _phase_of(self, step: int) -> str:
        end = 0
        for name, steps in self._phases:
            end += steps
            if step < end:
                return name
        return self._phases[-1][0]


def duration(seconds: float) -> str:
    """Such as 1:05:09 or 2:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
