"""The safety monitor's parameters as ROS parameters, with description and range."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from fosp_core.errors import UserError
from fosp_core.ros.parameters import Changing, NodeParameter, declare
from fosp_safety_monitor.judge.consent_inputs import ConsentSettings
from fosp_safety_monitor.parameters import (
    DESCRIPTIONS,
    SETTINGS,
    SHADOW_PHRASE,
    SPEED_CAP,
    UNSUPPORTED_PHRASE,
    Description,
    MonitorParameters,
)


def _row(description: Description) -> NodeParameter:
    return NodeParameter(
        description.name,
        description.kind(description.default),
        description.meaning,
        description.unit,
        description.lower,
        description.upper,
        changes=f"at any time; while active it can only be made {description.stricter}",
    )


PARAMETERS = (
    *(
        NodeParameter(
            s.name,
            s.default,
            s.meaning,
            lower=s.lower,
            upper=s.upper,
            choices=s.choices,
        )
        for s in SETTINGS
    ),
    *(_row(description) for description in DESCRIPTIONS),
)

SPEED_CAP_ROW = next(row for row in PARAMETERS if row.name == SPEED_CAP)


def declare_monitor_parameters(node: Node, changing: Changing) -> None:
    """Declare every parameter; UserError when a given value is out of range, or a given name is unknown."""
    declare(node, PARAMETERS, changing)
    monitor_parameters(node)


def speed_cap(node: Node) -> float:
    """Return the setting `speed_cap`; a cap below 1 is a warning in the node's log."""
    cap = float(node.get_parameter(SPEED_CAP).value)
    if cap < 1.0:
        because = "no passed commissioning record fits the robot file, or a person shows hazards"
        node.get_logger().warning(f"{speed_cap_text(cap)}: {because}")
    return cap


def speed_cap_text(cap: float) -> str:
    """Return what a cap below 1 means, in words; empty for the cap 1."""
    return f"speed capped at {cap:g} of the limits" if cap < 1.0 else ""


def monitor_parameters(node: Node) -> MonitorParameters:
    """Return the present values; UserError when they contradict each other."""
    return MonitorParameters.of(parameter_values(node))


def parameter_values(node: Node) -> dict[str, Any]:
    """Return the present values of the parameters of MonitorParameters by name."""
    return {description.name: node.get_parameter(description.name).value for description in DESCRIPTIONS}


def shadow_asked_for(node: Node) -> bool:
    """Return True when parameter `shadow` holds the whole phrase; UserError when it is neither that nor empty."""
    return _said(node, "shadow", SHADOW_PHRASE)


def unsupported_accepted(node: Node) -> bool:
    """Return True when parameter `unsupported` holds the whole phrase; UserError when it is neither that nor empty."""
    return _said(node, "unsupported", UNSUPPORTED_PHRASE)


def _said(node: Node, name: str, phrase: str) -> bool:
    said = str(node.get_parameter(name).value)
    if said not in ("", phrase):
        raise UserError(f"parameter '{name}' must be empty or '{phrase}', got '{said}'")
    return bool(said)


def consent_settings(node: Node) -> ConsentSettings:
    """Return which consents motion needs; UserError when a parameter holds another word."""
    engage, episodes = (str(node.get_parameter(name).value) for name in ("engage", "episodes"))
    gate_operator = bool(node.get_parameter("gate_operator").value)
    return ConsentSettings(engage, episodes, gate_operator)  # type: ignore[arg-type]
