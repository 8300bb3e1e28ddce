"""Faults of proposals, of latents, and of the networks that judge."""

from __future__ import annotations

import math
import signal

import effects
import judge_effects
from effects import tampered
from fault import (
    FROZEN_S,
    NO_PROPOSAL,
    PERIOD_S,
    PROPOSAL_TIMEOUT_S,
    SELF_TEST_LIMIT_S,
    SELF_TEST_S,
    VETO_S,
    Fault,
    harmless,
    latch,
    stop,
    with_actions,
    with_field,
)
from relay import changed, nothing, reversed_by, stamped, twice

from fosp_core import topics
from fosp_msgs.msg import Latent


def _nan_latent(message: Latent) -> None:
    message.deter[0] = math.nan


def _short_latent(message: Latent) -> None:
    message.deter = message.deter[:-1]


PROPOSALS = (
    stop("proposals dropped", "DEADLINE", tampered(topics.PROPOSAL, lambda: nothing), PROPOSAL_TIMEOUT_S, quick=True),
    latch(
        "proposals dropped for 5 s", "STALE_TOO_LONG", tampered(topics.PROPOSAL, lambda: nothing), PROPOSAL_TIMEOUT_S
    ),
    stop("proposals delayed by 300 ms", NO_PROPOSAL, effects.delayed(topics.PROPOSAL, 0.3), PROPOSAL_TIMEOUT_S),
    stop(
        "one proposal again and again",
        ("DEADLINE", "ORDER"),
        effects.frozen(topics.PROPOSAL, new_stamps=False),
        PROPOSAL_TIMEOUT_S,
    ),
    stop(
        "proposals stamped in 1 s, without latents",
        "STALE_LATENT",
        tampered(topics.PROPOSAL, lambda: stamped(1.0)),
        PROPOSAL_TIMEOUT_S,
    ),
    harmless("proposals twice", tampered(topics.PROPOSAL, lambda: twice)),
    harmless("each proposal 20 times at once", tampered(topics.PROPOSAL, lambda: lambda message: (message,) * 20)),
    harmless("each decision three times at once", effects.multiplied((topics.LATENT, topics.PROPOSAL), 3)),
    stop(
        "proposals four and four in the wrong order",
        ("DEADLINE", "ORDER"),
        tampered(topics.PROPOSAL, lambda: reversed_by(4)),
        PROPOSAL_TIMEOUT_S,
    ),
    latch(
        "proposals with NaN",
        "NOT_FINITE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, math.nan, 0.0]))),
        PERIOD_S,
        quick=True,
    ),
    latch(
        "proposals with infinity",
        "NOT_FINITE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, math.inf, 0.0]))),
        PERIOD_S,
    ),
    stop(
        "proposals of 1e6: critic out of range",
        "CRITIC_RANGE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 1e6, 0.0]))),
        PERIOD_S,
    ),
    latch(
        "proposals without candidates",
        "WRONG_SHAPE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions())),
        PERIOD_S,
    ),
    latch(
        "proposals of two axes",
        "WRONG_SHAPE",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.5]))),
        PERIOD_S,
    ),
    latch(
        "proposals choose what is not there",
        "WRONG_SHAPE",
        tampered(topics.PROPOSAL, lambda: changed(with_field("chosen", 99))),
        PERIOD_S,
    ),
    latch(
        "proposals of another model",
        "MODEL_ID",
        tampered(topics.PROPOSAL, lambda: changed(with_field("model_id", "other"))),
        PERIOD_S,
    ),
    Fault(
        "risky proposals, a safe candidate",
        "SUBSTITUTE",
        ("INFEASIBLE",),
        effects.briefly(
            tampered(topics.PROPOSAL, lambda: changed(with_actions([0.9, 0.5, 0.0], [0.0, 0.5, 0.0]))), 0.5
        ),
        None,
    ),
    Fault(
        "risky proposals, no safe candidate",
        "RECOVER",
        ("NO_FEASIBLE",),
        effects.briefly(tampered(topics.PROPOSAL, lambda: changed(with_actions([0.9, 0.5, 0.0]))), 0.5),
        None,
    ),
    Fault(
        "proposals close to the risk allowed",
        "PASS",
        ("SLOW_DOWN",),
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.45, 0.0, 0.0]))),
        None,
    ),
    Fault(
        "proposals of 1e6 where no critic minds: the limits hold",
        "PASS",
        ("OK",),
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.0, 0.0, 1e6]))),
        None,
    ),
    latch(
        "risky proposals in a row",
        "VETOES",
        tampered(topics.PROPOSAL, lambda: changed(with_actions([0.9, 0.5, 0.0]))),
        VETO_S,
    ),
)

