"""Checks and probes of what ends every node at once, or mixes two graphs: domain, log folder, start, other graphs."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fosp_cli.doctor.diagnosis import Diagnosis, Level

LAST_DOMAIN = 232
"""The highest domain whose ports exist."""
_BASE_PORT, _PORTS_PER_DOMAIN = 7400, 250
_STACK = ("safety_monitor_node", "lifecycle_manager")
"""Nodes by which a stack of ours is known."""
_NODE = """
import time, rclpy
rclpy.init()
node = rclpy.create_node("fosp_doctor")
until = time.monotonic() + {seconds}
found = set()
while time.monotonic() < until:
    rclpy.spin_once(node, timeout_sec=0.1)
    found |= {{namespace.rstrip("/") + "/" + name for name, namespace in node.get_node_names_and_namespaces()}}
print(*sorted(found - {{"/fosp_doctor"}}))
node.destroy_node()
rclpy.shutdown()
"""
DISCOVERY_S = 1.5


@dataclass(frozen=True)
class StartedNode:
    """The start of a node in the environment of this terminal."""

    error: str = ""
    """Why it did not start; empty when it did."""
    others: tuple[str, ...] = ()
    """Full names of the other nodes that it saw in its domain."""


def domain_error(given: str, ports: tuple[int, int] = (0, 0)) -> tuple[str, bool]:
    """Return what is wrong with a value of ROS_DOMAIN_ID, empty when nothing is, and whether it ends every node.

    `ports` are the first and the last port that the system gives to outgoing connections; zeros when unknown.
    """
    if not given.strip():
        return "", False
    if not re.fullmatch(r"\s*\+?[0-9]+", given):
        return f"ROS_DOMAIN_ID is '{given}', which is no number: no node starts", True
    domain = int(given)
    if domain > LAST_DOMAIN:
        return f"ROS_DOMAIN_ID is {domain}, the highest is {LAST_DOMAIN}: no node starts", True
    first = _BASE_PORT + _PORTS_PER_DOMAIN * domain
    if ports[0] <= first + _PORTS_PER_DOMAIN and first <= ports[1]:
        said = f"the ports of ROS domain {domain}, from {first}, are given to others, too ({ports[0]}-{ports[1]})"
        return f"{said}: a node may fail to start now and then", False
    return "", False


def check_domain_id(given: str, ports: tuple[int, int]) -> Diagnosis | None:
    """Check the value of ROS_DOMAIN_ID; None when nothing is wrong with it."""
    said, fatal = domain_error(given, ports)
    if not said:
        return None
    level = Level.ERROR if fatal else Level.WARNING
    return Diagnosis("ROS domain", level, said, "export ROS_DOMAIN_ID=N with N from 0 to 101, or unset it for 0")


def local_ports(text: str) -> tuple[int, int]:
    """Return the range in the text of net.ipv4.ip_local_port_range; zeros when it is none."""
    numbers = text.split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 and all(n.isdecimal() for n in numbers) else (0, 0)


def log_folder(variables: Mapping[str, str]) -> tuple[str, Path | None]:
    """Return the variable that decides on ROS's log folder, and the folder; None when there is no home."""
    home = variables.get("HOME", "")
    for name, inside in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log")):
        if value := variables.get(name, ""):
            if value.startswith("~"):
                value = home + value[1:]
            return name, Path(value, inside)
    return "HOME", Path(home, ".ros", "log") if home else None


def write_error(folder: Path | None) -> str:
    """Return why no file can be made in `folder`, which is made if need be; empty when one can."""
    if folder is None:
        return "it is not set"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".fosp_doctor_") as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def check_log_folder(variable: str, folder: Path | None, error: str) -> Diagnosis:
    """Check that nodes can write their logs; without that none starts. `error` is empty when they can."""
    if not error:
        return Diagnosis("Log folder", Level.OK, str(folder))
    said = f"{folder or variable} (by {variable}) cannot be written: {error}; no node starts"
    remedy = "export ROS_LOG_DIR=FOLDER with a folder that this user can write, and free space if the disk is full"
    return Diagnosis("Log folder", Level.ERROR, said, remedy)


def node_script(seconds: float = DISCOVERY_S) -> str:
    """Return the program that starts a node, and prints the names of the others that it sees within `seconds`."""
    return _NODE.format(seconds=seconds)


def check_node(started: StartedNode) -> Diagnosis:
    """Check that a node starts in this environment, and that it is alone in its domain."""
    if started.error:
        said = f"no node can start here: {started.error}"
        return Diagnosis(
            "Node", Level.ERROR, said, "mend the errors above; else compare RMW_IMPLEMENTATION and the DDS profiles"
        )
    others = [name for name in started.others if not name.rpartition("/")[2].startswith(("_", "fosp_doctor"))]
    stacks = [name for name in others if name.rpartition("/")[2] in _STACK]
    if stacks:
        said = f"a stack runs in this ROS domain already: {_some(stacks)}"
        remedy = (
            "end it, or start the other robot's with another ROS_DOMAIN_ID or --namespace; all is well if it is yours"
        )
        return Diagnosis("Node", Level.WARNING, said, remedy)
    return Diagnosis("Node", Level.OK, f"one starts; others in this ROS domain: {_some(others) or 'none'}")


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def terminal(name: str) -> str:
    """Return a variable of this terminal; empty when it is not set."""
    return os.environ.get(name, "")
