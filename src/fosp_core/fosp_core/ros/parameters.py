"""The parameters of a node as one table: every node declares its own by `declare`, and takes no other.

docs/parameters.md is written from these tables, and the tests hold them against the running nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from fosp_core.errors import UserError

Changing = Callable[[list[Parameter]], SetParametersResult]
Default = str | bool | int | float | tuple[str, ...]
AT_START = "at the start only"
ANY_TIME = "at any time"
OF_ROS = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares itself."""
_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point",
    tuple: "a list of texts",
}


@dataclass(frozen=True)
class NodeParameter:
    """One parameter of a node. Its type is that of the default; a tuple is a list of texts."""

    name: str
    default: Default
    meaning: str
    """Whole sentences."""
    unit: str = ""
    lower: float | None = None
    """Bounds of a number, which has both."""
    upper: float | None = None
    choices: tuple[str, ...] = ()
    """Texts that are allowed; empty: any."""
    changes: str = AT_START
    """When it may be set; AT_START makes it read-only."""

    def __post_init__(self) -> None:
        if (type(self.default) in (int, float)) != (self.lower is not None and self.upper is not None):
            raise ValueError(f"parameter '{self.name}': numbers, and only numbers, need both bounds")

    @property
    def is_whole(self) -> bool:
        return type(self.default) is int

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.lower is None or self.upper is None:
            return _KINDS[type(self.default)]
        unit = f" {self.unit}" if self.unit else ""
        return f"{'a whole number ' if self.is_whole else ''}in [{self.lower:g}, {self.upper:g}]{unit}"

    @property
    def description(self) -> str:
        """The text that `ros2 param describe` shows."""
        unit = f" Unit: {self.unit}." if self.unit else ""
        allowed = f" Must be {self.allowed}." if self.choices else ""
        when = "Read-only: give it at the start." if self.changes == AT_START else f"May be set {self.changes}."
        return f"{self.meaning}{unit}{allowed} {when}"

    def descriptor(self) -> ParameterDescriptor:
        """Return the message that describes the parameter to ROS."""
        message = ParameterDescriptor(description=self.description, read_only=self.changes == AT_START)
        if self.lower is None or self.upper is None:
            return message
        if self.is_whole:
            message.integer_range = [IntegerRange(from_value=int(self.lower), to_value=int(self.upper))]
        else:
            message.floating_point_range = [FloatingPointRange(from_value=self.lower, to_value=self.upper)]
        return message


def declare(node: Node, table: Sequence[NodeParameter], changing: Changing | None = None) -> None:
    """Declare all parameters of `node`, and let no other change of them through than the table allows.

    `changing` is asked last about a change, and may put it in force.
    Raise UserError when a given value is not allowed, or when a given name is in no row: a misspelt one would silently
    leave a default in force. `use_sim_time` can only be changed while a managed node is inactive.
    """
    for row in table:
        default = (list(row.default) or [""]) if isinstance(row.default, tuple) else row.default
        try:
            value = node.declare_parameter(row.name, default, row.descriptor()).value
        except (InvalidParameterValueException, InvalidParameterTypeException):
            given = node._parameter_overrides[row.name].value
            # A whole number where a decimal point is missing would look as if it were allowed.
            point = f"{_KINDS[float]}, " if isinstance(row.default, float) and not isinstance(given, float) else ""
            raise UserError(f"parameter '{row.name}' must be {point}{row.allowed}, got {given!r}") from None
        if row.choices and value not in row.choices:
            raise UserError(f"parameter '{row.name}' must be {row.allowed}, got '{value}'")
    _refuse_unknown(node, table)
    node.add_on_set_parameters_callback(partial(_answer, node, {row.name: row for row in table}, changing))


def _refuse_unknown(node: Node, table: Sequence[NodeParameter]) -> None:
    for name in node._parameter_overrides:
        if not name.startswith("qos_overrides.") and not node.has_parameter(name):
            known = ", ".join(sorted(row.name for row in table))
            raise UserError(f"unknown parameter '{name}' of {node.get_name()}; allowed: {known}")


def _answer(
    node: Node, rows: dict[str, NodeParameter], changing: Changing | None, changed: list[Parameter]
) -> SetParametersResult:
    """Refuse what the descriptors do not: rclpy itself holds types, ranges and what is read-only."""
    for parameter in changed:
        reason = _refusal(node, rows.get(parameter.name), parameter.name, parameter.value)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True) if changing is None else changing(changed)


def _refusal(node: Node, row: NodeParameter | None, name: str, value: Any) -> str:
    """Return why `name` cannot be set to `value` now; empty when it can."""
    if name == "use_sim_time" and getattr(node, "is_active", True):
        if hasattr(node, "is_active"):
            return "use_sim_time can only be changed while inactive: deactivate the node first"
        return "use_sim_time cannot be changed while this node runs: give it at the start"
    if row is not None and row.choices and value not in row.choices:
        return f"parameter '{name}' must be {row.allowed}, got '{value}'"
    return ""
