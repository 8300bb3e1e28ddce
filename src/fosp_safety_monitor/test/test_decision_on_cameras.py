"""Is it the picture that the model knows? Decisions on what the encoder's reference says about its frames."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.watch.camera import CameraWatch

NOVEL, KNOWN = 1.5, 0.5
"""Above and below the limit of the tiny bundle, 1: three of five frames alarm."""
OLD = 2500.0
"""Above the limit of inconsistency of the tiny bundle, 2000: two of three steps alarm."""


@pytest.fixture
def step(scene):
    """One decision, a period after the last, on frames of a novelty and an inconsistency."""

    def decide(novelty=KNOWN, inconsistency=0.5, cause=""):
        scene.wait(0.05)
        scene.hear_from_robot()
        scene.step += 1
        latent = scene.latent(novelty=novelty, inconsistency=inconsistency, camera_cause=cause)
        return scene.judge(latent=latent)

    return decide


def test_frames_that_the_model_does_not_know_stop_the_robot_and_name_the_cause(step):
    verdicts = [step(NOVEL, cause="red and blue swapped") for _ in range(3)]
    assert [v.decision for v in verdicts] == [Decision.PASS, Decision.PASS, Decision.STOP]
    assert verdicts[-1].reason is Reason.CAMERA
    assert "red and blue swapped" in verdicts[-1].reason_text


def test_one_novel_frame_now_and_then_does_not_stop_it(step):
    assert all(step(NOVEL if i % 4 == 0 else KNOWN).decision is Decision.PASS for i in range(20))


def test_after_an_alarm_the_robot_moves_once_enough_frames_in_a_row_are_known(step):
    for _ in range(3):
        step(NOVEL)
    decisions = [step().decision for _ in range(14)]
    assert decisions[:3] == [Decision.STOP] * 3
    assert decisions[-1] is Decision.PASS


def test_before_the_first_motion_the_robot_waits_for_known_frames(scene, step):
    scene.state = replace(scene.state, camera=CameraWatch())
    first = step()
    assert (first.decision, first.reason) == (Decision.STOP, Reason.CAMERA)
    assert "waits" in first.reason_text
    assert [step().decision for _ in range(12)][-1] is Decision.PASS


def test_a_wrong_camera_never_lets_the_robot_begin(scene, step):
    scene.state = replace(scene.state, camera=CameraWatch())
    assert all(step(NOVEL, cause="mirrored").decision is Decision.STOP for _ in range(30))


def test_content_that_does_not_move_as_the_robot_latches(step):
    assert step(inconsistency=OLD).decision is Decision.PASS
    verdict = step(inconsistency=OLD)
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.CAMERA)
    assert all(step().decision is Decision.LATCH for _ in range(10)), "standing still does not show that it is new"


@pytest.mark.parametrize("field", ["novelty", "inconsistency"])
def test_a_latent_without_a_judgement_on_its_frames_is_malformed(scene, field):
    verdict = scene.receive(scene.latent(**{field: float("nan")}))
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.NOT_FINITE)


def test_the_limits_are_those_of_the_bundle_and_not_of_the_message(scene, step):
    camera = scene.thresholds.camera.model_copy(update={"novelty_limit": 10.0})
    scene.thresholds = replace(scene.thresholds, camera=camera)
    assert all(step(NOVEL).decision is Decision.PASS for _ in range(6))
