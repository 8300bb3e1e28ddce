"""Decides which bundle of a run is announced, and notes what the robot makes of it: the learner node without ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fosp_learner.finetuning.lineage import Lineage, LineageEvent

RETRY_S = 5.0
"""Time after which a bundle that was refused only because a stop was latched is offered again."""


class ModelState(Enum):
    """The state of an announced bundle on the robot, as the encoder reports it (fosp_msgs/ModelStatus)."""

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
        """Return the bundle to announce now, or None while nothing is new; after a restart it is announced again."""
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

    def state_changed(self, model_id: str, state: ModelState, detail: str, now_s: float) -> None:
        """Write the state of a bundle of this run to the lineage, unless it is there already."""
        mine = {event.id for event in self._lineage.events() if event.event == "candidate"}
        if model_id not in mine:
            return
        if state is ModelState.REFUSED and "latched" in detail:
            self._retry_s = now_s + RETRY_S
            return
        told = [e for e in self._lineage.events() if e.id == model_id and e.event not in ("candidate", "announced")]
        if not told or told[-1].event != state.value:
            self._lineage.append(state.value, model_id, **({"reason": detail} if detail else {}))

    def _newest(self) -> Offered | None:
        """Return the bundle that is meant to run, once there is a candidate."""
        events = self._lineage.events()
        model_id, path = self._lineage.running()
        if not any(e.event == "candidate" for e in events):
            return None
        started = any(e.event == "start" and e.id == model_id for e in events)
        if started and self._offered is None:
            return None  # the robot began with it
        return Offered(model_id, _parent(events, model_id), Path(path))


def _parent(events: list[LineageEvent], model_id: str) -> str:
    return next((str(e.details["parent"]) for e in events if e.event == "candidate" and e.id == model_id), "")
