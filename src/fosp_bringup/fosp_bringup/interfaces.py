"""What each node of the stack may say and hear: the topics and services that a security policy has to allow.

Names as a node uses them: relative ones move with the namespace, `~` stands for the node. test_interfaces holds the
table against the running graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fosp_core import topics
from fosp_core.specs import ObservationSpec, RobotConfig


@dataclass(frozen=True)
class Interface:
    """Topics and services of one node."""

    publishes: frozenset[str] = field(default_factory=frozenset)
    subscribes: frozenset[str] = field(default_factory=frozenset)
    serves: frozenset[str] = field(default_factory=frozenset)
    calls: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: Interface) -> Interface:
        return Interface(
            self.publishes | other.publishes,
            self.subscribes | other.subscribes,
            self.serves | other.serves,
            self.calls | other.calls,
        )

    def resolved(self, node: str, namespace: str) -> Interface:
        """With absolute names."""
        prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""

        def names(relative: Iterable[str]) -> frozenset[str]:
            return frozenset(
                name if name.startswith("/") else f"{prefix}/{name.replace('~', node, 1)}" for name in relative
            )

        return Interface(names(self.publishes), names(self.subscribes), names(self.serves), names(self.calls))


def _interface(
    publishes: Iterable[str] = (), subscribes: Iterable[str] = (), serves: Iterable[str] = (), calls: Iterable[str] = ()
) -> Interface:
    return Interface(frozenset(publishes), frozenset(subscribes), frozenset(serves), frozenset(calls))


_NODE = _interface(
    publishes=["/rosout", "/parameter_events"],
    serves=[
        *(f"~/{name}_parameters" for name in ("describe", "get", "list", "set")),
        "~/get_parameter_types",
        "~/set_parameters_atomically",
        "~/get_type_description",
    ],
)
"""Of every node of rclpy."""

_MANAGED = _interface(
    publishes=["~/transition_event", topics.HEARTBEAT],
    serves=[
        "~/change_state",
        "~/get_state",
        "~/get_available_states",
        "~/get_available_transitions",
        "~/get_transition_graph",
    ],
)
"""Of a lifecycle node, beside the above."""


MANAGED = ("camera_node", "encoder_node", "policy_node", "recorder_node", "safety_monitor_node")
"""Lifecycle nodes of the stack; the manager calls them."""


def interfaces(
    robot: RobotConfig, simulated: bool = False, observation: ObservationSpec | None = None
) -> dict[str, Interface]:
    """Node -> interface, of every node that a stack of this robot can have.

    `simulated`: with the simulator, and time read from /clock. `observation`: cameras of the bundle; by default one.
    """
    cameras = [camera.topic for camera in (observation or ObservationSpec()).cameras]
    states = [robot.state_topic, *([robot.pose_topic] if robot.pose_topic else [])]
    own = {
        "camera_node": _interface([topics.COLOR_IMAGE, topics.CAMERA_INFO]),
        "encoder_node": _interface(
            [topics.LATENT, topics.MODEL_STATUS], [*cameras, topics.FEEDBACK, robot.command_topic]
        ),
        "policy_node": _interface([topics.PROPOSAL, topics.MODEL_STATUS], [topics.LATENT]),
        "recorder_node": _interface(
            [],
            {
                *(*cameras, topics.CAMERA_INFO, robot.command_topic, *states),
                *(topics.LATENT, topics.PROPOSAL, topics.VERDICT, topics.FEEDBACK),
            },
        ),
        "safety_monitor_node": _interface(
            [robot.command_topic, topics.VERDICT, topics.MODEL_STATUS, topics.DIAGNOSTICS],
            [topics.LATENT, topics.PROPOSAL, *states],
            ["~/reset"],
        ),
        "lifecycle_manager": _interface(
            [topics.DIAGNOSTICS],
            [topics.HEARTBEAT],
            ["~/is_active", "~/startup", "~/shutdown"],
            [f"{node}/change_state" for node in MANAGED],
        ),
    }
    found = {name: _NODE | (_MANAGED if name in MANAGED else _interface()) | part for name, part in own.items()}
    if simulated:
        found = {name: part | _interface(subscribes=[topics.CLOCK]) for name, part in found.items()}
        found["sim_node"] = _NODE | _interface(
            [topics.COLOR_IMAGE, topics.CAMERA_INFO, topics.FEEDBACK, topics.CLOCK, *states],
            [robot.command_topic],
            [topics.RESET_EPISODE],
        )
    return found


OPERATOR = "operator"
"""The enclave of the person at the command line."""


def operator_interface() -> Interface:
    """To watch the graph, bring it up and down, and end a latch; nothing that moves the robot."""
    return _interface(
        ["/rosout", "/parameter_events"],
        [topics.VERDICT, topics.FEEDBACK, topics.DIAGNOSTICS, "/rosout"],
        [],
        [
            *("safety_monitor_node/reset", "lifecycle_manager/is_active"),
            *("lifecycle_manager/startup", "lifecycle_manager/shutdown"),
        ],
    )
