"""Faults of the emergency stop and of who commands the robot or publishes the inputs."""

from __future__ import annotations

import effects
import process_effects
import strangers
from fault import ESTOP_TIMEOUT_S, WATCH_S, harmless, latch

from fosp_core import topics

COMMAND = (
    latch("emergency stop pressed", "ESTOP", effects.pressed(), quick=True),
    latch("emergency stop silent", "ESTOP", effects.silent_estop(), ESTOP_TIMEOUT_S),
    latch("emergency stop by service", "ESTOP", effects.estop_service()),
    latch("a rogue publisher of commands", "FOREIGN_COMMAND", effects.rogue_publisher(), WATCH_S, quick=True),
    latch("a second safety monitor", "FOREIGN_COMMAND", process_effects.second_monitor(), WATCH_S),
)

_NODES = {"encoder": "fosp_perception.encoder_node", "policy": "fosp_policy.policy_node"}

IDENTITY = (
    latch("the second of two emergency stops pressed", "ESTOP", strangers.other_button(True), quick=True),
    latch("the second of two emergency stops silent", "ESTOP", strangers.other_button(None), ESTOP_TIMEOUT_S),
    latch(
        "emergency stop pressed, a second publisher releases it",
        ("ESTOP", "FOREIGN_INPUT"),
        strangers.second_publisher_of_the_button(),
    ),
    latch("a rogue of one command", "FOREIGN_COMMAND", strangers.brief_rogue(1), quick=True),
    latch("a rogue commander of 46 ms", "FOREIGN_COMMAND", strangers.brief_rogue(strangers.ROGUE_COMMANDS), quick=True),
    latch("an echo of the monitor's commands", "FOREIGN_COMMAND", strangers.echo_of_commands(), WATCH_S),
    latch("a second pose source, inside the box", "FOREIGN_INPUT", strangers.second_pose(), WATCH_S, quick=True),
    latch("a second source of joint states", "FOREIGN_INPUT", strangers.second_state(), WATCH_S),
    latch("a second camera driver", "FOREIGN_INPUT", strangers.second_camera(), WATCH_S),
    latch("a second source of feedback", "FOREIGN_INPUT", strangers.second_feedback(), WATCH_S),
    latch(
        "a second encoder under another name",
        "FOREIGN_INPUT",
        strangers.second_node(_NODES["encoder"], "second_encoder", topics.LATENT),
        WATCH_S,
    ),
    latch(
        "a second policy under another name",
        "FOREIGN_INPUT",
        strangers.second_node(_NODES["policy"], "second_policy", topics.PROPOSAL),
        WATCH_S,
    ),
    *(
        harmless(f"'{name}' of the monitor set at run time", strangers.set_at_run_time(name, value))
        for name, value in (("robot", "/other.yaml"), ("bundle", "/other"), ("provider", "cpu"))
    ),
)
