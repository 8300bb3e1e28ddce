"""Every row of docs/safety.md is tied to the code that makes it so, and to the faults or tests that show it.

A row without a mutant, a mutant or a fault without a row, and a fault that asks for something else than its row fail.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_table import FAULTS, Fault
from mutants import MUTANTS

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.verdict import GATES_IN_SHADOW
from fosp_safety_monitor.page.failure import AFTER_A_STOP, Failure, OtherFailure
from fosp_safety_monitor.page.failures import FAILURES
from fosp_safety_monitor.page.process_failures import OTHER_FAILURES

ROOT = Path(__file__).resolve().parents[2]
ROWS: tuple[Failure | OtherFailure, ...] = (*FAILURES, *OTHER_FAILURES)
MUTANT_NAMES = {mutant.name for mutant in MUTANTS}
BY_NAME = {fault.name: fault for fault in FAULTS}
UNNOTICED = {"OK", "SLOW_DOWN"}
"""Reasons of verdicts that find nothing wrong."""
AFTER_STOPS = {reason.name for row in FAILURES if row.within == AFTER_A_STOP for reason in row.reasons}
"""Reasons of latches that follow a stop of another reason."""


def ties() -> dict[str, list[Failure | OtherFailure]]:
    """Return the rows of each fault by its name."""
    rows: dict[str, list[Failure | OtherFailure]] = defaultdict(list)
    for row in ROWS:
        for name in row.faults:
            rows[name].append(row)
    return rows


def contradiction(fault: Fault, rows: list[Failure | OtherFailure]) -> str:
    """Return in words how a fault contradicts the rows that it is to show; empty when it does not."""
    judged = [row for row in rows if isinstance(row, Failure)]
    for row in rows:
        if isinstance(row, OtherFailure) and row.moves_on != (fault.decision == "PASS"):
            return f"{fault.decision} does not show what happens when: {row.what}"
    if fault.decision in ("ANY", "END"):
        return ""
    for row in judged:
        shared = set(fault.reason) & {reason.name for reason in row.reasons}
        earlier = row.decision < Decision[fault.decision] and (shared or set(fault.reason) & AFTER_STOPS)
        if not earlier and not (shared and row.decision is Decision[fault.decision]):
            asked = f"{fault.decision} {fault.reason}"
            return f"{asked} is not {row.decision.name} {[r.name for r in row.reasons]}: {row.what}"
    if fault.decision == "PASS" and set(fault.reason) <= UNNOTICED:
        return ""
    told = {r.name for row in judged if row.decision is Decision[fault.decision] for r in row.reasons}
    told |= {r.name for row in judged if row.decision is Decision.PASS for r in row.reasons}
    unknown = set(fault.reason) - told
    return f"no row of {fault.decision} has the reasons {sorted(unknown)}" if unknown else ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what[:60])
def test_a_row_is_made_so_by_something_and_shown_by_something(row: Failure | OtherFailure) -> None:
    assert row.checks or (isinstance(row, OtherFailure) and (row.tests or row.faults))
    assert row.faults or row.tests
    for names in (row.checks, row.faults, row.tests):
        assert len(set(names)) == len(names)


def test_every_function_of_a_row_has_a_mutant_and_every_mutant_a_row() -> None:
    assert {name for row in ROWS for name in row.checks} == MUTANT_NAMES


def test_every_fault_of_a_row_exists_and_every_fault_has_a_row_unless_it_is_harmless() -> None:
    assert set(ties()) <= set(BY_NAME)
    assert {fault.name for fault in FAULTS if not fault.harmless} <= set(ties())


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f.name in ties() and not f.harmless], ids=lambda fault: fault.name
)
def test_a_fault_asks_for_what_its_rows_say(fault: Fault) -> None:
    assert contradiction(fault, ties()[fault.name]) == ""


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.harmless], ids=lambda fault: fault.name)
def test_a_harmless_fault_stops_nothing(fault: Fault) -> None:
    assert (fault.decision, fault.timeout_s) == ("PASS", None)
    assert all(isinstance(row, OtherFailure) and row.moves_on for row in ties().get(fault.name, []))


def test_a_fault_with_another_decision_or_reason_than_its_row_would_be_found() -> None:
    row = next(row for row in FAILURES if row.reasons == (Reason.CRITIC_RANGE,))
    fault = BY_NAME[row.faults[0]]
    changes = (
        {"decision": "LATCH"},
        {"decision": "PASS"},
        {"reason": ("NOT_FINITE",)},
        {"reason": (*fault.reason, "OK")},
    )
    assert contradiction(fault, [row]) == ""
    for change in changes:
        assert contradiction(Fault(**{**vars(fault), **change}), [row])


def test_every_test_that_a_row_names_exists() -> None:
    for path, name in sorted({tuple(tie.split("::")) for row in ROWS for tie in row.tests}):
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path} has no {name}"


def test_every_reason_has_a_row_and_no_row_stands_twice() -> None:
    assert {reason for row in FAILURES for reason in row.reasons} == set(Reason) - {Reason.OK}
    assert [what for what, count in Counter(row.what for row in ROWS).items() if count > 1] == []


def test_the_table_of_hazards_names_reasons_and_every_one_that_stops_the_robot() -> None:
    page = (ROOT / "docs" / "hazards.md").read_text()
    table = page.split("## Failure modes of each input\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`([A-Z_]+)`", table))
    assert named <= set(Reason.__members__)
    stopping = {reason for row in FAILURES if row.decision >= Decision.STOP for reason in row.reasons}
    assert {reason.name for reason in stopping | GATES_IN_SHADOW} <= named
