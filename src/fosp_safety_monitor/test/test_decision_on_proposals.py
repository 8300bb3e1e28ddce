"""The verdict on one well-formed, fresh proposal: the ladder, critic, surprise, vetoes, order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.choice import speed_scale
from fosp_safety_monitor.judge.verdict import FrameStamp

THREE = [[0.8, 0.1, 0.0], [0.2, 0.2, 0.2], [-0.4, 0.0, 0.4]]


def outcome(verdict):
    return verdict.decision, verdict.reason


# -- the ladder ------------------------------------------------------------------------------------
def test_a_feasible_proposal_passes_bit_for_bit(scene):
    verdict = scene.judge(scene.proposal(THREE, chosen=2), scored=scene.values([0.9, 0.9, 0.4]))
    assert outcome(verdict) == (Decision.PASS, Reason.OK)
    assert verdict.action_in == verdict.action_out == tuple(np.float32(THREE[2]).tolist())
    assert (verdict.candidate, verdict.q_h, verdict.q_h_out, verdict.eps) == (2, 0.4, 0.4, 0.5)


def test_an_infeasible_proposal_is_replaced_by_the_feasible_candidate_of_greatest_utility(scene):
    wanted = [*THREE, [0.0, 0.0, 1.0]]
    values = scene.values([0.9, 0.2, 0.3, 0.4], q_r=(0.9, 0.1, 0.45, 0.5), q_c=(0.0, 0.0, 0.0, 1.0))
    verdict = scene.judge(scene.proposal(wanted), scored=values)
    assert outcome(verdict) == (Decision.SUBSTITUTE, Reason.INFEASIBLE)
    assert verdict.candidate == 2, "0.45 is more than 0.5 - kappa * 1.0, and more than 0.1"
    assert verdict.action_out == tuple(np.float32(wanted[2]).tolist())
    assert verdict.action_in == tuple(np.float32(wanted[0]).tolist())
    assert (verdict.q_h, verdict.q_h_out) == (0.9, 0.3)
    assert "0.900" in verdict.reason_text
    assert "0.500" in verdict.reason_text


def test_without_any_feasible_candidate_the_least_risky_one_is_scaled_down(scene):
    verdict = scene.judge(scene.proposal(THREE), scored=scene.values([0.9, 0.8, 0.6]))
    assert outcome(verdict) == (Decision.RECOVER, Reason.NO_FEASIBLE)
    assert verdict.candidate == 2
    assert verdict.speed_scale == pytest.approx(0.242), "0.3 at eps, 0.01 at 1"
    assert verdict.action_out == pytest.approx([-0.0968, 0.0, 0.0968])
    assert verdict.q_h_out == 0.6


def test_close_to_eps_a_proposal_passes_at_reduced_speed(scene):
    verdict = scene.judge(scene.proposal([[0.8, 0.0, -0.4]]), scored=scene.values([0.45]))
    assert outcome(verdict) == (Decision.PASS, Reason.SLOW_DOWN)
    assert verdict.speed_scale == pytest.approx(0.65), "half way between 0.4 and 0.5"
    assert verdict.action_out == pytest.approx([0.52, 0.0, -0.26])


def test_the_speed_never_grows_with_the_risk_and_has_no_step(scene):
    scales = [speed_scale(risk, scene.thresholds) for risk in np.linspace(0.0, 1.0, 1001)]
    assert (scales[0], scales[400], scales[1000]) == pytest.approx((1.0, 1.0, 0.01))
    assert speed_scale(0.5, scene.thresholds) == pytest.approx(0.3)
    assert max(np.diff(scales)) <= 0.0
    assert min(np.diff(scales)) > -0.01


def test_a_robot_that_coasts_gets_the_whole_of_the_least_risky_action(scene):
    scene.thresholds = replace(scene.thresholds, coasts=True)
    verdict = scene.judge(scene.proposal(THREE), scored=scene.values([0.9, 0.8, 0.6]))
    assert outcome(verdict) == (Decision.RECOVER, Reason.NO_FEASIBLE)
    assert (verdict.candidate, verdict.speed_scale) == (2, 1.0)
    assert speed_scale(0.45, scene.thresholds) == 1.0, "close to eps, too"


def test_the_most_restrictive_finding_wins(scene):
    values = scene.values([0.9], q_r=(5.0,))
    verdict = scene.judge(scene.proposal(model_id="other"), scored=values)
    assert outcome(verdict) == (Decision.LATCH, Reason.MODEL_ID)


def test_an_action_beyond_its_range_is_clipped(scene):
    verdict = scene.judge(scene.proposal([[7.0, -7.0, 0.5]]))
    assert verdict.action_out == (1.0, -1.0, 0.5)


# -- critic, surprise, vetoes ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"), [("q_r", 0.91), ("q_r", -0.91), ("q_c", 1.1), ("q_c", -0.1), ("q_h", -0.1), ("v_h", 1.1)]
)
def test_a_critic_output_outside_of_its_calibrated_range_stops(scene, name, value):
    values = scene.values([value]) if name == "q_h" else scene.values(**{name: value if name == "v_h" else (value,)})
    verdict = scene.judge(scored=values)
    assert outcome(verdict) == (Decision.STOP, Reason.CRITIC_RANGE)
    assert name in verdict.reason_text
    assert verdict.action_out == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("q_r", [(0.0, 0.91, 0.0), (0.0, 0.0, -0.91)])
def test_one_candidate_outside_of_the_critics_range_is_enough(scene, q_r):
    verdict = scene.judge(scene.proposal(THREE), scored=scene.values([0.1] * 3, q_r=q_r))
    assert outcome(verdict) == (Decision.STOP, Reason.CRITIC_RANGE)


def surprise(scene, count, calm=0):
    for _ in range(calm):
        scene.judge()
        scene.wait(0.05)
        scene.hear_from_robot()
    for _ in range(count):
        verdict = scene.judge(scene.proposal(THREE), scene.latent(surprise=5.1), scene.values([0.3, 0.2, 0.1]))
        scene.wait(0.05)
        scene.hear_from_robot()
    return verdict


def test_a_few_surprises_pass(scene):
    assert surprise(scene, 5).decision is Decision.PASS


def test_surprise_in_several_steps_of_the_window_recovers(scene):
    verdict = surprise(scene, 6)
    assert outcome(verdict) == (Decision.RECOVER, Reason.SURPRISE)
    assert verdict.candidate == 2
    assert verdict.action_out == pytest.approx([-0.12, 0.0, 0.12])
    assert "6 of the last 20" in verdict.reason_text


def test_surprise_in_most_steps_of_the_window_stops(scene):
    assert outcome(surprise(scene, 12)) == (Decision.STOP, Reason.SURPRISE)


def test_surprise_is_forgotten_when_it_leaves_the_window(scene):
    assert surprise(scene, 6).decision is Decision.RECOVER
    for _ in range(20):
        scene.wait(0.05)
        scene.hear_from_robot()
        verdict = scene.judge()
    assert verdict.decision is Decision.PASS


def veto(scene, count, q_h=(0.9,)):
    for _ in range(count):
        verdict = scene.judge(scored=scene.values(q_h))
        scene.wait(0.05)
        scene.hear_from_robot()
    return verdict


def test_a_policy_held_in_front_of_an_obstacle_for_five_seconds_latches(scene):
    assert veto(scene, 99).decision is Decision.RECOVER
    verdict = veto(scene, 1)
    assert outcome(verdict) == (Decision.LATCH, Reason.VETOES)
    assert "100 proposals in a row" in verdict.reason_text


def test_one_proposal_that_passes_ends_a_row_of_vetoes(scene):
    veto(scene, 99)
    assert scene.judge().decision is Decision.PASS
    scene.wait(0.05)
    scene.hear_from_robot()
    assert veto(scene, 99).decision is Decision.RECOVER


def test_stale_proposals_neither_count_as_vetoes_nor_end_their_row(scene):
    veto(scene, 99)
    scene.judge(scene.proposal(receipt_s=scene.monotonic_s - 0.11))
    scene.wait(0.05)
    scene.hear_from_robot()
    assert outcome(veto(scene, 1)) == (Decision.LATCH, Reason.VETOES)


# -- order -----------------------------------------------------------------------------------------
def test_a_repeated_proposal_is_ignored_and_the_last_verdict_stands(scene):
    first, latent = scene.proposal([[0.5, 0.0, 0.0]]), scene.latent()
    scene.judge(first, latent)
    before = scene.state
    scene.wait(0.01)
    verdict = scene.answer(scene.proposal([[-1.0, 0.0, 0.0]], frame=first.frame), latent)
    assert outcome(verdict) == (Decision.PASS, Reason.ORDER)
    assert verdict.action_out == (0.5, 0.0, 0.0)
    assert scene.state == before


def test_a_proposal_of_an_earlier_frame_is_ignored(scene):
    earlier = scene.proposal([[-1.0, 0.0, 0.0]])
    latent = scene.latent()
    scene.wait(0.05)
    scene.judge(scene.proposal([[0.5, 0.0, 0.0]]))
    verdict = scene.answer(earlier, latent)
    assert verdict.reason is Reason.ORDER
    assert "50.0 ms before" in verdict.reason_text
    assert scene.state.judged.verdict.action_out == (0.5, 0.0, 0.0)


def test_repeating_a_proposal_keeps_nothing_alive(moving):
    repeated = moving.proposal(frame=moving.state.judged.frame)
    for _ in range(30):
        moving.wait(0.01)
        moving.hear_from_robot()
        verdict = moving.answer(replace(repeated, receipt_s=moving.monotonic_s))
        tick = moving.tick()
    assert tick.command == (0.0, 0.0, 0.0)
    assert outcome(verdict) == (Decision.STOP, Reason.ORDER)
    assert verdict.action_out == (0.0, 0.0, 0.0)


def test_steps_that_begin_anew_with_a_restarted_encoder_are_accepted(scene):
    scene.step = 70
    scene.judge()
    scene.wait(0.05)
    scene.hear_from_robot()
    scene.step = 0
    assert scene.judge().decision is Decision.PASS


def test_a_frame_judged_from_the_future_does_not_lock_out_the_ones_after_it(scene):
    early = FrameStamp(round((scene.ros_s + 100.0) * 1e9))
    assert scene.judge(scene.proposal(frame=early), scene.latent(frame=early)).reason is Reason.STALE_IMAGE
    scene.wait(0.2)
    scene.hear_from_robot()
    assert scene.judge().decision is Decision.PASS


def test_a_malformed_proposal_latches_even_when_it_repeats_a_frame(scene):
    scene.judge()
    assert scene.answer(scene.proposal([[math.nan, 0.0, 0.0]])).decision is Decision.LATCH


# -- waiting for the latent --------------------------------------------------------------------------
def test_only_a_wellformed_proposal_in_order_may_wait_for_its_latent(scene):
    def waits(proposal):
        return decision.waits_for_latent(scene.state, scene.checked(proposal, None), scene.now)

    assert waits(scene.proposal())
    assert not waits(scene.proposal(model_id="other"))
    proposal = scene.proposal()
    scene.judge(proposal)
    assert not waits(proposal)


# -- the verdict's numbers ---------------------------------------------------------------------------
def test_a_verdict_holds_the_numbers_and_the_thresholds_they_were_held_against(scene):
    latent = scene.latent()
    proposal = scene.proposal()
    scene.wait(0.004)
    verdict = scene.judge(proposal, latent, scene.values([0.2], v_h=0.3))
    assert verdict.frame == proposal.frame
    assert (verdict.step, verdict.model_id) == (0, "model-under-test")
    assert (verdict.q_h, verdict.v_h, verdict.surprise) == (0.2, 0.3, 0.1)
    assert (verdict.eps, verdict.surprise_limit) == (0.5, 5.0)
    assert (verdict.image_age_limit_s, verdict.robot_state_age_limit_s) == (0.2, 0.1)
    assert verdict.image_age_s == pytest.approx(0.004)
    assert verdict.robot_state_age_s == pytest.approx(0.004)
    assert verdict.decision_s == pytest.approx(0.004)
    assert verdict.decided_s == scene.ros_s


def test_a_stop_says_not_evaluated_for_what_was_not(scene):
    verdict = scene.judge(scene.proposal([[math.nan, 0.0, 0.0]]), scored=scene.values())
    assert math.isnan(verdict.q_h_out)
    assert verdict.action_in[1:] == (0.0, 0.0)
