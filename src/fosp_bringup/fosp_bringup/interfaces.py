"""Topics and services of each node of the stack: the rights that a security policy gives it.

Names are those that the node uses: a relative name moves with the namespace, and `~` stands for the node.
tests/test_interfaces.py compares the table with the running graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fosp_bringup.paths import feedback_path
from fosp_core import topics
from fosp_core.robot.config import CameraConfig, RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_recording.feedback_rules import FeedbackConfig, read_feedback_config
from fosp_recording.recorded_topics import black_box_topics, camera_topics, episode_topics, frame_topic


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
        """Return the interface with absolute names."""
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
"""Interface of every node of rclpy."""

_LIFECYCLE = _interface(
    publishes=["~/transition_event"],
    serves=[
        "~/change_state",
        "~/get_state",
        "~/get_available_states",
        "~/get_available_transitions",
        "~/get_transition_graph",
    ],
)
"""Interface that a lifecycle node has besides."""

_MANAGED = _LIFECYCLE | _interface([topics.HEARTBEAT])
"""Interface that a node has besides when the lifecycle manager brings it up."""

_SWAP = (topics.MODEL_ANNOUNCEMENT, topics.MODEL_STATUS)
"""Topics that a node subscribes to when it can take over another bundle."""

_DESCRIPTION = (topics.ROBOT_DESCRIPTION, topics.TF, topics.TF_STATIC)
"""Topics of who describes a robot to viewers."""

DEVICE_TOPICS = ("joy", "spacenav/joy")
"""Topics of the operator's devices (config/teleop)."""
MANAGED = ("encoder_node", "policy_node", "teleop_node", "feedback_node", "recorder_node", "safety_monitor_node")
"""Lifecycle nodes that the manager calls, besides those of the cameras."""
RULES = {"arm": "arm_reach", "base": "base_goal"}
"""Kind of robot -> rules in config/feedback whose topics its policy allows by default."""


def interfaces(
    robot: RobotConfig,
    simulated: bool = False,
    observation: ObservationSpec | None = None,
    feedback: FeedbackConfig | None = None,
) -> dict[str, Interface]:
    """Return the interface of every node that a stack of this robot can have, by the node's name.

    `simulated` adds the simulator and the clock. `observation` has the bundle's cameras, by default one. `feedback` has
    the rules of feedback_node, by default those of RULES.
    """
    cameras = [robot.image_topic(camera.topic) for camera in (observation or ObservationSpec()).cameras]
    own_cameras = [robot.image_topic(topics.of_camera(topics.COLOR_IMAGE, camera.name)) for camera in robot.cameras]
    rules = feedback or read_feedback_config(feedback_path(RULES[robot.kind]))
    states = [robot.state_topic, *([robot.pose_topic] if robot.pose_topic else [])]
    consents = [*([robot.wrench_topic] if robot.wrench_topic else []), *(config.topic for config in robot.ready)]
    consents += [topics.FEEDBACK, *([robot.enabling.topic] if robot.enabling else [])]
    consents += [topic for source in robot.sources for topic in source.topics]
    grips, told, felt = _gripper(robot)
    if robot.joints is not None:
        consents += [topic for topic in (robot.joints.topic, "" if robot.urdf else topics.ROBOT_DESCRIPTION) if topic]
    recorder = _interface([], episode_topics(robot), ["~/discard"])
    own = {
        **{f"{camera.name}_node": _camera(camera) for camera in robot.cameras},
        "encoder_node": _interface(
            [topics.LATENT, topics.MODEL_STATUS, topics.DIAGNOSTICS],
            [*cameras, topics.FEEDBACK, robot.command_topic, topics.VERDICT, *_SWAP, *grips],
        ),
        "teleop_node": _interface(
            [topics.PROPOSAL, topics.OPERATOR, topics.MARK],
            DEVICE_TOPICS,
            ["~/start", "~/stop", "~/discard", "~/mark"],
            [topics.RESET_EPISODE, "feedback_node/stop", "recorder_node/discard"],
        ),
        "feedback_node": _interface(
            [topics.FEEDBACK],
            {frame_topic(robot), *(rule.topic for rule in rules.rules)},
            [topics.RESET_EPISODE, "~/stop", "~/success"],
        ),
        "policy_node": _interface(
            [topics.PROPOSAL, topics.MODEL_STATUS, topics.DIAGNOSTICS],
            [topics.LATENT, robot.pose_topic or robot.state_topic, *_SWAP],
        ),
        "recorder_node": recorder,
        "safety_monitor_node": _interface(
            [
                *(robot.command_topic, topics.VERDICT, topics.MODEL_STATUS, topics.DIAGNOSTICS),
                *(topics.SAFETY_EVENT, topics.SAFETY_MARKERS, *grips, *told),
            ],
            [
                *(topics.LATENT, topics.PROPOSAL, topics.HEARTBEAT, *states, *robot.estop_topics, *consents, *_SWAP),
                *(robot.command_topic, topics.OPERATOR_WATCH, topics.OPERATOR, *felt),
            ],
            ["~/reset", "~/estop", "~/engage", "~/engage_watched", "~/disengage", "~/home", "~/home_status"],
        )
        | _gripper_action(robot),
        "black_box_node": _interface([topics.DIAGNOSTICS], [*black_box_topics(robot), *cameras, *own_cameras]),
        "console_node": _console(robot, [*cameras, *own_cameras]),
        "learner_node": recorder
        | _interface(
            [topics.MODEL_ANNOUNCEMENT, topics.BUNDLE_OFFER, topics.BUNDLE_CHUNK],
            [topics.MODEL_STATUS, topics.BUNDLE_REQUEST],
        ),
        "bundle_receiver": _interface(
            [topics.MODEL_ANNOUNCEMENT, topics.BUNDLE_REQUEST], [topics.BUNDLE_OFFER, topics.BUNDLE_CHUNK]
        ),
        "lifecycle_manager": _interface(
            [topics.DIAGNOSTICS],
            [topics.HEARTBEAT],
            ["~/is_active", "~/startup", "~/shutdown"],
            [f"{node}/change_state" for node in managed(robot)],
        ),
    }
    found = {name: _NODE | (_MANAGED if name in managed(robot) else _interface()) | part for name, part in own.items()}
    if robot.urdf and not simulated:
        joints = robot.state_topic if robot.state_type == "JointState" else topics.JOINT_STATES
        found["robot_description_node"] = _NODE | _interface(_DESCRIPTION, [joints])
    if simulated:
        found = {name: part | _interface(subscribes=[topics.CLOCK]) for name, part in found.items()}
        scans = [s.topic for s in robot.sources if s.type == "LaserScan" and robot.kind == "base"]
        images = dict.fromkeys((topics.COLOR_IMAGE, topics.CAMERA_INFO, *camera_topics(robot)))
        found["sim_node"] = _NODE | _interface(
            [*images, topics.FEEDBACK, topics.CLOCK, *states, *scans, *felt, *_DESCRIPTION],
            [robot.command_topic, *told],
            [topics.RESET_EPISODE],
        )
    return found


