"""The contents of the page, a value made of messages: the newest of each kind, and the last verdicts and events.

Any thread may tell it messages; `changes` and `everything` are texts of JSON for the page. Numbers that are not finite
are null. No ROS: messages are read by their fields.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from fosp_core.decisions import Decision, Reason, WhoDrives

PAST_VERDICTS = 1200
"""Verdicts that a page which opens is given: a minute of them at 20 Hz."""
PAST_EVENTS = 60
MOST_CANDIDATES = 64
MOST_STATUSES = 64
MOST_TEXT = 400
"""Characters of a text of the graph that are shown."""
EVENT_KINDS = (
    *("moving", "stopped", "latched", "reset", "reset refused", "activated", "deactivated", "engaged"),
    *("engage refused", "disengaged"),
)
"""Kinds of fosp_msgs/SafetyEvent in words, by their number."""
_STATUS = ("active", "ready", "refused", "on trial", "rolled back")
_SOURCES = ("offline", "online", "fallback")


class GraphState:
    """The state of the graph for the page, in parts that are sent when they change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._verdicts: deque[dict[str, Any]] = deque(maxlen=PAST_VERDICTS)
        self._events: deque[dict[str, Any]] = deque(maxlen=PAST_EVENTS)
        self._new_verdicts: list[dict[str, Any]] = []
        self._new_events: list[dict[str, Any]] = []
        self._latents: dict[int, dict[str, float | None]] = {}
        self._policy_s: dict[int, float | None] = {}
        self._limits: dict[str, float | None] = {}
        self._episode_cost = self._episode_reward = 0.0

    # -- for the server ------------------------------------------------------------------------------
    def changes(self) -> str:
        """Return the JSON of what has changed since the last call; an empty text when nothing has."""
        with self._lock:
            if not (self._changed or self._new_verdicts or self._new_events):
                return ""
            message = {
                "kind": "changes",
                "state": {name: self._parts[name] for name in self._changed},
                "verdicts": self._new_verdicts,
                "events": self._new_events,
            }
            self._changed, self._new_verdicts, self._new_events = set(), [], []
            return _json(message)

    def everything(self) -> str:
        """Return the JSON of the whole state and its past."""
        with self._lock:
            return _json(
                {
                    "kind": "everything",
                    "state": self._parts,
                    "verdicts": list(self._verdicts),
                    "events": list(self._events),
                }
            )

    def part(self, name: str) -> Any:
        """Return one part of the state; None when nothing has told it."""
        with self._lock:
            return self._parts.get(name)

    def tell(self, name: str, value: Any) -> None:
        """Set one part of the state to a value that JSON can hold."""
        value = _finite(value)
        with self._lock:
            if self._parts.get(name) != value:
                self._parts[name] = value
                self._changed.add(name)

    # -- messages ------------------------------------------------------------------------------------
    def latent(self, message: Any) -> None:
        """Take in a Latent: surprise, novelty and time of the encoder belong to the verdict of its step."""
        with self._lock:
            _remember(
                self._latents,
                int(message.step),
                {
                    "novelty": _number(message.novelty),
                    "inconsistency": _number(message.inconsistency),
                    "encoder_s": _number(message.inference_s),
                },
            )

    def limits(self, novelty: float | None, inconsistency: float | None) -> None:
        """Set the limits of the camera's figures, from the manifest; None where the bundle has none."""
        with self._lock:
            self._limits = {"novelty_limit": novelty, "inconsistency_limit": inconsistency}

    def proposal(self, message: Any) -> None:
        """Take in an ActionProposal: its candidates are drawn."""
        candidates = [
            {
                "action": [_number(value) for value in candidate.action[:8]],
                "source": _name(_SOURCES, candidate.source),
                "q_r": _number(candidate.q_r),
                "q_c": _number(candidate.q_c),
                "q_h": _number(candidate.q_h),
                "feasible": bool(candidate.feasible),
            }
            for candidate in message.candidates[:MOST_CANDIDATES]
        ]
        with self._lock:
            _remember(self._policy_s, int(message.step), _number(message.inference_s))
            self._parts["proposal"] = {
                "step": int(message.step),
                "stamp": _seconds(message.header.stamp),
                "chosen": int(message.chosen),
                "candidates": candidates,
                "exploring": bool(message.exploring),
            }
            self._changed.add("proposal")

    def verdict(self, message: Any) -> bool:
        """Take in a SafetyVerdict, and return True when it is none that passes, which the page should get at once."""
        decision = int(message.decision)
        step = int(message.step)
        with self._lock:
            row = {
                **verdict_row(message),
                "policy_s": _of_step(self._policy_s, step, None),
                **_of_step(self._latents, step, {"novelty": None, "inconsistency": None, "encoder_s": None}),
                **self._limits,
            }
            self._verdicts.append(row)
            self._new_verdicts.append(row)
        return decision != Decision.PASS

    def event(self, message: Any) -> None:
        """Take in a SafetyEvent; the last latch stays known until a reset ends it."""
        row = {
            "kind": _name(EVENT_KINDS, int(message.kind)),
            "reason": _name(Reason, int(message.reason)),
            "text": str(message.text).removeprefix("latched until reset: ")[:MOST_TEXT],
            "at": _seconds(message.stamp),
            "source": str(message.node)[:MOST_TEXT],
        }
        self.note(row)

    def note(self, row: Mapping[str, Any]) -> None:
        """Append a line to the events: {kind, reason, text, at, source}."""
        with self._lock:
            self._events.append(dict(row))
            self._new_events.append(dict(row))
            kind = row["kind"]
            if kind == "latched":
                self._set("latch", {"cause": row["text"], "reason": row["reason"], "since": row["at"]})
            elif kind in ("reset", "moving", "deactivated"):
                self._set("latch", None)
                self._set("refusal", None)
            elif kind == "reset refused":
                self._set("refusal", {"text": row["text"], "at": row["at"]})

    def feedback(self, message: Any) -> None:
        """Take in a StepFeedback: the running episode, its return and its cost."""
        reward, cost = _number(message.reward) or 0.0, _number(message.cost) or 0.0
        with self._lock:
            before = self._parts.get("episode") or {}
            first = bool(message.is_first) or before.get("number") != int(message.episode)
            self._episode_reward = reward if first else self._episode_reward + reward
            self._episode_cost = cost if first else max(self._episode_cost, cost)
            stamp_s = _seconds(message.header.stamp)
            violations = int(cost > 0) + (0 if first else int(before.get("violations", 0)))
            episode = {
                "number": int(message.episode),
                "running": not message.is_last,
                "since": stamp_s if first else before.get("since", stamp_s),
                "last": stamp_s,
                "return": self._episode_reward,
                "violations": violations,
                "success": bool(message.success) or (not first and bool(before.get("success"))),
                "distance": _number(message.distance),
            }
            self._set("episode", _finite(episode))

    def model_status(self, message: Any) -> None:
        """Take in a ModelStatus: what each node runs, and the trial of the leader."""
        with self._lock:
            statuses = dict(self._parts.get("models") or {})
            if len(statuses) < MOST_STATUSES or str(message.node) in statuses:
                statuses[str(message.node)[:MOST_TEXT]] = {
                    "state": _name(_STATUS, int(message.state)),
                    "model_id": str(message.model_id)[:MOST_TEXT],
                    "detail": str(message.detail)[:MOST_TEXT],
                }
            self._set("models", statuses)

    def diagnostics(self, message: Any, at_s: float) -> None:
        """Take in a DiagnosticArray, received at `at_s`."""
        with self._lock:
            known = dict(self._parts.get("diagnostics") or {})
            for status in message.status[:MOST_STATUSES]:
                level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
                if len(known) >= MOST_STATUSES and status.name not in known:
                    continue
                known[str(status.name)[:MOST_TEXT]] = {
                    "level": ("ok", "warning", "error", "stale")[min(int(level), 3)],
                    "message": str(status.message)[:MOST_TEXT],
                    "hardware": str(status.hardware_id)[:MOST_TEXT],
                    "values": [[str(v.key)[:80], str(v.value)[:MOST_TEXT]] for v in status.values[:48]],
                    "at": at_s,
                }
            self._set("diagnostics", known)
            monitor = next((row for name, row in known.items() if name.endswith(": safety monitor")), None)
            if monitor is not None:
                values = dict(monitor["values"])
                self._set(
                    "consent",
                    {name: values.get(name, "") for name in ("state", "engaged", "episode", "latched", "mode")},
                )

    def _set(self, name: str, value: Any) -> None:
        """Set a part while the lock is held."""
        if name not in self._parts or self._parts[name] != value:
            self._parts[name] = value
            self._changed.add(name)


