"""A node of a robot loads only what it needs: each library costs memory in every process, and time at the start."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NO_NODE = ("scipy", "matplotlib", "rich", "typer", "pandas", "PIL", "onnx", "torch", "mujoco", "fosp_cli")
"""Libraries of training, simulation and the command line."""
AT_NEED = ("cryptography", "onnxruntime", "pyspng", "isal")
"""Libraries that are loaded with the first signature, network or PNG."""
NODES = {
    "fosp_perception.encoder_node": ("rosbags",),
    "fosp_policy.policy_node": ("rosbags", "cv2"),
    "fosp_safety_monitor.safety_monitor_node": ("rosbags", "cv2"),
    "fosp_safety_monitor.operator_guard_node": ("rosbags", "cv2"),
    "fosp_policy.teleop_node": ("rosbags", "cv2"),
    "fosp_perception.camera_node": ("rosbags", "cv2"),
    "fosp_recording.feedback_node": ("rosbags", "cv2"),
    "fosp_recording.recorder_node": ("cv2",),
    "fosp_recording.black_box_node": ("cv2",),
    "fosp_console.console_node": (),
    "fosp_learner.learner_node": (),
    "fosp_learner.bundle_receiver": ("rosbags",),
    "fosp_bringup.lifecycle_manager": ("rosbags", "cv2", "numpy", "pydantic"),
}
"""Module of each node -> the libraries that it does not need either."""


DEPRECATION_IS_AN_ERROR = """
import warnings
for category in (DeprecationWarning, PendingDeprecationWarning, SyntaxWarning):
    warnings.filterwarnings("error", category=category, module="fosp_")
"""


@pytest.mark.parametrize("module", NODES)
def test_a_node_loads_no_library_that_it_does_not_need_and_nothing_deprecated(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"{DEPRECATION_IS_AN_ERROR}\nimport sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60.0,
    ).stdout.split()
    assert module in loaded
    assert set(loaded) & {*NO_NODE, *AT_NEED, *NODES[module]} == set()


SELF = re.compile(r"self\.(_\w+)(?:: [^=\n]+)? = ")
NODE_CLASS = re.compile(r"^class \w+\((?:ManagedNode|Node|SimulatorNode)\):\n(?:(?:[ \t].*)?\n)*", re.MULTILINE)


def test_no_node_overwrites_an_attribute_of_rclpys_node() -> None:
    """`self._timers = []` in a node of ours would silence its heartbeat."""
    from rclpy.lifecycle.node import LifecycleNodeMixin
    from rclpy.node import Node

    theirs = {name for kind in (Node, LifecycleNodeMixin) for name in SELF.findall(inspect.getsource(kind))}
    assert {"_timers", "_subscriptions", "_publishers"} <= theirs
    found, classes = {}, 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in NODE_CLASS.findall(path.read_text()):
            classes += 1
            found[path.name] = theirs & set(SELF.findall(node))
    assert classes >= 10
    assert {name: names for name, names in found.items() if names} == {}


GONE_FROM_RCLPY_10 = re.compile(
    r"\.warn\(|qos_event|QoSEventHandler|RMW_QOS_|\bQoS(?:History|Reliability|Durability|Liveliness)Policy\b"
)
"""Names that rclpy 9 (Kilted) deprecates and rclpy 10 (Lyrical) no longer has."""


def test_no_source_uses_what_later_versions_of_rclpy_or_python_took_away() -> None:
    found = {}
    for path in sorted(
        path for folder in ("src", "tests", "launch", "scripts") for path in (ROOT / folder).rglob("*.py")
    ):
        text = path.read_text()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compile(text, str(path), "exec")
        if path != Path(__file__) and (names := GONE_FROM_RCLPY_10.findall(text)):
            found[path.name] = names
    assert found == {}


def test_the_private_callback_of_rclpy_that_managed_nodes_override_is_there() -> None:
    """Under another name it would be overridden by nobody, and an impossible transition would end the node."""
    from rclpy.lifecycle.node import LifecycleNodeMixin

    from fosp_core.ros.lifecycle import ManagedNode

    name = "_LifecycleNodeMixin__on_change_state"
    theirs, ours = (
        list(inspect.signature(getattr(kind, name)).parameters) for kind in (LifecycleNodeMixin, ManagedNode)
    )
    assert len(theirs) == len(ours) == 3
