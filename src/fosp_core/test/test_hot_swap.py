"""The sequence of a hot swap, which the encoder leads, and the models that followers keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import tiny_manifest

from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.swap.sequence import (
    Announcement,
    ModelRegistry,
    SwapOrder,
    SwapPhase,
    SwapReport,
    SwapSequence,
    require_same_interface,
)
from fosp_core.swap.trial import DecisionOutcome, TrialRules

RULES = TrialRules(steps=40, least_steps=10)
ROBOT = Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml"


def offer(model_id: str, stamp_ns: int = 1) -> Announcement:
    return Announcement(model_id, Path(f"/bundles/{model_id}"), stamp_ns)


def sequence() -> SwapSequence:
    return SwapSequence("old", "/encoder_node", ("/policy_node", "/safety_monitor_node"), RULES)


def all_ready(swap: SwapSequence, model_id: str) -> None:
    for node in ("/encoder_node", "/policy_node", "/safety_monitor_node"):
        swap.reported(node, model_id)


def on_trial(swap: SwapSequence, model_id: str = "new", stamp_ns: int = 1) -> None:
    assert swap.announced(offer(model_id, stamp_ns), 0.0)
    all_ready(swap, model_id)
    assert swap.next_order(0.1) is SwapOrder.WARM
    assert swap.next_order(0.2) is SwapOrder.NONE, "its state is not warm yet"
    swap.warmed(model_id)
    assert swap.next_order(0.3) is SwapOrder.SWITCH
    swap.switched(0.3)


def told(swap: SwapSequence) -> list[tuple[SwapReport, str]]:
    return [(event.report, event.model_id) for event in swap.take_events()]


def refusal(swap: SwapSequence) -> str:
    return next(event.detail for event in swap.take_events() if event.report is SwapReport.REFUSED)


def test_a_bundle_is_switched_to_once_every_node_is_ready_and_committed_after_its_trial() -> None:
    swap = sequence()
    on_trial(swap)
    assert swap.running_id == "new"
    for _ in range(RULES.steps - 1):
        swap.decided("new", DecisionOutcome())
        assert swap.next_order(1.0) is SwapOrder.NONE
    swap.decided("new", DecisionOutcome())
    assert swap.next_order(1.0) is SwapOrder.COMMIT
    assert swap.phase is SwapPhase.IDLE
    assert told(swap) == [(SwapReport.READY, "new"), (SwapReport.TRIAL, "new"), (SwapReport.COMMITTED, "new")]


def test_nothing_happens_before_the_last_node_has_reported() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    swap.reported("/encoder_node", "new")
    swap.reported("/policy_node", "new")
    swap.reported("/safety_monitor_node", "another")
    assert swap.next_order(1.0) is SwapOrder.NONE
    swap.reported("/safety_monitor_node", "new")
    assert swap.next_order(1.0) is SwapOrder.WARM


def test_a_node_that_never_reports_ends_the_attempt_and_is_named() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    swap.reported("/encoder_node", "new")
    swap.reported("/policy_node", "new")
    assert swap.next_order(RULES.ready_timeout_s + 1.0) is SwapOrder.NONE
    assert "/safety_monitor_node" in refusal(swap)
    assert swap.candidate is None
    assert swap.running_id == "old"


def test_a_node_that_refuses_ends_the_attempt_with_its_reason() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    swap.reported("/safety_monitor_node", "new", "encoder.onnx is damaged")
    swap.next_order(0.1)
    assert refusal(swap) == "/safety_monitor_node: encoder.onnx is damaged"


def test_reports_that_came_before_the_announcement_count() -> None:
    swap = sequence()
    for follower in ("/policy_node", "/safety_monitor_node"):
        swap.reported(follower, "new")
    swap.announced(offer("new"), 0.0)
    swap.reported("/encoder_node", "new")
    assert swap.next_order(0.0) is SwapOrder.WARM


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_announcements_the_newer_one_wins_in_whatever_order_they_come(order: tuple[str, str]) -> None:
    stamps = {"a": 1, "b": 2}
    swap = sequence()
    for model_id in order:
        swap.announced(offer(model_id, stamps[model_id]), 0.0)
    assert swap.candidate is not None
    assert swap.candidate.model_id == "b"
    assert (SwapReport.REFUSED, "a") in told(swap)


def test_of_two_announcements_of_one_moment_every_node_takes_the_same() -> None:
    first, second = sequence(), sequence()
    for swap, order in ((first, "ab"), (second, "ba")):
        for model_id in order:
            swap.announced(offer(model_id), 0.0)
    assert first.candidate == second.candidate


def test_a_swap_is_refused_while_a_stop_is_latched() -> None:
    swap = sequence()
    swap.latched = True
    assert not swap.announced(offer("new"), 0.0)
    assert "latched" in refusal(swap)


def test_a_latch_on_the_way_ends_the_attempt() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    all_ready(swap, "new")
    assert swap.next_order(0.1) is SwapOrder.WARM
    swap.warmed("new")
    swap.latched = True
    assert swap.next_order(0.2) is SwapOrder.NONE
    assert "latched" in refusal(swap)
    assert swap.running_id == "old"


def latched(swap: SwapSequence) -> None:
    swap.latched = True
    swap.next_order(0.2)
    swap.latched = False


def superseded(swap: SwapSequence) -> None:
    swap.announced(offer("other", 2), 0.2)


def withdrawn(swap: SwapSequence) -> None:
    swap.announced(offer("old", 2), 0.2)


def loaded_too_late(swap: SwapSequence) -> None:
    superseded(swap)
    swap.reported("/encoder_node", "new")


@pytest.mark.parametrize("given_up", [latched, superseded, withdrawn, loaded_too_late])
def test_a_bundle_that_was_loaded_and_given_up_is_loaded_again_when_it_is_announced_again(
    given_up: Callable[[SwapSequence], None],
) -> None:
    """The nodes let go of it meanwhile."""
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    all_ready(swap, "new")
    given_up(swap)
    assert swap.announced(offer("new", 3), 6.0)
    assert swap.next_order(6.0) is SwapOrder.NONE
    all_ready(swap, "new")
    assert swap.next_order(6.1) is SwapOrder.WARM


def test_a_bundle_that_is_given_up_while_it_waits_for_its_turn_is_loaded_again_when_it_is_announced_again() -> None:
    swap = sequence()
    on_trial(swap)
    swap.announced(offer("newer", 2), 1.0)
    all_ready(swap, "newer")
    swap.announced(offer("newest", 3), 1.0)
    assert (SwapReport.REFUSED, "newer") in told(swap)
    swap.announced(offer("newer", 4), 1.0)
    for _ in range(RULES.steps):
        swap.decided("new", DecisionOutcome())
    assert swap.next_order(2.0) is SwapOrder.COMMIT
    assert swap.next_order(2.0) is SwapOrder.NONE
    all_ready(swap, "newer")
    assert swap.next_order(2.1) is SwapOrder.WARM


def test_a_bundle_that_a_node_refused_is_tried_anew_when_it_is_announced_again() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    swap.reported("/policy_node", "new", "no such bundle folder")
    swap.next_order(0.1)
    assert "no such bundle" in refusal(swap)
    swap.announced(offer("new", 2), 1.0)
    swap.next_order(1.0)
    assert swap.candidate is not None, "its refusal of before does not count"
    all_ready(swap, "new")
    assert swap.next_order(1.1) is SwapOrder.WARM


def test_a_failed_warm_up_ends_the_attempt() -> None:
    swap = sequence()
    swap.announced(offer("new"), 0.0)
    all_ready(swap, "new")
    swap.next_order(0.1)
    swap.warmed("new", "on the last frames: the encoder's output is not finite")
    assert swap.next_order(0.2) is SwapOrder.NONE
    assert "not finite" in refusal(swap)


def test_announcing_the_running_model_again_withdraws_the_candidate() -> None:
    swap = sequence()
    swap.announced(offer("new", 1), 0.0)
    assert not swap.announced(offer("old", 2), 0.0)
    assert swap.candidate is None
    assert "withdrawn" in refusal(swap)
    assert not swap.announced(offer("new", 1), 0.0), "the withdrawn offer is older"


def fail_trial(swap: SwapSequence, outcome: DecisionOutcome, count: int) -> SwapOrder:
    for _ in range(count):
        swap.decided("new", outcome)
    return swap.next_order(1.0)


@pytest.mark.parametrize("outcome", [DecisionOutcome(vetoed=True), DecisionOutcome(surprised=True)])
def test_a_trial_much_worse_than_the_model_before_is_rolled_back(outcome: DecisionOutcome) -> None:
    swap = sequence()
    for _ in range(40):
        swap.decided("old", DecisionOutcome())
    on_trial(swap)
    assert fail_trial(swap, outcome, RULES.least_steps - 1) is SwapOrder.NONE, "too few decisions to judge by"
    assert fail_trial(swap, outcome, 1) is SwapOrder.ROLL_BACK
    swap.rolled_back(1.0)
    assert swap.running_id == "old"
    assert told(swap)[-2:] == [(SwapReport.ROLLED_BACK, "new"), (SwapReport.COMMITTED, "old")]


def test_a_trial_no_worse_than_the_model_before_goes_on() -> None:
    swap = sequence()
    for _ in range(40):
        swap.decided("old", DecisionOutcome(vetoed=True))
    on_trial(swap)
    assert fail_trial(swap, DecisionOutcome(vetoed=True), 30) is SwapOrder.NONE


def test_cost_in_the_trial_rolls_back() -> None:
    swap = sequence()
    for _ in range(40):
        swap.cost(0.0)
    on_trial(swap)
    for _ in range(10):
        swap.decided("new", DecisionOutcome())
        swap.cost(1.0)
    assert swap.next_order(1.0) is SwapOrder.ROLL_BACK


def test_a_latch_in_the_trial_rolls_back_at_once_and_what_failed_is_not_tried_again() -> None:
    swap = sequence()
    on_trial(swap)
    swap.latched = True
    assert fail_trial(swap, DecisionOutcome(latched=True), 1) is SwapOrder.ROLL_BACK
    assert fail_trial(swap, DecisionOutcome(), 1) is SwapOrder.ROLL_BACK, (
        "a failure is not forgotten while the old state warms up"
    )
    swap.rolled_back(1.0)
    swap.latched = False
    swap.take_events()
    assert not swap.announced(offer("new", 5), 2.0)
    assert "rolled back before" in refusal(swap)


def test_a_bundle_announced_during_a_trial_has_its_turn_afterwards() -> None:
    swap = sequence()
    on_trial(swap)
    assert swap.announced(offer("newer", 2), 1.0)
    all_ready(swap, "newer")
    assert swap.next_order(1.0) is SwapOrder.NONE
    for _ in range(RULES.steps):
        swap.decided("new", DecisionOutcome())
    assert swap.next_order(2.0) is SwapOrder.COMMIT
    assert swap.next_order(2.0) is SwapOrder.WARM
    assert swap.candidate == offer("newer", 2)


def test_verdicts_on_other_models_do_not_count_for_the_trial() -> None:
    swap = sequence()
    on_trial(swap)
    for _ in range(40):
        swap.decided("old", DecisionOutcome(vetoed=True))
    assert swap.next_order(1.0) is SwapOrder.NONE


def test_a_follower_keeps_what_may_be_needed_again_and_no_more() -> None:
    models = ModelRegistry("base", "base")
    for number in range(20):
        models.add_candidate(str(number), str(number))
        assert models.activate(str(number))
        assert len(models.values()) <= 4
    assert models.get("19") == "19"
    assert models.get("18") == "18", "for a rollback"
    assert models.get("base") == "base", "for an encoder that was started anew"
    assert models.get("17") is None
    assert not models.activate("19")


def test_a_candidate_that_was_never_used_gives_way_to_the_next() -> None:
    models = ModelRegistry("base", "base")
    models.add_candidate("a", "a")
    models.add_candidate("b", "b")
    assert "a" not in models
    assert "b" in models


@pytest.mark.parametrize(
    ("change", "names"), [({"task": "other"}, "task"), ({"decision_period_s": 0.1}, "decision_period_s")]
)
def test_a_bundle_that_cannot_take_the_place_of_the_running_one_is_refused(
    change: dict[str, object], names: str
) -> None:
    running = tiny_manifest(read_robot(ROBOT))
    with pytest.raises(UserError, match=names):
        require_same_interface(running.model_copy(update=change), running)
    require_same_interface(running.model_copy(update={"parent_id": "x"}), running)
