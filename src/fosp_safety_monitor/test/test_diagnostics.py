"""Counts for /diagnostics."""

from __future__ import annotations

import pytest

from fosp_core.decisions import Decision
from fosp_safety_monitor.operator.diagnostics import Activity


@pytest.mark.parametrize("decision", Decision)
def test_the_first_decision_of_its_kind_does_not_disturb_a_report_under_way(decision):
    activity = Activity()
    report = iter(activity.decisions.items())
    next(report)
    activity.decisions[decision.name] += 1  # the command thread
    assert dict(report).keys() < {kind.name for kind in Decision}
    assert activity.decisions.total() == 1
