"""The safety monitor's parameters as ROS parameters, with description and range."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from fosp_core.errors import UserError
from fosp_safety_monitor.parameters import (
    DESCRIPTIONS,
    SETTINGS,
    SHADOW_PHRASE,
    UNSUPPORTED_PHRASE,
    Description,
    MonitorParameters,
)


def declare_monitor_parameters(node: Node) -> None:
    """Declare every parameter; UserError when a given value is out of range, or a given name is unknown."""
    for description in DESCRIPTIONS:
        try:
            node.declare_parameter(description.name, description.kind(description.default), _descriptor(description))
        except (InvalidParameterValueException, InvalidParameterTypeException):
            kind = "a whole number " if description.kind is int else ""
            raise UserError(f"parameter '{description.name}' must be {kind}in {description.range}") from None
    for setting in SETTINGS:
        if not node.has_parameter(setting.name):
            text = f"{setting.meaning} Read-only: give it at the start."
            descriptor = ParameterDescriptor(description=text, read_only=True)
            try:
                node.declare_parameter(setting.name, setting.default, descriptor)
            except InvalidParameterTypeException:
                kind = type(setting.default).__name__
                raise UserError(f"parameter '{setting.name}' must be of type {kind}") from None
    _refuse_unknown(node)
    monitor_parameters(node)


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


def _refuse_unknown(node: Node) -> None:
    """Raise UserError for an unknown name: a misspelt timeout would silently leave its default in force."""
    given = [name for name in node._parameter_overrides if not name.startswith("qos_overrides.")]
    unknown = [name for name in given if not node.has_parameter(name)]
    if unknown:
        known = ", ".join(sorted([d.name for d in DESCRIPTIONS] + [s.name for s in SETTINGS]))
        raise UserError(f"unknown parameter '{unknown[0]}' of {node.get_name()}; allowed: {known}")


def _descriptor(description: Description) -> ParameterDescriptor:
    unit = f" Unit: {description.unit}." if description.unit else ""
    text = f"{description.meaning}{unit} While active it can only be made {description.stricter}."
    if description.kind is int:
        bounds = IntegerRange(from_value=int(description.lower), to_value=int(description.upper))
        return ParameterDescriptor(description=text, integer_range=[bounds])
    limits = FloatingPointRange(from_value=description.lower, to_value=description.upper)
    return ParameterDescriptor(description=text, floating_point_range=[limits])
