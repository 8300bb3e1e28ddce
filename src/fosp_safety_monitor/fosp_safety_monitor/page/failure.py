"""One row of the failure policy, tied to the code that makes it so and to the faults that show it."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.decisions import Decision, Reason

AGAIN = "motion resumes when every check has held for {release_s}"
RESET = "reset, once the cause is gone"
AFTER_A_STOP = "the robot stands already"
"""`within` of a latch that follows a stop."""
_MONITOR_TESTS = "src/fosp_safety_monitor/test"


@dataclass(frozen=True, kw_only=True)
class Ties:
    """The ties that show that a row is true. tests/faults/test_failure_policy.py holds both against each other."""

    checks: tuple[str, ...] = ()
    """Names of the functions that make it so, each of which has a mutant in tests/faults/mutants.py."""
    faults: tuple[str, ...] = ()
    """Names of the rows of tests/faults/fault_table.py that show it on the live graph."""
    tests: tuple[str, ...] = ()
    """Tests that show it, PATH::NAME, where no such row can."""


@dataclass(frozen=True)
class Failure(Ties):
    """One row of the table. A parameter's name in braces stands for its default value and its name."""

    what: str
    decision: Decision
    reasons: tuple[Reason, ...]
    within: str
    """Time from the failure until braking begins."""
    then: str
    """Condition under which motion resumes."""


@dataclass(frozen=True)
class OtherFailure(Ties):
    """A row whose answer is no verdict of the monitor."""

    what: str
    answer: str
    within: str
    then: str
    moves_on: bool
    """The robot goes on as if nothing had happened."""


def monitor_test(module: str, name: str) -> str:
    """Return the tie to a test of this package."""
    return f"{_MONITOR_TESTS}/test_{module}.py::test_{name}"
