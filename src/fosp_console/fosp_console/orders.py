"""The orders that a page may give, as the text of a request describes them. No ROS."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from fosp_core.errors import UserError

ESTOP, ENGAGE, DISENGAGE, RESET = "estop", "engage", "disengage", "reset"
BEGIN, END, DISCARD, MARK, SUCCESS, VIOLATION = "begin", "end", "discard", "mark", "success", "violation"
ANNOUNCE, ROLL_BACK = "announce", "roll_back"
ORDERS = (ESTOP, ENGAGE, DISENGAGE, RESET, BEGIN, END, DISCARD, MARK, SUCCESS, VIOLATION, ANNOUNCE, ROLL_BACK)
MOST_BYTES = 2048
"""Length of a request."""
MOST_NOTE = 200
"""Characters of a note."""
_MODEL_ID = re.compile(r"[0-9a-f]{8,128}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True)
class Order:
    """One order of a person at a page."""

    name: str
    session: str = ""
    """The page's connection, which the consent to motion is bound to."""
    note: str = ""
    """Text of a mark."""
    model_id: str = ""
    """Bundle to announce, by its id: a page never names a path."""


def parse_order(text: str) -> Order:
    """Return the order that a request describes; UserError in one line for anything else."""
    if len(text) > MOST_BYTES:
        raise UserError(f"an order has at most {MOST_BYTES} characters")
    try:
        content = json.loads(text)
    except ValueError:
        raise UserError("an order is a JSON object") from None
    except RecursionError:
        raise UserError("an order is a flat JSON object") from None
    if not isinstance(content, dict):
        raise UserError("an order is a JSON object")
    unknown = set(content) - {"order", "session", "note", "model_id"}
    if unknown:
        raise UserError(f"an order has no field '{str(sorted(unknown)[0])[:40]}'")
    name = content.get("order")
    if name not in ORDERS:
        raise UserError(f"order must be one of {', '.join(ORDERS)}")
    session, model_id = _text(content, "session"), _text(content, "model_id")
    if session and not _SESSION.fullmatch(session):
        raise UserError("session is not one that this console gives")
    if name == ENGAGE and not session:
        raise UserError("engage needs the session of a page that is connected, and that watches the robot")
    if name == ANNOUNCE and not _MODEL_ID.fullmatch(model_id):
        raise UserError("announce needs model_id, the id of a bundle")
    note = " ".join("".join(sign if sign.isprintable() else " " for sign in _text(content, "note")).split())
    if len(note) > MOST_NOTE:
        raise UserError(f"a note has at most {MOST_NOTE} characters")
    return Order(name, session, note, model_id)


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise UserError(f"{name} is a text")
    return value
