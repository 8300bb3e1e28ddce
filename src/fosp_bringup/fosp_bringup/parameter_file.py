"""The ROS parameter file of a stack: that each of its sections reaches a node, and each parameter exists.

ROS itself ignores what is written for a node that is not there, so that the defaults run without a word.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fosp_core.errors import UserError
from fosp_core.specs import read_yaml
from fosp_core.topics import resolve

_TABLES = {"fosp_safety_monitor.safety_monitor_node": "fosp_safety_monitor.node_parameters"}
"""Module of a node -> module of its table of parameters, where that is another."""
_ALSO = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares in every node."""


def sections(content: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the full name of a node, or a pattern of names, and its parameters; namespaces may be written as levels."""
    for name, inner in content.items() if isinstance(content, dict) else ():
        if not isinstance(inner, dict):
            continue
        if name == "ros__parameters":
            yield prefix, inner
        else:
            yield from sections(inner, f"{prefix}/{str(name).strip('/')}")


def reaches(section: str, node: str) -> bool:
    """Return whether a section, by its full name or pattern, holds for the node of this full name, as in rcl."""
    pattern = re.escape(section).replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"/\w+")
    return re.fullmatch(pattern, node) is not None


def doubts(path: Path, modules: Mapping[str, str], namespace: str = "") -> list[str]:
    """Return what a parameter file says in vain to a stack in `namespace`: `modules` are those of its nodes, by name.

    UserError for what is a mistake in all likelihood: a parameter that its node does not have, a node whose name is
    nearly that of one of the stack, or a file of which nothing reaches any node.
    """
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{path}: expected node names, each with ros__parameters, found {type(content).__name__}")
    found = list(sections(content))
    nodes = {resolve(name, namespace): module for name, module in modules.items()}
    idle = []
    for section, parameters in found:
        reached = [node for node in nodes if reaches(section, node)]
        for node in reached:
            _require_known(path, section, node, _flat(parameters), _names_of(nodes[node]))
        if not reached:
            idle.append(section)
    if not found:
        return [f"{path} sets no parameter: it has no section ros__parameters"]
    there = ", ".join(sorted(nodes))
    for section in idle:
        last = section.rpartition("/")[2]
        near = difflib.get_close_matches(last, [name for name in modules if name != last], 1, 0.7)
        if near and section.rpartition("/")[0] in ("", f"/{namespace}".rstrip("/")) and not _is_ours(last):
            raise UserError(f"{path}: there is no node '{section}' in this stack; did you mean '{near[0]}'?")
    if len(idle) == len(found):
        raise UserError(f"{path}: nothing in it reaches a node of this stack: it is for {', '.join(idle)}, not {there}")
    return [f"{path}: '{section}' is no node of this stack, so its parameters have no effect" for section in idle]


def _require_known(path: Path, section: str, node: str, given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known and not name.startswith("qos_overrides."):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(sorted(known))}"
            raise UserError(f"{path}: unknown parameter '{name}' of {node} under '{section}'; {hint}")


def _names_of(module: str) -> list[str]:
    table = importlib.import_module(_TABLES.get(module, module)).PARAMETERS
    return [*(row.name for row in table), *_ALSO]


def _is_ours(name: str) -> bool:
    """Return whether a node of this name may be in another stack of ours: its section is for that one."""
    from fosp_bringup.interfaces import MANAGED

    return name in (*MANAGED, "black_box_node", "learner_node", "bundle_receiver", "sim_node", "camera_node")


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of parameters; levels stand for dots."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
