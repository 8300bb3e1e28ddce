"""The verdict on a proposal when something that it needs is missing, stale or malformed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp


def outcome(verdict):
    return verdict.decision, verdict.reason


# -- age of every input ----------------------------------------------------------------------------
def test_an_old_camera_frame_stops(scene):
    old = FrameStamp(round((scene.ros_s - 0.21) * 1e9))
    verdict = scene.judge(scene.proposal(frame=old), scene.latent(frame=old))
    assert outcome(verdict) == (Decision.STOP, Reason.STALE_IMAGE)
    assert verdict.action_out == (0.0, 0.0, 0.0)
    assert "210 ms" in verdict.reason_text
    assert "200 ms" in verdict.reason_text
    assert verdict.image_age_s == pytest.approx(0.21)


def test_a_camera_frame_from_the_future_stops(scene):
    early = FrameStamp(round((scene.ros_s + 0.05) * 1e9))
    verdict = scene.judge(scene.proposal(frame=early), scene.latent(frame=early))
    assert outcome(verdict) == (Decision.STOP, Reason.STALE_IMAGE)
    assert "future" in verdict.reason_text


def test_a_latent_received_long_ago_stops(scene):
    verdict = scene.judge(latent=scene.latent(receipt_s=scene.monotonic_s - 0.16))
    assert outcome(verdict) == (Decision.STOP, Reason.STALE_LATENT)


def test_a_proposal_that_waited_beyond_its_deadline_stops(scene):
    verdict = scene.judge(scene.proposal(receipt_s=scene.monotonic_s - 0.11))
    assert outcome(verdict) == (Decision.STOP, Reason.DEADLINE)


def test_a_robot_that_was_never_heard_of_stops(scene):
    scene.robot = replace(scene.robot, state=None)
    assert outcome(scene.judge()) == (Decision.STOP, Reason.STALE_ROBOT_STATE)


@pytest.mark.parametrize("clock", ["stamp_s", "receipt_s"])
@pytest.mark.parametrize("source", ["state", "pose"])
def test_robot_state_and_pose_must_be_fresh_by_stamp_and_by_receipt(scene, source, clock):
    received = getattr(scene.robot, source)
    old = replace(received, **{clock: getattr(received, clock) - 0.11})
    scene.robot = replace(scene.robot, **{source: old})
    assert outcome(scene.judge()) == (Decision.STOP, Reason.STALE_ROBOT_STATE)


@pytest.mark.parametrize("source", ["state", "pose"])
def test_robot_state_and_pose_from_the_future_stop(scene, source):
    received = getattr(scene.robot, source)
    scene.robot = replace(scene.robot, **{source: replace(received, stamp_s=received.stamp_s + 0.1)})
    assert outcome(scene.judge()) == (Decision.STOP, Reason.STALE_ROBOT_STATE)


def test_an_arm_without_a_pose_stops_and_a_base_needs_none(scene, make_scene):
    scene.robot = replace(scene.robot, pose=None, position=None)
    assert outcome(scene.judge()) == (Decision.STOP, Reason.STALE_ROBOT_STATE)
    base = make_scene("base")
    base.robot = replace(base.robot, pose=None, position=None)
    assert base.judge().decision is Decision.PASS


# -- malformed: LATCH ------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_latches_even_if_it_was_not_chosen(scene, bad):
    verdict = scene.judge(scene.proposal([[0.1, 0.1, 0.1], [0.1, bad, 0.1]]))
    assert outcome(verdict) == (Decision.LATCH, Reason.NOT_FINITE)
    assert verdict.action_out == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": math.nan},
        {"surprise": math.inf},
        {"deter": np.full(8, np.nan, np.float32)},
        {"stoch": np.full(6, np.inf, np.float32)},
    ],
)
def test_a_latent_that_is_not_finite_latches_on_receipt_and_with_its_proposal(scene, change):
    latent = scene.latent(**change)
    assert outcome(scene.receive(latent)) == (Decision.LATCH, Reason.NOT_FINITE)
    assert scene.state.latched is not None
    scene = type(scene)(scene.robot_config)
    assert outcome(scene.answer(latent=latent)) == (Decision.LATCH, Reason.NOT_FINITE)


@pytest.mark.parametrize("name", ["q_r", "q_c", "q_h", "v_h"])
def test_a_critic_output_that_is_not_finite_latches(scene, name):
    bad = math.nan if name == "v_h" else (math.nan,)
    verdict = scene.judge(scored=scene.values(**{name: bad}) if name != "q_h" else scene.values([math.nan]))
    assert outcome(verdict) == (Decision.LATCH, Reason.NOT_FINITE)


def test_a_critic_that_fails_latches(scene):
    failure = Finding(Decision.LATCH, Reason.NOT_FINITE, "critic failed")
    assert outcome(scene.judge(scored=failure)) == (Decision.LATCH, Reason.NOT_FINITE)


def test_a_proposal_that_nobody_scored_latches(scene):
    for latent, scored in ((scene.latent(), None), (None, scene.values())):
        checked = scene.checked(scene.proposal(), latent)
        _, verdict = decision.judge_proposal(scene.state, checked, scored, scene.robot, scene.thresholds, scene.now)
        assert verdict.decision is Decision.LATCH


@pytest.mark.parametrize("change", [{"deter": np.zeros(7, np.float32)}, {"stoch": np.zeros(0, np.float32)}])
def test_a_latent_of_the_wrong_size_latches(scene, change):
    latent = scene.latent(**change)
    assert outcome(scene.receive(latent)) == (Decision.LATCH, Reason.WRONG_SHAPE)
    scene = type(scene)(scene.robot_config)
    assert outcome(scene.answer(latent=latent)) == (Decision.LATCH, Reason.WRONG_SHAPE)


@pytest.mark.parametrize(
    "change",
    [
        {"actions": np.zeros((1, 2), np.float32)},
        {"actions": np.zeros((0, 3), np.float32)},
        {"actions": np.zeros((257, 3), np.float32)},
        {"actions": None},
        {"chosen": 1},
        {"chosen": -1},
    ],
)
def test_a_proposal_of_the_wrong_shape_latches(scene, change):
    assert outcome(scene.judge(replace(scene.proposal(), **change))) == (Decision.LATCH, Reason.WRONG_SHAPE)


def test_critic_values_that_do_not_match_the_candidates_latch(scene):
    assert outcome(scene.judge(scored=scene.values([0.1, 0.1]))) == (Decision.LATCH, Reason.WRONG_SHAPE)


def test_a_proposal_of_an_unknown_model_latches(scene):
    assert outcome(scene.judge(scene.proposal(model_id="other"))) == (Decision.LATCH, Reason.MODEL_ID)


def test_a_latent_of_another_model_than_its_proposal_latches(scene):
    other = scene.latent(model_id="other")
    assert outcome(scene.answer(latent=other)) == (Decision.LATCH, Reason.MODEL_ID)
    scene = type(scene)(scene.robot_config)
    assert outcome(scene.receive(other)) == (Decision.LATCH, Reason.MODEL_ID)


def test_a_malformed_latent_latches_the_proposals_after_it_too(scene):
    scene.receive(scene.latent(surprise=math.nan))
    verdict = scene.answer()
    assert outcome(verdict) == (Decision.LATCH, Reason.NOT_FINITE)


def test_malformed_proposals_are_not_given_to_the_critic(scene):
    assert decision.critic_actions(scene.checked(scene.proposal(), scene.latent())).shape == (1, 1, 3)
    for proposal, latent in [
        (scene.proposal([[math.nan, 0.0, 0.0]]), scene.latent()),
        (scene.proposal(), scene.latent(deter=np.zeros(3, np.float32))),
    ]:
        assert decision.critic_actions(scene.checked(proposal, latent)) is None


def test_the_critic_scores_the_clipped_action(scene):
    checked = scene.checked(scene.proposal([[7.0, 0.0, -7.0]]), scene.latent())
    assert decision.critic_actions(checked).tolist() == [[[1.0, 0.0, -1.0]]]
