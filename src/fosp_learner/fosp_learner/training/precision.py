"""The choice between bfloat16 and float32, which of the two is faster depends on the processor, the size and the phase.

The first updates of each phase are made in both by turns, and the rest of the phase in the one that took less time.
Weights are float32 in both, so an update made for the comparison is worth as much as any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fosp_learner import distributed

BF16, FP32 = "bf16", "fp32"
_WARM_UP = (BF16, FP32)
"""Updates that are not counted: kernels are compiled, memory is mapped, and latents are stored in them."""
_TRIALS = (BF16, FP32, FP32, BF16, BF16, FP32)
TRIAL_UPDATES = len(_WARM_UP) + len(_TRIALS)
"""Updates of a phase that the choice takes."""


class Precision:
    """Makes the choice for each phase, unless `bf16` makes it for all."""

    def __init__(self, bf16: bool | None, device: torch.device) -> None:
        self._fixed, self._device = bf16, device
        self._seconds: dict[str, list[float]] = {}
        """Times of the updates of each phase so far, s, summed over all processes of the run."""
        self._present = BF16
        self.news: list[str] = []
        """Lines on choices that were made since they were last read; the reader removes them."""

    @contextmanager
    def update(self, phase: str) -> Iterator[None]:
        """Make one update of `phase`, from its loss to its last weight, in the precision that is its turn."""
        taken = self._seconds.setdefault(phase, [])
        if self._fixed is not None or len(taken) >= TRIAL_UPDATES:
            self._present = self.chosen(phase)
            yield
            return
        self._present = (*_WARM_UP, *_TRIALS)[len(taken)]
        started = self._now()
        yield
        spent = torch.tensor(self._now() - started, dtype=torch.float64, device=self._device)
        taken.append(float(distributed.total(spent)))
        if len(taken) == TRIAL_UPDATES:
            least = self._least(phase)
            times = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in least.items())
            self.news.append(f"{phase}: an update takes {times}; {self.chosen(phase)} from here on")

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute matrix products and convolutions in the precision of the present update."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._present == BF16):
            yield

    def chosen(self, phase: str) -> str:
        """Return BF16 or FP32, the choice for `phase`; before it is made, BF16."""
        if self._fixed is not None:
            return BF16 if self._fixed else FP32
        if len(self._seconds.get(phase, ())) < TRIAL_UPDATES:
            return BF16
        least = self._least(phase)
        return min(least, key=least.__getitem__)

    @property
    def state(self) -> dict[str, list[float]]:
        """The times measured so far, ready for JSON: with them a resumed run goes on as it would have."""
        return {phase: list(seconds) for phase, seconds in self._seconds.items()}

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self._seconds = {phase: [float(s) for s in seconds] for phase, seconds in value.items()}

    def _least(self, phase: str) -> dict[str, float]:
        """Return the least time of an update in each precision, s."""
        counted = self._seconds[phase][len(_WARM_UP) :]
        return {
            name: min(s for s, made_in in zip(counted, _TRIALS, strict=True) if made_in == name)
            for name in (BF16, FP32)
        }

    def _now(self) -> float:
        """Return the time that counts, s: of the GPU, or of the processor, which other processes do not add to."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()
