"""What a run leaves behind and shows: losses.csv, TensorBoard scalars, and a live line on the terminal."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter

_SHOWN = {
    "world_model/reconstruction": "image",
    "world_model/kl": "kl",
    "behaviour/actor": "actor",
    "behaviour/cloning": "cloning",
    "behaviour/q_h": "q_h",
}
"""Figures of the live line."""


class RunLog:
    """Figures of each step, averaged over `every` steps. A context manager."""

    def __init__(self, directory: Path, steps: int, done: int = 0, every: int = 25) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._every, self._sums, self._count = every, {}, 0  # type: tuple[int, dict[str, float], int]
        self._path = directory / "losses.csv"
        if done == 0:
            self._path.unlink(missing_ok=True)
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=done)
        self._console = Console(stderr=True)
        self._steps, self._started, self._first = steps, time.monotonic(), done
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=steps, completed=done, rate="", figures="")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._board.close()

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Figures of the update that made it `step` updates."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._count < self._every and step < self._steps:
            self._progress.update(self._task, completed=step)
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        rate = (step - self._first) / max(time.monotonic() - self._started, 1e-9)
        self._append(step, means)
        for name, value in means.items():
            self._board.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        line = "  ".join(f"{short} {means[name]:.3g}" for name, short in _SHOWN.items() if name in means)
        self._progress.update(self._task, completed=step, rate=f"{rate:.2f}/s", figures=line)
        if self._progress.disable and step % max(1, self._steps // 20) < self._every:
            left = (self._steps - step) / max(rate, 1e-9)
            self._console.print(f"step {step}/{self._steps}  {rate:.2f}/s  {left / 60:.0f} min left  {line}")

    def note(self, text: str) -> None:
        """A line above the live one."""
        self._console.print(text)

    def metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Validation figures."""
        for name, value in metrics.items():
            self._board.add_scalar(f"validation/{name}", value, step)  # type: ignore[no-untyped-call]

    def _append(self, step: int, means: dict[str, float]) -> None:
        """One row per figure: figures come and go with the phases, so a row per step would not stay rectangular."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(("step", "figure", "value"))
            writer.writerows((step, name, f"{value:.6g}") for name, value in sorted(means.items()))
