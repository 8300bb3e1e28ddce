"""Log of a run: losses.csv, TensorBoard scalars, and a live table with the remaining time on the terminal."""

from __future__ import annotations

import csv
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard.writer import SummaryWriter

_SHOWN = {
    "world_model/reconstruction": ("image", "squared pixel error, foreground weighted up"),
    "world_model/kl": ("latent", "KL of posterior and prior, nats, weighted"),
    "world_model/reward": ("reward", "cross-entropy"),
    "world_model/cost": ("cost", "cross-entropy, violations weighted up"),
    "behaviour/cloning": ("cloning", "-log pi of the executed actions"),
    "behaviour/actor": ("actor", "loss of the actor"),
    "behaviour/q_r": ("Q_r", "return"),
    "behaviour/q_h": ("Q_h", "reachability of the unsafe set"),
    "behaviour/v_h": ("V_h", "reachability under the best action"),
    "behaviour/q_s": ("Q_s", "success of the episode"),
    "behaviour/multiplier": ("lambda", "price of cost"),
    "gradient/world_model": ("gradient", "norm, world model"),
}
"""Name and meaning of the figures of the table."""
_LINE = (
    *("world_model/reconstruction", "world_model/kl"),
    *("behaviour/cloning", "behaviour/actor", "behaviour/q_h", "behaviour/q_s"),
)
"""Figures of a line where there is no terminal."""
_PLAIN_LINES = 20
_MEMORY = 0.98
"""Decay of the mean time of a step, in which about the last fifty steps count."""


class SilentLog:
    """Log of a process that leaves logging to another one."""

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class RunLog:
    """Context manager that logs the figures of each step, averaged over `every` steps.

    It shows a live table on a terminal, and elsewhere about twenty lines per run.
    """

    def __init__(
        self,
        directory: Path,
        phases: Sequence[tuple[str, int]],
        done: int = 0,
        every: int = 25,
        console: Console | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._every, self._sums, self._count = every, {}, 0  # type: tuple[int, dict[str, float], int]
        self._path = directory / "losses.csv"
        if done == 0:
            self._path.unlink(missing_ok=True)
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=done)
        self._console = console or Console(stderr=True)
        self._clock = RunClock(phases, done, time.monotonic())
        self._now: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._least: dict[str, float] = {}
        self._live: Live | None = None
        self._aside, self._aside_told = "", -1

    def __enter__(self) -> RunLog:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, get_renderable=self.table, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._board.close()

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Log the figures of update number `step`."""
        self._clock.tick(step, time.monotonic())
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._count < self._every and step < self._clock.total:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._append(step, means)
        for name, value in means.items():
            self._board.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
            self._first.setdefault(name, value)
            self._least[name] = min(value, self._least.get(name, value))
        self._now = means
        if self._live is None and step % max(1, self._clock.total // _PLAIN_LINES) < self._every:
            shown = "  ".join(f"{_SHOWN[name][0]} {means[name]:.3g}" for name in _LINE if name in means)
            self._console.print(f"step {step}/{self._clock.total} {self._clock.summary()}  {shown}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, soft_wrap=True)

    def aside(self, what: str, done: int = 0, total: int = 1) -> None:
        """Show the progress of work between two steps; an empty `what` ends it.

        Where there is no terminal, five lines tell it.
        """
        self._aside = f"{what}  {done} of {total}" if what else ""
        fifth = 5 * done // max(1, total)
        if not what:
            self._aside_told = -1
        elif self._live is None and fifth > self._aside_told:
            self._aside_told = fifth
            self._console.print(self._aside, soft_wrap=True)

    def metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Log validation figures."""
        for name, value in metrics.items():
            self._board.add_scalar(f"validation/{name}", value, step)  # type: ignore[no-untyped-call]

    def table(self) -> RenderableType:
        """Return the live table: progress, remaining time, and each figure first, now and at its least."""
        clock = self._clock
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        head = Text.assemble(
            (f"{clock.phase}  ", "bold"),
            f"step {clock.step} of {clock.total}  {clock.summary()}, {duration(clock.elapsed_s)} so far, "
            f"memory {peak:.1f} GiB at most",
        )
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("figure")
        for column in ("first", "now", "least"):
            table.add_column(column, justify="right")
        table.add_column("", style="dim")
        for name, (short, meaning) in _SHOWN.items():
            if name in self._first:
                current = f"{self._now[name]:.3g}" if name in self._now else "-"
                table.add_row(short, f"{self._first[name]:.3g}", current, f"{self._least[name]:.3g}", meaning)
        aside = [Text(self._aside, style="bold")] if self._aside else []
        return Group(head, ProgressBar(clock.total, clock.step, width=60), *aside, table)

    def _append(self, step: int, means: dict[str, float]) -> None:
        """Append one row per figure, since the figures differ from phase to phase."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(("step", "figure", "value"))
            writer.writerows((step, name, f"{value:.6g}") for name, value in sorted(means.items()))


class RunClock:
    """Estimates the remaining time of a run whose phases have steps of very different length.

    Times are passed in as seconds of any monotonic clock.
    """

    def __init__(self, phases: Sequence[tuple[str, int]], done: int, now_s: float) -> None:
        self._phases = [(name, steps) for name, steps in phases if steps > 0]
        self._seconds: dict[str, float] = {}
        self._started_s = self._last_s = now_s
        self.step = done

    @property
    def total(self) -> int:
        """Steps of all phases together."""
        return sum(steps for _, steps in self._phases)

    @property
    def phase(self) -> str:
        """Phase of the next step; the last one when all is done."""
        return self._phase_of(self.step)

    @property
    def elapsed_s(self) -> float:
        return self._last_s - self._started_s

    def tick(self, step: int, now_s: float) -> None:
        """Note the end of step number `step`."""
        phase, taken = self._phase_of(step - 1), now_s - self._last_s
        mean = self._seconds.get(phase)
        self._seconds[phase] = taken if mean is None else _MEMORY * mean + (1 - _MEMORY) * taken
        self.step, self._last_s = step, now_s

    def left_s(self) -> float | None:
        """Return the remaining time in s, or None before the first step; a future phase counts like the present one."""
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
        """Return the rate and the remaining time in words."""
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
    """Format a duration, such as 1:05:09 or 2:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
