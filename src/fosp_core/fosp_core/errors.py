"""The exception for faults that the user can mend, and a help for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A fault of the input: one line says what is wrong and how to mend it. Commands print the line and exit with 2."""


class BrokenMessage(UserError):
    """A fault of one message or frame alone, such as a JPEG that was cut off: its stream may be sound otherwise."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'NAME'?)" with the known name that is most like `given`, or "" if none is like it."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.8)
    return f" (did you mean '{close[0]}'?)" if close else ""
