"""Joining proposals with their latents, and judging them by the bundle's own critic (a real ONNX file)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import load_bundle
from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_safety_monitor.judge import checks
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED
from fosp_safety_monitor.judge.inputs import LatentInput, ProposalInput
from fosp_safety_monitor.judge.monitor import CriticModel, SafetyMonitor
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return Now(self.s, self.s)

    @property
    def received(self):
        return Received(self.s, self.s)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """One tiny bundle per robot, loaded once."""
    loaded = {}

    def bundle_of(robot):
        if robot.name not in loaded:
            folder = tmp_path_factory.mktemp("bundles") / robot.name
            write_tiny_bundle(folder, robot)
            loaded[robot.name] = load_bundle(folder, robot)
        return loaded[robot.name]

    return bundle_of


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bundle(bundles, arm):
    return bundles(arm)


@pytest.fixture
def monitor(bundle, arm, clock):
    """A monitor of the arm, whose state and pose have come."""
    monitor = SafetyMonitor(
        CriticModel.of(bundle), arm, MonitorParameters(known_frames=1), clock, consent=NOTHING_NEEDED
    )
    monitor.receive_robot_state(clock.received)
    monitor.receive_pose(clock.received, (0.5, 0.0, 0.2))
    return monitor


@pytest.fixture
def chain(bundle, clock):
    """`chain(actions, step)`: a latent and the proposal for it, of a frame taken now."""

    def make(actions=((0.2, 0.3, 0.0),), step=0):
        frame = FrameStamp(round(clock.s * 1e9), "camera")
        latent = LatentInput(
            step,
            bundle.manifest.id,
            frame,
            clock.s,
            np.full(8, 0.25, np.float32),
            np.zeros(6, np.float32),
            surprise=0.1,
            repeated_image=False,
            contrast=0.2,
            novelty=0.5,
            inconsistency=0.5,
        )
        wanted = np.array(actions, np.float32)
        return latent, ProposalInput(step, bundle.manifest.id, frame, clock.s, wanted, chosen=0)

    return make


def test_a_proposal_is_judged_by_the_critic_of_the_bundle(monitor, chain):
    latent, proposal = chain([[0.2, 0.3, 0.0], [0.1, -0.4, 0.0]])
    assert monitor.receive_latent(latent) == []
    verdict = monitor.receive_proposal(proposal)
    assert verdict.decision is Decision.PASS
    assert (verdict.q_h, verdict.v_h) == pytest.approx((0.2, 0.25))


def test_what_the_policy_says_of_its_risk_is_not_believed(monitor, chain):
    latent, proposal = chain([[0.9, 0.0, 0.0], [0.1, 0.5, 0.0], [0.1, 0.6, 0.0]])
    monitor.receive_latent(latent)
    verdict = monitor.receive_proposal(proposal)
    assert (verdict.decision, verdict.reason, verdict.candidate) == (Decision.SUBSTITUTE, Reason.INFEASIBLE, 2)


def test_the_action_that_is_scored_is_the_one_that_is_let_through(monitor, chain):
    latent, proposal = chain([[-3.0, 0.0, 0.0]])
    monitor.receive_latent(latent)
    verdict = monitor.receive_proposal(proposal)
    assert (verdict.q_h, verdict.action_out[0]) == (0.0, -1.0)


def test_a_latent_and_its_proposal_are_each_checked_once(monitor, chain, monkeypatch):
    calls = []
    for name in ("check_latent", "check_proposal"):
        check = getattr(checks, name)
        monkeypatch.setattr(checks, name, lambda *given, name=name, check=check: calls.append(name) or check(*given))
    latent, proposal = chain()
    monitor.receive_latent(latent)
    assert monitor.receive_proposal(proposal).decision is Decision.PASS
    assert calls == ["check_latent", "check_proposal"]


def test_a_latent_is_checked_anew_against_the_model_of_its_proposal(bundle, arm, clock, chain):
    other = replace(CriticModel.of(bundle), manifest=bundle.manifest.model_copy(update={"id": "other"}))
    known = {}
    monitor = SafetyMonitor(
        CriticModel.of(bundle), arm, MonitorParameters(known_frames=1), clock, models=known.get, consent=NOTHING_NEEDED
    )
    monitor.receive_robot_state(clock.received)
    monitor.receive_pose(clock.received, (0.5, 0.0, 0.2))
    latent, proposal = chain()
    assert monitor.receive_latent(latent) == []
    known["other"] = other
    verdict = monitor.receive_proposal(replace(proposal, model_id="other"))
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.MODEL_ID)


def test_a_critic_out_of_its_calibrated_range_stops(monitor, chain):
    latent, proposal = chain([[0.0, 0.95, 0.0]])
    monitor.receive_latent(latent)
    assert monitor.receive_proposal(proposal).reason is Reason.CRITIC_RANGE


def test_a_proposal_that_overtakes_its_latent_waits_for_it(monitor, chain):
    latent, proposal = chain()
    assert monitor.receive_proposal(proposal) is None
    assert monitor.tick().finding.reason is Reason.NOT_READY
    (verdict,) = monitor.receive_latent(latent)
    assert verdict.decision is Decision.PASS
    assert monitor.state.waiting is None


@pytest.mark.parametrize("change", [{"step": 9}, {"frame": FrameStamp(5)}])
def test_a_latent_of_another_step_or_frame_is_not_the_proposals(monitor, chain, change):
    latent, proposal = chain()
    assert monitor.receive_proposal(proposal) is None
    assert monitor.receive_latent(replace(latent, **change)) == []
    assert monitor.state.waiting == proposal


def test_a_proposal_whose_latent_comes_after_the_deadline_stops(monitor, chain, clock):
    latent, proposal = chain()
    monitor.receive_proposal(proposal)
    clock.s += 0.11
    monitor.receive_robot_state(clock.received)
    monitor.receive_pose(clock.received, (0.5, 0.0, 0.2))
    (verdict,) = monitor.receive_latent(replace(latent, receipt_s=clock.s))
    assert (verdict.decision, verdict.reason) == (Decision.STOP, Reason.DEADLINE)


def test_a_proposal_of_another_model_latches_without_waiting(monitor, chain):
    _, proposal = chain()
    verdict = monitor.receive_proposal(replace(proposal, model_id="other"))
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.MODEL_ID)


def test_a_latent_of_another_model_latches_before_its_proposal_comes(monitor, chain):
    latent, proposal = chain()
    (verdict,) = monitor.receive_latent(replace(latent, model_id="other"))
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.MODEL_ID)
    assert monitor.receive_proposal(proposal).decision is Decision.LATCH


@pytest.mark.parametrize("deter", [np.full(8, math.nan, np.float32), np.zeros(3, np.float32)])
def test_a_malformed_latent_never_reaches_the_critic(bundle, arm, clock, chain, deter):
    class Refusing:
        def run(self, **inputs):
            raise AssertionError("the critic was asked")

    monitor = SafetyMonitor(
        CriticModel(bundle.manifest, Refusing()), arm, MonitorParameters(known_frames=1), clock, consent=NOTHING_NEEDED
    )
    latent, proposal = chain()
    monitor.receive_latent(replace(latent, deter=deter))
    assert monitor.receive_proposal(proposal).decision is Decision.LATCH


def test_a_critic_that_raises_latches_and_says_why(bundle, arm, clock, chain):
    class Broken:
        def run(self, **inputs):
            raise RuntimeError("device lost\nand more")

    monitor = SafetyMonitor(
        CriticModel(bundle.manifest, Broken()), arm, MonitorParameters(known_frames=1), clock, consent=NOTHING_NEEDED
    )
    latent, proposal = chain()
    monitor.receive_latent(latent)
    verdict = monitor.receive_proposal(proposal)
    assert verdict.decision is Decision.LATCH
    assert verdict.reason_text.endswith("device lost")


def test_only_the_newest_latents_are_kept(monitor, chain, clock):
    _, first = chain(step=0)
    for step in range(9):
        latent, _ = chain(step=step)
        monitor.receive_latent(latent)
        clock.s += 0.001
    assert monitor.receive_proposal(first) is None


def test_ticks_follow_a_verdict_and_halting_ends_it(monitor, chain, clock):
    latent, proposal = chain()
    monitor.receive_latent(latent)
    monitor.receive_proposal(proposal)
    for _ in range(5):
        command = monitor.tick().command
        clock.s += 0.01
    assert command == pytest.approx((0.05, 0.075, 0.0))
    for _ in range(3):
        command = monitor.halt()
        clock.s += 0.01
    assert command == (0.0, 0.0, 0.0)


def test_a_base_needs_no_pose(bundles, base, clock):
    bundle = bundles(base)
    monitor = SafetyMonitor(
        CriticModel.of(bundle), base, MonitorParameters(known_frames=1), clock, consent=NOTHING_NEEDED
    )
    monitor.receive_robot_state(clock.received)
    frame = FrameStamp(round(clock.s * 1e9))
    latent = LatentInput(
        0,
        bundle.manifest.id,
        frame,
        clock.s,
        np.zeros(8, np.float32),
        np.zeros(6, np.float32),
        0.0,
        False,
        0.2,
        0.5,
        0.5,
    )
    monitor.receive_latent(latent)
    action = np.array([[0.4, 0.2]], np.float32)
    verdict = monitor.receive_proposal(ProposalInput(0, bundle.manifest.id, frame, clock.s, action, 0))
    assert verdict.decision is Decision.PASS


def test_a_latch_is_left_by_reset_only(monitor, chain, clock):
    latent, proposal = chain()
    monitor.receive_latent(latent)
    monitor.receive_proposal(replace(proposal, model_id="other"))
    assert "other" in monitor.reset()
    clock.s += 0.21
    monitor.receive_robot_state(clock.received)
    monitor.receive_pose(clock.received, (0.5, 0.0, 0.2))
    latent, proposal = chain(step=1)
    monitor.receive_latent(latent)
    assert monitor.receive_proposal(proposal).decision is Decision.LATCH
    assert monitor.reset() == ""
    assert monitor.state.latched is None


def test_a_press_of_the_emergency_stop_latches_though_another_button_says_released_before_the_next_tick(
    monitor, chain, clock
):
    latent, proposal = chain()
    monitor.receive_latent(latent)
    assert monitor.receive_proposal(proposal).decision is Decision.PASS
    monitor.receive_estop(True, clock.s)
    monitor.receive_estop(False, clock.s)
    finding = monitor.tick().finding
    assert (finding.decision, finding.reason) == (Decision.LATCH, Reason.ESTOP)
    assert monitor.reset() == "", "both buttons are released"


def test_parameters_may_be_tightened_while_active_and_loosened_only_when_not(monitor):
    monitor.change_parameters(MonitorParameters(stale_latch_s=2.0), active=True)
    assert monitor.parameters.stale_latch_s == 2.0
    with pytest.raises(UserError, match="stale_latch_s can only be made stricter while active"):
        monitor.change_parameters(MonitorParameters(stale_latch_s=3.0), active=True)
    assert monitor.parameters.stale_latch_s == 2.0
    monitor.change_parameters(MonitorParameters(stale_latch_s=3.0), active=False)
    assert monitor.parameters.stale_latch_s == 3.0


@pytest.mark.parametrize("cap", [0.1, 1.0])
def test_a_speed_cap_holds_for_the_policy_too(bundle, arm, clock, chain, cap):
    capped = SafetyMonitor(
        CriticModel.of(bundle), arm, MonitorParameters(), clock, consent=NOTHING_NEEDED, speed_cap=cap
    )
    position, fastest = np.array([0.5, 0.0, 0.2]), np.zeros(3)
    for step in range(60):
        capped.receive_robot_state(clock.received)
        capped.receive_pose(clock.received, tuple(position.tolist()))
        latent, proposal = chain([[0.1, 0.5, 0.0]], step)
        capped.receive_latent(latent)
        capped.receive_proposal(proposal)
        command = np.array(capped.tick().command)
        fastest = np.maximum(fastest, np.abs(command))
        position = position + 0.01 * command
        clock.s += 0.01
    assert fastest == pytest.approx(cap * np.array([0.025, 0.125, 0.0]))


def test_a_robot_goes_back_along_its_trail_only_where_that_is_asked_for_and_gated(bundle, arm, clock):
    def way_back(**settings):
        monitor = SafetyMonitor(CriticModel.of(bundle), arm, MonitorParameters(), clock, **settings)
        return monitor._thresholds.way_back

    assert way_back(retreats=True).speed == pytest.approx(0.25)
    assert way_back() is None
    assert way_back(retreats=True, shadow=True) is None
    assert way_back(retreats=True, speed_cap=0.1).speed == pytest.approx(0.025), "it hangs by what it could have gone"


def judged_with_spread(bundle, arm, clock, chain, spread, weight=2.0):
    """The monitor and its verdict where the critic says that its heads disagree by `spread` on every candidate."""

    class Disagreeing:
        def run(self, **inputs):
            outputs = bundle.critic.run(**inputs)
            return {**outputs, "q_h_spread": np.full_like(outputs["q_h"], spread)}

    calibration = bundle.manifest.calibration.model_copy(update={"spread_weight": weight})
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    parameters = MonitorParameters(known_frames=1)
    monitor = SafetyMonitor(CriticModel(manifest, Disagreeing()), arm, parameters, clock, consent=NOTHING_NEEDED)
    monitor.receive_robot_state(clock.received)
    monitor.receive_pose(clock.received, (0.5, 0.0, 0.2))
    latent, proposal = chain()
    monitor.receive_latent(latent)
    return monitor, monitor.receive_proposal(proposal)


def test_where_the_critics_heads_disagree_the_risk_is_greater_if_the_calibration_counted_that(
    bundle, arm, clock, chain
):
    _, plain = judged_with_spread(bundle, arm, clock, chain, 0.2, weight=None)
    monitor, doubtful = judged_with_spread(bundle, arm, clock, chain, 0.2)
    assert doubtful.q_h == pytest.approx(plain.q_h + 0.4)
    assert monitor.state.judged.spread == pytest.approx((0.2,))
    _, vetoed = judged_with_spread(bundle, arm, clock, chain, 0.4)
    assert plain.decision is Decision.PASS
    assert vetoed.decision is Decision.RECOVER
    assert vetoed.q_h > vetoed.eps


@pytest.mark.parametrize("spread", [math.nan, -0.1])
def test_a_disagreement_that_cannot_be_latches(bundle, arm, clock, chain, spread):
    _, verdict = judged_with_spread(bundle, arm, clock, chain, spread)
    assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.NOT_FINITE)


def test_a_critic_without_the_disagreement_that_its_calibration_counts_latches(bundle, arm, clock, chain):
    calibration = bundle.manifest.calibration.model_copy(update={"spread_weight": 1.0})
    model = CriticModel(bundle.manifest.model_copy(update={"calibration": calibration}), bundle.critic)
    monitor = SafetyMonitor(model, arm, MonitorParameters(known_frames=1), clock, consent=NOTHING_NEEDED)
    latent, proposal = chain()
    monitor.receive_latent(latent)
    assert monitor.receive_proposal(proposal).decision is Decision.LATCH
