"""SROS2 policy of a stack: one enclave for each node, which allows exactly the topics and services of that node."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from fosp_bringup.interfaces import (
    COMMISSIONING,
    OPERATOR,
    Interface,
    commissioning_interface,
    interfaces,
    operator_interface,
)
from fosp_bringup.paths import robot_path, share
from fosp_bringup.stack import enclave
from fosp_core.robot.config import RobotConfig, read_robot

VERSION = "0.2.0"
"""Version of the policy format of sros2 in Jazzy."""


def robot_policy(robot: str, namespace: str = "") -> str:
    """Return the policy of every node that a stack of this robot can have, and of an operator, as XML.

    `robot` is a name in config/robots or a path. The simulator and /clock are in the policy of a robot that a scenario
    in config/scenarios is for. Raise UserError for an unknown robot.
    """
    config = read_robot(robot_path(robot))
    policy = ElementTree.Element("policy", version=VERSION)
    enclaves = ElementTree.SubElement(policy, "enclaves")
    nodes = {
        **interfaces(config, simulated=_is_simulated(config)),
        COMMISSIONING: commissioning_interface(config),
        OPERATOR: operator_interface(),
    }
    for name, allowed in nodes.items():
        _add_enclave(enclaves, enclave(name, namespace), namespace, name, allowed.resolved(name, namespace))
    ElementTree.indent(policy)
    comment = f"<!-- Written by `fosp security policy {robot}`. Change fosp_bringup/interfaces.py, not this file. -->"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{comment}\n{ElementTree.tostring(policy, "unicode")}\n'


def _is_simulated(robot: RobotConfig) -> bool:
    from fosp_sim.task.scenario import read_scenario

    scenarios = (share() / "config" / "scenarios").glob("*.yaml")
    return any(read_scenario(path).robot == robot.name for path in scenarios)


def _add_enclave(enclaves: ElementTree.Element, path: str, namespace: str, node: str, allowed: Interface) -> None:
    enclave = ElementTree.SubElement(enclaves, "enclave", path=path)
    profiles = ElementTree.SubElement(enclave, "profiles")
    profile = ElementTree.SubElement(profiles, "profile", ns=f"/{namespace.strip('/')}", node=node)
    _add_names(profile, "topics", "publish", allowed.publishes)
    _add_names(profile, "topics", "subscribe", allowed.subscribes)
    _add_names(profile, "services", "reply", allowed.serves)
    _add_names(profile, "services", "request", allowed.calls)


def _add_names(profile: ElementTree.Element, kind: str, right: str, names: Iterable[str]) -> None:
    """Add the names in order, so that the same stack gives the same file."""
    if not names:
        return
    section = ElementTree.SubElement(profile, kind, {right: "ALLOW"})
    for name in sorted(names):
        ElementTree.SubElement(section, kind.removesuffix("s")).text = name