LATENTS = (
    stop("latents dropped", "DEADLINE", tampered(topics.LATENT, lambda: nothing), PROPOSAL_TIMEOUT_S),
    stop(
        "latents delayed by 300 ms",
        ("DEADLINE", "STALE_IMAGE"),
        effects.delayed(topics.LATENT, 0.3),
        PROPOSAL_TIMEOUT_S,
    ),
    latch("latents with NaN", "NOT_FINITE", tampered(topics.LATENT, lambda: changed(_nan_latent)), PERIOD_S),
    latch("latents of another size", "WRONG_SHAPE", tampered(topics.LATENT, lambda: changed(_short_latent)), PERIOD_S),
    latch(
        "latents of another model",
        "MODEL_ID",
        tampered(topics.LATENT, lambda: changed(with_field("model_id", "other"))),
        PERIOD_S,
    ),
    latch("latents frozen under new steps", "STALE_LATENT", tampered(topics.LATENT, effects.frozen_latents), FROZEN_S),
    harmless("latents twice", tampered(topics.LATENT, lambda: twice)),
)

_MONITOR = "safety_monitor_node"

_NO_EPISODES = {"episodes": 0, "violating_episodes": 0}

JUDGES = (
    *(
        harmless(f"offered in motion: {name}", judge_effects.offered(said, **options))
        for name, said, options in (
            ("a critic that says 0", "actions before a violation", {"judge": (0.0, 0.0)}),
            ("a critic that is inverted", "safe actions", {"judge": (-1.0, 1.0)}),
            ("a critic that says 0.5", "rank correlation", {"judge": (0.0, 0.5)}),
            ("a critic that vetoes everything", "safe actions", {"judge": (0.0, 0.9)}),
            ("eps of 0.999", "eps_ceiling", {"calibration": {"eps": 0.999}}),
            ("a calibration that is unsupported", "accept it in words", {"calibration": {"supported": False}}),
            ("a calibration on no episode", "on no episode", {"calibration": _NO_EPISODES}),
            ("support claimed with 3 violations", "cannot support", {"calibration": {"violating_episodes": 3}}),
        )
    ),
    harmless("offered in motion: probes cut off", judge_effects.offered_with_probes_cut_off()),
    latch(
        "the encoder's network goes wrong in memory",
        "NODE_RESTARTED",
        judge_effects.goes_wrong("encoder_node"),
        SELF_TEST_S + PROPOSAL_TIMEOUT_S,
    ),
    latch(
        "the policy's network goes wrong in memory",
        "NODE_RESTARTED",
        judge_effects.goes_wrong("policy_node"),
        2 * SELF_TEST_S + PROPOSAL_TIMEOUT_S,
    ),
    latch("the critic goes wrong in memory", "SELF_TEST", judge_effects.goes_wrong("safety_monitor_node"), SELF_TEST_S),
    latch(
        "the critic's self-test hangs",
        "SELF_TEST",
        judge_effects.goes_wrong(_MONITOR, signal.SIGALRM),
        SELF_TEST_LIMIT_S,
    ),
)
"""The monitor is killed at the end of its rows, since it does not believe its memory again, and so is its graph."""