def verdict_row(message: Any) -> dict[str, Any]:
    """Return a SafetyVerdict as the page shows it: names in place of numbers, times in s."""
    return {
        "step": int(message.step),
        "stamp": _seconds(message.header.stamp),
        "decided": _seconds(message.decided),
        "decision": _name(Decision, int(message.decision)),
        "reason": _name(Reason, int(message.reason)),
        "text": str(message.reason_text)[:MOST_TEXT],
        "source": _name(WhoDrives, int(getattr(message, "source", WhoDrives.UNKNOWN))),  # a new field
        "q_h": _number(message.q_h),
        "q_h_out": _number(message.q_h_out),
        "v_h": _number(message.v_h),
        "eps": _number(message.eps),
        "surprise": _number(message.surprise),
        "surprise_limit": _number(message.surprise_limit),
        "image_age_s": _number(message.image_age_s),
        "state_age_s": _number(message.robot_state_age_s),
        "monitor_s": _number(message.decision_s),
        "speed_scale": _number(message.speed_scale),
        "limited": bool(message.limited),
        "shadow": bool(message.shadow),
        "candidate": int(message.candidate),
        "action_in": [_number(value) for value in message.action_in[:8]],
        "action_out": [_number(value) for value in message.action_out[:8]],
        "model_id": str(message.model_id)[:MOST_TEXT],
    }


# -- values that JSON can hold -----------------------------------------------------------------------
def _remember(rows: dict[int, Any], step: int, value: Any) -> None:
    """Keep the value of a step, and those of the few before it."""
    rows[step] = value
    while len(rows) > 32:
        del rows[next(iter(rows))]


def _of_step(rows: Mapping[int, Any], step: int, otherwise: Any) -> Any:
    """Return the value of a step, or that of the one before where its message came late or was lost."""
    return rows.get(step, rows.get(step - 1, otherwise))


def _json(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def _number(value: Any) -> float | None:
    """Return a number with six digits; None for NaN and infinity."""
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """Return a value with null in place of NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _name(names: Any, number: Any) -> str:
    """Return the name of a constant; its number where it is unknown, as from a newer graph."""
    try:
        found = names(number) if isinstance(names, type) else names[int(number)]
    except (ValueError, IndexError):
        return f"unknown ({int(number)})"
    return str(getattr(found, "name", found))


def _seconds(stamp: Any) -> float:
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9
