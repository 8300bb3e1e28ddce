"""What a ROS parameter file may not do behind the back of who starts the stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fosp_core.errors import UserError
from fosp_core.specs import read_yaml
from fosp_safety_monitor.parameters import SHADOW_PHRASE

_PARAMETERS = "ros__parameters"


def check_parameter_file(path: Path, monitor: str, shadow: str) -> None:
    """UserError when `path` is no YAML, or sets `shadow` of the node `monitor` though the argument `shadow` is empty.

    What the file says wins over the argument, so the gate could be off in a start whose command line does not say it.
    An empty value, as in a dump of all parameters, is none.
    """
    for node, parameters in _sections(read_yaml(path), ""):
        if _names(node, monitor) and parameters.get("shadow") not in ("", None) and not shadow:
            raise UserError(
                f"{path}: shadow under '{node}' would switch the safety monitor's gate off; "
                f"to mean it, say shadow:={SHADOW_PHRASE} at the start as well"
            )


def _sections(content: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of a node, or a pattern of names, -> its parameters; namespaces may be written as levels."""
    for name, inner in content.items() if isinstance(content, dict) else ():
        if not isinstance(inner, dict):
            continue
        if name == _PARAMETERS:
            yield prefix, inner
        else:
            yield from _sections(inner, f"{prefix}/{str(name).strip('/')}")


def _names(node: str, monitor: str) -> bool:
    """Whether the last part of `node` may be the monitor: a pattern is taken for one."""
    last = node.rpartition("/")[2]
    return last == monitor or "*" in last
