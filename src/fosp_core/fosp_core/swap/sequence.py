"""Hot swap: the running graph changes to another model without missing a decision. No ROS, no threads.

    announced -> every node loads and self-tests it off the control path -> ready reports -> the encoder warms a fresh
    recurrent state -> it switches between two frames -> trial -> committed, or rolled back

The encoder leads (`SwapSequence`); policy and monitor follow the model id that each latent carries (`ModelRegistry`).
So every proposal is judged by the model that made it. Whatever goes wrong - a bundle is broken, vanishes or is for
another robot, a node does not report, the monitor latches - the running model stays in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

from fosp_core.errors import UserError
from fosp_core.specs import Manifest
from fosp_core.swap.trial import DecisionOutcome, TrialRecord, TrialRules, trial_failure

Model = TypeVar("Model")


@dataclass(frozen=True)
class Announcement:
    """A bundle on offer. Of two, every node takes the one with the later stamp, in whatever order they arrive."""

    model_id: str
    path: Path
    stamp_ns: int
    parent_id: str = ""

    def supersedes(self, other: Announcement | None) -> bool:
        return other is None or (self.stamp_ns, self.model_id) > (other.stamp_ns, other.model_id)


def require_same_interface(candidate: Manifest, running: Manifest) -> None:
    """Raise UserError when the candidate differs from the running model in something that the graph is set up for."""
    for name in ("task", "robot", "observation", "action", "decision_period_s"):
        if getattr(candidate, name) != getattr(running, name):
            raise UserError(
                f"bundle {candidate.id[:12]}: its {name} is not that of the running {running.id[:12]}; "
                "restart the graph with it"
            )


class ModelRegistry(Generic[Model]):
    """Loaded models of a follower, by id: the first one, the active one, the one before it, and the candidate.

    The first one is kept for an encoder that restarts, the one before for a rollback. All others are released, so that
    memory does not grow with the number of swaps.
    """

    def __init__(self, model_id: str, model: Model) -> None:
        self._base = self.active_id = self._previous = model_id
        self._candidate = model_id
        self._models = {model_id: model}

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._models

    def get(self, model_id: str) -> Model | None:
        return self._models.get(model_id)

    def values(self) -> Sequence[Model]:
        return tuple(self._models.values())

    def add_candidate(self, model_id: str, model: Model) -> None:
        """Add a candidate in place of the candidate before it."""
        self._candidate = model_id
        self._models[model_id] = model
        self._let_go()

    def activate(self, model_id: str) -> bool:
        """Make a loaded model, of which a latent has arrived, the active one; return True when it was not."""
        if model_id == self.active_id:
            return False
        self._previous, self.active_id = self.active_id, model_id
        self._let_go()
        return True

    def _let_go(self) -> None:
        keep = {self._base, self.active_id, self._previous, self._candidate}
        self._models = {name: model for name, model in self._models.items() if name in keep}


class SwapPhase(Enum):
    """Phase of the candidate, if there is one."""

    IDLE = "no candidate"
    GATHERING = "waiting for every node to have loaded it"
    WARMING = "the recurrent state of the new model is being warmed"
    TRIAL = "decisions are made by it, the one before is kept"


class SwapOrder(Enum):
    """Order for the encoder."""

    NONE = 0
    WARM = 1
    """Replay the last frames through the candidate, off the control path, and then call `warmed`."""
    SWITCH = 2
    """Decide with the candidate from the next frame on, and call `switched`."""
    COMMIT = 3
    """Release the model before the candidate."""
    ROLL_BACK = 4
    """Decide with the model before the candidate again from the next frame on, and call `rolled_back`."""


class SwapReport(Enum):
    """News of a model, to publish."""

    READY = "ready"
    REFUSED = "refused"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class SwapEvent:
    """News of a model, to publish and to log."""

    report: SwapReport
    model_id: str
    detail: str = ""


_REPORTS_KEPT = 32


class SwapSequence:
    """Leads one swap after the other: reports go in, `next_order` is polled, and events come out (`take_events`).

    The leader's own loading is reported under the name `own`; the nodes `followers` must be ready, too. Times are
    monotonic, in s.
    """

    def __init__(self, running_id: str, own: str, followers: Sequence[str], rules: TrialRules | None = None) -> None:
        self.rules = rules or TrialRules()
        self.running_id = running_id
        """Id of the model that decides, on trial in the phase TRIAL."""
        self.phase = SwapPhase.IDLE
        self.candidate: Announcement | None = None
        self.latched = False
        """True while the safety monitor has latched, for whatever reason; set from outside."""
        self.previous_id = running_id
        """Id of the model that a rollback returns to."""
        self.waiting: Announcement | None = None
        """The next candidate, which was announced while another one was on trial."""
        self._nodes = (own, *followers)
        self._own = own
        self._newest: Announcement | None = None
        self._warm = False
        self._failure = ""
        self._since_s = 0.0
        self._reports: dict[tuple[str, str], str] = {}
        self._banned: dict[str, str] = {}
        self._record = TrialRecord(self.rules.steps)
        self._before = TrialRecord(self.rules.steps)
        self._events: list[SwapEvent] = []

    def take_events(self) -> list[SwapEvent]:
        events, self._events = self._events, []
        return events

    # -- reports -------------------------------------------------------------------------------------
    def announced(self, announcement: Announcement, now_s: float) -> bool:
        """Take note of an announced bundle, and return True when it is to be loaded; refuse what is superseded."""
        model_id = announcement.model_id
        if model_id == self.running_id:
            self._withdrawn(announcement)
            return False
        if self.candidate is not None and model_id == self.candidate.model_id:
            return False
        if model_id in self._banned:
            self._tell(SwapReport.REFUSED, model_id, f"it was rolled back before: {self._banned[model_id]}")
            return False
        if not announcement.supersedes(self._newest):
            self._tell(SwapReport.REFUSED, model_id, "a newer bundle was announced")
            return False
        if self.latched:
            self._tell(SwapReport.REFUSED, model_id, "a stop is latched: reset the safety monitor first")
            return False
        self._newest = announcement
        self._reports.pop((self._own, model_id), None)  # an earlier report: it is loaded again
        if self.phase is SwapPhase.TRIAL:
            self._drop_waiting("a newer bundle was announced", unless=model_id)
            self.waiting = announcement
            return True
        if self.candidate is not None:
            self._refuse("a newer bundle was announced")
        self._gather(announcement, now_s)
        return True

    def reported(self, node: str, model_id: str, refusal: str = "") -> None:
        """Take note that a node has loaded the model, or refuses it for the reason `refusal`."""
        if node not in self._nodes:
            return
        if node == self._own and not refusal:
            self._tell(SwapReport.READY, model_id)
        self._reports[node, model_id] = refusal
        while len(self._reports) > _REPORTS_KEPT:
            self._reports.pop(next(iter(self._reports)))

    def decided(self, model_id: str, outcome: DecisionOutcome) -> None:
        """Take note of the outcome of a decision of `model_id`."""
        if model_id == self.running_id:
            self._record.add(outcome)

    def cost(self, cost: float) -> None:
        """Take note of the cost of the newest decision period."""
        self._record.add_cost(cost)

    def warmed(self, model_id: str, failure: str = "") -> None:
        """Take note that the candidate's recurrent state has caught up, or that the replay failed."""
        if self.phase is SwapPhase.WARMING and self.candidate is not None and self.candidate.model_id == model_id:
            if failure:
                self._refuse(failure)
            else:
                self._warm = True

    def switched(self, now_s: float) -> None:
        """Take note that the candidate decides from now on."""
        assert self.candidate is not None
        self.previous_id, self.running_id = self.running_id, self.candidate.model_id
        self._before, self._record = self._record, TrialRecord(self.rules.steps)
        self._failure = ""
        self._enter(SwapPhase.TRIAL, now_s)
        self._tell(SwapReport.TRIAL, self.running_id)

    def rolled_back(self, now_s: float) -> None:
        """Take note that the model before the candidate decides again."""
        assert self.candidate is not None
        self._banned[self.candidate.model_id] = self._failure
        self._tell(SwapReport.ROLLED_BACK, self.candidate.model_id, self._failure)
        self.running_id = self.previous_id
        self._record = self._before
        self._tell(SwapReport.COMMITTED, self.running_id)
        self._end(now_s)

    def restart(self) -> None:
        """Forget past decisions, after the node was deactivated and activated again."""
        self._record, self._before = TrialRecord(self.rules.steps), TrialRecord(self.rules.steps)
        self.latched = False

    # -- orders --------------------------------------------------------------------------------------
    def next_order(self, now_s: float) -> SwapOrder:
        """Return the order for now; poll it with every frame, and some 20 times per second."""
        if self.phase is SwapPhase.TRIAL:
            return self._judge_trial(now_s)
        if self.candidate is None:
            return SwapOrder.NONE
        if self.latched:
            self._refuse("a stop is latched: reset the safety monitor first")
            return SwapOrder.NONE
        if self.phase is SwapPhase.WARMING:
            return SwapOrder.SWITCH if self._warm else SwapOrder.NONE
        return self._look_at_reports(self.candidate, now_s)

    def _look_at_reports(self, candidate: Announcement, now_s: float) -> SwapOrder:
        reports = {node: self._reports.get((node, candidate.model_id)) for node in self._nodes}
        for node, refusal in reports.items():
            if refusal:
                self._refuse(refusal if node == self._own else f"{node}: {refusal}")
                return SwapOrder.NONE
        silent = [node for node, refusal in reports.items() if refusal is None]
        if not silent:
            self._warm = False
            self._enter(SwapPhase.WARMING, now_s)
            return SwapOrder.WARM
        if now_s - self._since_s > self.rules.ready_timeout_s:
            self._refuse(f"no report from {', '.join(silent)} within {self.rules.ready_timeout_s:g} s")
        return SwapOrder.NONE

    def _judge_trial(self, now_s: float) -> SwapOrder:
        self._failure = self._failure or trial_failure(self._record, self._before, self.rules)
        if self._failure:
            return SwapOrder.ROLL_BACK
        if self._record.decisions < self.rules.steps:
            return SwapOrder.NONE
        self._tell(SwapReport.COMMITTED, self.running_id)
        self._end(now_s)
        return SwapOrder.COMMIT

    # -- machinery -----------------------------------------------------------------------------------
    def _withdrawn(self, announcement: Announcement) -> None:
        """Refuse earlier candidates, because the running model was announced again after them."""
        if announcement.supersedes(self._newest):
            self._newest = announcement
            self._drop_waiting("it was withdrawn")
            if self.candidate is not None and self.phase is not SwapPhase.TRIAL:
                self._refuse("it was withdrawn")

    def _gather(self, announcement: Announcement, now_s: float) -> None:
        self.candidate = announcement
        self._enter(SwapPhase.GATHERING, now_s)

    def _refuse(self, why: str) -> None:
        assert self.candidate is not None
        self._give_up(self.candidate.model_id, why)
        self.candidate, self.phase = None, SwapPhase.IDLE

    def _drop_waiting(self, why: str, unless: str = "") -> None:
        if self.waiting is not None and self.waiting.model_id != unless:
            self._give_up(self.waiting.model_id, why)
        self.waiting = None

    def _give_up(self, model_id: str, why: str) -> None:
        """Refuse a model and forget its reports: if it is announced again, every node loads it again."""
        self._tell(SwapReport.REFUSED, model_id, why)
        self._reports = {key: refusal for key, refusal in self._reports.items() if key[1] != model_id}

    def _end(self, now_s: float) -> None:
        """End a trial; the bundle that was announced meanwhile is the next candidate."""
        self.candidate, self.phase = None, SwapPhase.IDLE
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            self._gather(waiting, now_s)

    def _enter(self, phase: SwapPhase, now_s: float) -> None:
        self.phase, self._since_s = phase, now_s

    def _tell(self, report: SwapReport, model_id: str, detail: str = "") -> None:
        self._events.append(SwapEvent(report, model_id, detail))
