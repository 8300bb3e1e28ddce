"""What a decision of the safety monitor costs besides its inference."""

from __future__ import annotations

import time

import numpy as np

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.inputs import CriticValues, LatentInput, ProposalInput, RobotStateInput, Thresholds
from fosp_safety_monitor.judge.state import initial_state
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters

_AXES, _CANDIDATES, _DETER, _STOCH, _PERIOD_S = 3, 10, 128, 256, 0.05


def decision_seconds(decisions: int) -> list[float]:
    """Wall time of each of `decisions` decisions, s: a latent and a proposal of ten candidates that passes."""
    thresholds = Thresholds(
        model_id="bench",
        deter_size=_DETER,
        stoch_size=_STOCH,
        action_size=_AXES,
        decision_period_s=_PERIOD_S,
        eps=0.5,
        kappa=0.1,
        surprise_limit=5.0,
        ranges=dict.fromkeys(("q_r", "q_c", "q_h", "v_h"), (-1.0, 1.0)),
        needs_pose=True,
        needs_estop=True,
        action_scale=(0.25,) * _AXES,
        linear_axes=tuple(range(_AXES)),
        target_lead=None,
        command_timeout_s=0.1,
        parameters=MonitorParameters(),
    )
    deter, stoch = np.zeros(_DETER, np.float32), np.zeros(_STOCH, np.float32)
    actions = np.full((_CANDIDATES, _AXES), 0.2, np.float32)
    same = (0.1,) * _CANDIDATES
    values = CriticValues(same, same, same, 0.1)
    state, seconds = initial_state(_AXES), []
    for step in range(decisions):
        s = (step + 1) * _PERIOD_S
        now, received, frame = Now(s, s), Received(s, s), FrameStamp(round(s * 1e9))
        robot = RobotStateInput(received, received, (0.5, 0.0, 0.2), estop_receipt_s=s)
        latent = LatentInput(step, "bench", frame, s, deter, stoch, 0.1, False, 0.2)
        proposal = ProposalInput(step, "bench", frame, s, actions, 0)
        started = time.perf_counter()
        checked_latent = decision.checked_latent(latent, thresholds)
        state, _ = decision.judge_latent(state, checked_latent, robot, thresholds, now)
        checked = decision.checked_proposal(proposal, checked_latent, thresholds)
        decision.critic_actions(checked)
        state, verdict = decision.judge_proposal(state, checked, values, robot, thresholds, now)
        seconds.append(time.perf_counter() - started)
        assert verdict.decision is Decision.PASS
    return seconds
