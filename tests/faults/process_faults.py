"""Faults of processes, clocks and the network."""

from __future__ import annotations

import process_effects
from effects import tampered
from fault import COMMAND_TIMEOUT_S, NO_PROPOSAL, PROPOSAL_TIMEOUT_S, SUPERVISOR_S, Fault, harmless, latch, stop
from relay import nothing

from fosp_core import topics

PROCESSES = (
    latch(
        "sigkill policy_node, started anew", "NODE_RESTARTED", process_effects.killed("policy_node"), PROPOSAL_TIMEOUT_S
    ),
    latch(
        "sigkill encoder_node, started anew",
        "NODE_RESTARTED",
        process_effects.killed("encoder_node"),
        PROPOSAL_TIMEOUT_S,
    ),
    latch(
        "sigstop policy_node 1 s",
        "NODE_RESTARTED",
        process_effects.hung("policy_node", 1.0),
        PROPOSAL_TIMEOUT_S,
        quick=True,
    ),
    latch("sigstop encoder_node 1 s", "NODE_RESTARTED", process_effects.hung("encoder_node", 1.0), PROPOSAL_TIMEOUT_S),
    stop("sigstop policy_node 0.3 s", NO_PROPOSAL, process_effects.hung("policy_node", 0.3), PROPOSAL_TIMEOUT_S),
    stop(
        "sigstop sim_node: robot and camera 0.3 s",
        (*NO_PROPOSAL, "STALE_ROBOT_STATE"),
        process_effects.hung("sim_node", 0.3),
        PROPOSAL_TIMEOUT_S,
    ),
    stop(
        "sigstop safety_monitor_node 0.15 s",
        "HELD_UP",
        process_effects.hung("safety_monitor_node", 0.15),
        COMMAND_TIMEOUT_S,
    ),
    harmless("sigstop lifecycle_manager 0.3 s", process_effects.hung("lifecycle_manager", 0.3)),
    harmless("sigkill black_box_node", process_effects.killed("black_box_node")),
    harmless("disk full", process_effects.full_disk("black_box_node")),
    harmless("the whole graph on one core", process_effects.on_one_core),
    Fault("cpu starvation: 6 busy processes", "ANY", (), process_effects.starved(6), None),
)

CLOCKS = (
    Fault(
        "simulated time stands still",
        "STOP",
        ("DEADLINE", "STALE_LATENT", "STALE_ROBOT_STATE"),
        tampered(topics.CLOCK, lambda: nothing),
        PROPOSAL_TIMEOUT_S,
        "simulated time",
    ),
    Fault(
        "clock jumps back by 0.5 s",
        "STOP",
        ("CLOCK", "STALE_ROBOT_STATE", "STALE_IMAGE"),
        process_effects.clock_jump(-0.5),
        0.0,
        "simulated time",
    ),
    Fault(
        "clock jumps ahead by 0.5 s",
        "STOP",
        ("STALE_ROBOT_STATE", "STALE_IMAGE"),
        process_effects.clock_jump(0.5),
        0.0,
        "simulated time",
    ),
)

NETWORK = (
    Fault(
        "network down for 0.5 s",
        "LATCH",
        ("ESTOP",),
        process_effects.network_down(0.5),
        PROPOSAL_TIMEOUT_S,
        "network namespace",
    ),
)
"""Nothing reaches anybody then, so the stop is timed by what the monitor tells of it afterwards; the emergency stop,
silent for longer than it may be, latches."""

ENDS = (
    Fault(
        "sigkill lifecycle_manager: all goes down", "END", (), process_effects.ended("lifecycle_manager"), SUPERVISOR_S
    ),
    Fault(
        "sigkill safety_monitor_node: the robot's watchdog",
        "END",
        (),
        process_effects.ended("safety_monitor_node"),
        COMMAND_TIMEOUT_S,
        "simulated time",
    ),
)
"""Each ends its graph, so it is the last one there."""
