"""The stack's SROS2 policy: one enclave per node, and in it exactly what that node says and hears."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from fosp_bringup.interfaces import OPERATOR, Interface, interfaces, operator_interface
from fosp_bringup.paths import robot_path, share
from fosp_bringup.stack import enclave
from fosp_core.specs import read_robot

VERSION = "0.2.0"
"""Of the policy format of sros2, that of Jazzy."""
_SIMULATED = ("sim_arm", "sim_base")


def policy_folder() -> Path:
    """Where the policies lie that are shipped."""
    return share() / "config" / "security"


def robot_policy(robot: str, namespace: str = "") -> str:
    """Policy of all nodes that a stack of this robot can have, and of an operator, as XML. UserError: unknown robot."""
    config = read_robot(robot_path(robot))
    policy = ElementTree.Element("policy", version=VERSION)
    enclaves = ElementTree.SubElement(policy, "enclaves")
    nodes = {**interfaces(config, simulated=config.name in _SIMULATED), OPERATOR: operator_interface()}
    for name, allowed in nodes.items():
        _add_enclave(enclaves, enclave(name, namespace), namespace, name, allowed.resolved(name, namespace))
    ElementTree.indent(policy)
    comment = f"<!-- Written by `fosp security policy {robot}`. Change fosp_bringup/interfaces.py, not this. -->"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{comment}\n{ElementTree.tostring(policy, "unicode")}\n'


def _add_enclave(enclaves: ElementTree.Element, path: str, namespace: str, node: str, allowed: Interface) -> None:
    enclave = ElementTree.SubElement(enclaves, "enclave", path=path)
    profiles = ElementTree.SubElement(enclave, "profiles")
    profile = ElementTree.SubElement(profiles, "profile", ns=f"/{namespace.strip('/')}", node=node)
    _add_names(profile, "topics", "publish", allowed.publishes)
    _add_names(profile, "topics", "subscribe", allowed.subscribes)
    _add_names(profile, "services", "reply", allowed.serves)
    _add_names(profile, "services", "request", allowed.calls)


def _add_names(profile: ElementTree.Element, kind: str, right: str, names: Iterable[str]) -> None:
    """Sorted, so that the same stack gives the same file."""
    if not names:
        return
    section = ElementTree.SubElement(profile, kind, {right: "ALLOW"})
    for name in sorted(names):
        ElementTree.SubElement(section, kind.removesuffix("s")).text = name


def read_policy(text: str) -> dict[str, Interface]:
    """Enclave -> what it allows, of a policy that `policy_xml` wrote."""
    found: dict[str, Interface] = {}
    for element in ElementTree.fromstring(text).iter("enclave"):

        def names(kind: str, right: str, element: ElementTree.Element = element) -> frozenset[str]:
            return frozenset(str(entry.text) for entry in element.findall(f".//{kind}[@{right}='ALLOW']/*"))

        found[element.attrib["path"]] = Interface(
            names("topics", "publish"),
            names("topics", "subscribe"),
            names("services", "reply"),
            names("services", "request"),
        )
    return found
