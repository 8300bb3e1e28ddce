"""docs/safety.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from fosp_core.decisions import Reason
from fosp_safety_monitor.judge.verdict import GATES_IN_SHADOW
from fosp_safety_monitor.page.failures import FAILURES
from fosp_safety_monitor.page.safety_page import safety_page
from fosp_safety_monitor.parameters import DESCRIPTIONS, SETTINGS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "safety.md"


def test_the_page_is_what_the_code_would_write_now():
    assert PAGE.read_text() == safety_page(), "run: python -m fosp_safety_monitor.page.safety_page > docs/safety.md"


def test_every_reason_is_a_row_of_the_failure_policy():
    told = {reason for failure in FAILURES for reason in failure.reasons}
    assert told == set(Reason) - {Reason.OK}


def test_every_parameter_is_on_the_page():
    page = safety_page()
    assert all(f"`{item.name}`" in page for item in (*DESCRIPTIONS, *SETTINGS))
    assert "{" not in page, "every placeholder was filled"


def test_every_reason_is_sorted_into_those_that_stop_in_shadow_mode_and_those_that_do_not():
    judged_only = {
        Reason.OK, Reason.INFEASIBLE, Reason.NO_FEASIBLE, Reason.STALE_IMAGE, Reason.STALE_LATENT, Reason.MODEL_ID,
        Reason.CRITIC_RANGE, Reason.SURPRISE, Reason.VETOES, Reason.STALE_TOO_LONG, Reason.ORDER, Reason.SLOW_DOWN,
        Reason.IMAGE, Reason.CLOCK, Reason.NODE_RESTARTED, Reason.CAMERA,
    }  # fmt: skip
    assert not judged_only & GATES_IN_SHADOW
    assert judged_only | GATES_IN_SHADOW == set(Reason)