def _gripper(robot: RobotConfig) -> tuple[list[str], list[str], list[str]]:
    """Return the record of a gripper's commands, the topic that its driver takes, and what its state comes from."""
    if robot.gripper is None:
        return [], [], []
    own = robot.gripper
    return [topics.GRIPPER], [] if own.how == "action" else [own.topic], [own.feedback_topic]


def _gripper_action(robot: RobotConfig) -> Interface:
    """Return the names below that of an action which its client uses."""
    if robot.gripper is None or robot.gripper.how != "action":
        return _interface()
    names = [f"{robot.gripper.topic}/_action/{name}" for name in ("send_goal", "cancel_goal", "get_result")]
    heard = [f"{robot.gripper.topic}/_action/{name}" for name in ("feedback", "status")]
    return _interface(subscribes=heard, calls=names)


def managed(robot: RobotConfig) -> tuple[str, ...]:
    """Return the names of the lifecycle nodes that a stack of this robot can have."""
    return (*(f"{camera.name}_node" for camera in robot.cameras), *MANAGED)


def _camera(camera: CameraConfig) -> Interface:
    images = [topics.COLOR_IMAGE, topics.CAMERA_INFO]
    if camera.depth:
        images += [topics.DEPTH_IMAGE, topics.DEPTH_INFO]
    return _interface([*(topics.of_camera(topic, camera.name) for topic in images), topics.DIAGNOSTICS])


def _console(robot: RobotConfig, images: Iterable[str]) -> Interface:
    """Return what the operator's console hears, and the orders that it passes on."""
    heard = (topics.LATENT, topics.PROPOSAL, topics.VERDICT, topics.FEEDBACK, topics.SAFETY_EVENT, topics.MODEL_STATUS)
    command = [] if robot.command_type == "PoseStamped" else [robot.command_topic]
    orders = ("estop", "engage_watched", "disengage", "reset")
    return _interface(
        [topics.MARK, topics.OPERATOR_WATCH, topics.MODEL_ANNOUNCEMENT],
        [*heard, topics.DIAGNOSTICS, *images, *command, *([robot.pose_topic] if robot.pose_topic else [])],
        [],
        [
            *(f"safety_monitor_node/{order}" for order in orders),
            *("feedback_node/stop", "feedback_node/success", "recorder_node/discard", topics.RESET_EPISODE),
            *(f"{node}/get_parameters" for node in ("safety_monitor_node", "recorder_node", "learner_node")),
        ],
    )


COMMISSIONING = "commissioning"
"""Name of the node and enclave of `fosp commission`."""


def commissioning_interface(robot: RobotConfig) -> Interface:
    """Return what the commissioning program may do: drive the robot through the guard, watch it, and bring it up."""
    state = robot.pose_topic or robot.state_topic
    images = [robot.image_topic(topics.of_camera(topics.COLOR_IMAGE, camera.name)) for camera in robot.cameras]
    return _NODE | _interface(
        [topics.PROPOSAL],
        [
            topics.VERDICT,
            robot.command_topic,
            state,
            *robot.estop_topics,
            *images,
            robot.image_topic(topics.COLOR_IMAGE),
        ],
        [],
        [f"{node}/change_state" for node in managed(robot)],
    )


HOME_SERVICES = ("home", "home_status")
"""Services of the commanding node that send the robot home, and tell how that goes."""
OPERATOR = "operator"
"""Name of the node and enclave of the person at the command line."""


def operator_interface() -> Interface:
    """Return what a person may do: watch the graph, bring it up and down, engage, end a latch, and offer a bundle."""
    return _NODE | _interface(
        [topics.MODEL_ANNOUNCEMENT],
        [
            topics.MODEL_STATUS,
            *(topics.VERDICT, topics.SAFETY_EVENT, topics.SAFETY_MARKERS, topics.FEEDBACK, topics.DIAGNOSTICS),
            "/rosout",
        ],
        [],
        [
            *(f"safety_monitor_node/{order}" for order in ("reset", "estop", "engage", "disengage", *HOME_SERVICES)),
            "lifecycle_manager/is_active",
            *("lifecycle_manager/startup", "lifecycle_manager/shutdown"),
        ],
    )
