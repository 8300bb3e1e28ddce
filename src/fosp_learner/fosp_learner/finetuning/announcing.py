"""Which bundle of a run is to be on offer, and what the robot made of it: the learner node without ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fosp_learner.finetuning.lineage import Event, Lineage

RETRY_S = 5.0
"""A bundle that was refused only because a stop was latched is offered again after so long."""


class Answer(Enum):
    """What the encoder says of a bundle (fosp_msgs/ModelStatus)."""

    REFUSED = "refused"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Offered:
    """A bundle to be announced."""

    model_id: str
    parent_id: str
    path: Path


class Announcer:
    """Reads the lineage that the trainer's process writes, and writes to it what the robot answers."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._offered: Offered | None = None
        self._retry_s: float | None = None

    def next_offer(self, now_s: float) -> Offered | None:
        """What is to be announced now; None while nothing is new. What was announced before a restart is again."""
        newest = self._newest()
        if newest is None:
            return None
        again = self._retry_s is not None and now_s >= self._retry_s
        if newest == self._offered and not again:
            return None
        first = not any(e.event == "announced" and e.id == newest.model_id for e in self._lineage.events())
        if first and not any(e.event == "start" and e.id == newest.model_id for e in self._lineage.events()):
            self._lineage.append("announced", newest.model_id)
        self._offered, self._retry_s = newest, None
        return newest

    def answered(self, model_id: str, answer: Answer, detail: str, now_s: float) -> None:
        """The encoder's status. What it says twice, or of bundles of other learners, is not written down."""
        mine = {event.id for event in self._lineage.events() if event.event == "candidate"}
        if model_id not in mine:
            return
        if answer is Answer.REFUSED and "latched" in detail:
            self._retry_s = now_s + RETRY_S
            return
        told = [e for e in self._lineage.events() if e.id == model_id and e.event not in ("candidate", "announced")]
        if not told or told[-1].event != answer.value:
            self._lineage.append(answer.value, model_id, **({"reason": detail} if detail else {}))

    def _newest(self) -> Offered | None:
        """The bundle that is meant to run, once any candidate has passed."""
        events = self._lineage.events()
        model_id, path = self._lineage.running()
        if not any(e.event == "candidate" for e in events):
            return None
        started = any(e.event == "start" and e.id == model_id for e in events)
        if started and self._offered is None:
            return None  # the robot runs it anyway
        return Offered(model_id, _parent(events, model_id), Path(path))


def _parent(events: list[Event], model_id: str) -> str:
    return next((str(e.details["parent"]) for e in events if e.event == "candidate" and e.id == model_id), "")
