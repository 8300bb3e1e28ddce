"""One row of the failure policy."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.decisions import Decision, Reason

AGAIN = "motion resumes when every check has held for {release_s}"
RESET = "reset"


@dataclass(frozen=True)
class Failure:
    """One row of the table. A parameter's name in braces stands for its default value and its name."""

    what: str
    decision: Decision
    reasons: tuple[Reason, ...]
    within: str
    """Time from the failure until braking begins."""
    then: str
    """Condition under which motion resumes."""
