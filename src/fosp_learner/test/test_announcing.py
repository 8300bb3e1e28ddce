"""Which bundle is on offer, and what the robot's answers make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_learner.finetuning.announcing import RETRY_S, Announcer, ModelState
from fosp_learner.finetuning.lineage import Lineage, rows


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    lineage = Lineage(tmp_path)
    lineage.append("start", "parent", path="/parent")
    return lineage


def candidate(lineage: Lineage, model_id: str, passed: bool = True) -> None:
    gate = {"passed": passed, "reasons": [] if passed else ["miss rate 0.2 is above"], "candidate": {"miss_rate": 0.1}}
    lineage.append("candidate", model_id, parent="parent", path=f"/{model_id}", gate=gate, step=500)


def offered(announcer: Announcer, now_s: float = 0.0) -> str:
    offer = announcer.next_offer(now_s)
    return offer.model_id if offer is not None else ""


def test_what_passed_the_gate_is_offered_once_and_what_did_not_is_not(lineage: Lineage) -> None:
    announcer = Announcer(lineage)
    assert offered(announcer) == ""
    candidate(lineage, "bad", passed=False)
    assert offered(announcer) == ""
    candidate(lineage, "good")
    assert offered(announcer) == "good"
    assert offered(announcer) == ""
    assert [e.id for e in lineage.events() if e.event == "announced"] == ["good"]


def test_a_node_that_was_started_anew_offers_the_newest_again(lineage: Lineage) -> None:
    candidate(lineage, "good")
    assert offered(Announcer(lineage)) == "good"
    assert offered(Announcer(lineage)) == "good"
    assert sum(e.event == "announced" for e in lineage.events()) == 1


def test_after_a_rollback_the_model_before_is_offered_so_that_nobody_takes_the_bad_one_up(lineage: Lineage) -> None:
    announcer = Announcer(lineage)
    candidate(lineage, "good")
    offered(announcer)
    announcer.state_changed("good", ModelState.TRIAL, "", 1.0)
    announcer.state_changed("good", ModelState.ROLLED_BACK, "vetoes in 90% of 40 decisions", 2.0)
    assert offered(announcer, 3.0) == "parent"
    candidate(lineage, "better")
    assert offered(announcer, 4.0) == "better"


def test_a_refusal_for_a_latch_is_no_refusal_of_the_bundle(lineage: Lineage) -> None:
    announcer = Announcer(lineage)
    candidate(lineage, "good")
    offered(announcer)
    announcer.state_changed("good", ModelState.REFUSED, "a stop is latched: reset the safety monitor first", 1.0)
    assert offered(announcer, 2.0) == ""
    assert offered(announcer, 1.0 + RETRY_S) == "good"


def test_a_bundle_that_the_robot_began_with_is_not_offered_although_the_first_attempt_to_learn_was_given_up(
    tmp_path: Path,
) -> None:
    lineage = Lineage(tmp_path)
    lineage.append("gave_up", "", reason="the trainer failed 4 times")
    lineage.append("start", "parent", path="/parent")
    candidate(lineage, "bad", passed=False)
    assert offered(Announcer(lineage)) == ""


def test_statuses_of_other_bundles_and_repeated_ones_are_not_written_down(lineage: Lineage) -> None:
    announcer = Announcer(lineage)
    candidate(lineage, "good")
    for _ in range(3):
        announcer.state_changed("good", ModelState.TRIAL, "", 1.0)
        announcer.state_changed("another", ModelState.REFUSED, "damaged", 1.0)
    assert [e.event for e in lineage.events()] == ["start", "candidate", "trial"]


def test_the_log_says_of_every_bundle_what_became_of_it(lineage: Lineage) -> None:
    candidate(lineage, "bad", passed=False)
    candidate(lineage, "good")
    announcer = Announcer(lineage)
    announcer.next_offer(0.0)
    announcer.state_changed("good", ModelState.ROLLED_BACK, "surprises", 1.0)
    lineage.append("no_candidate", "", step=3, reason="too few episodes")
    lineage.append("gave_up", "", reason="the trainer failed 4 times")
    outcomes = {row[1]: row[-1] for row in rows(lineage.events()) if row[1]}
    told = [row[3:] for row in rows(lineage.events()) if not row[1]]
    assert told == [
        ("3", "", "", "no candidate: too few episodes"),
        ("", "", "", "gave up: the trainer failed 4 times"),
    ]
    assert outcomes["parent"] == "began with it"
    assert outcomes["bad"] == "kept: miss rate 0.2 is above"
    assert outcomes["good"] == "passed the gate; announced; rolled back (surprises)"
