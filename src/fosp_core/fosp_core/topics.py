"""Names of the topics and services of the graph, and the rules of ROS for names.

Names of the graph are relative, so that a namespace moves the whole stack. Names are compared as ROS resolves them: in
the root namespace `/odom` and `odom` are one topic, in another one they are two.
"""

import re

from fosp_core.errors import UserError

COLOR_IMAGE = "camera/color/image_raw"
CAMERA_INFO = "camera/color/camera_info"
DEPTH_IMAGE = "camera/aligned_depth_to_color/image_raw"
DEPTH_INFO = "camera/aligned_depth_to_color/camera_info"
LATENT = "fosp/latent"
PROPOSAL = "fosp/proposal"
VERDICT = "fosp/verdict"
OPERATOR = "fosp/operator"
"""fosp_msgs/OperatorAction: what a person wants who can take the robot over from the policy."""
SAFETY_EVENT = "fosp/safety_event"
SAFETY_MARKERS = "fosp/safety_markers"
FEEDBACK = "fosp/feedback"
MODEL_ANNOUNCEMENT = "fosp/model_announcement"
MODEL_STATUS = "fosp/model_status"
BUNDLE_OFFER = "fosp/bundle_offer"
BUNDLE_REQUEST = "fosp/bundle_request"
BUNDLE_CHUNK = "fosp/bundle_chunk"
HEARTBEAT = "fosp/heartbeat"
OPERATOR_WATCH = "fosp/operator_watch"
"""fosp_msgs/Heartbeat: an operator who engaged from afar is still there."""
GRIPPER = "fosp/gripper_command"
"""sensor_msgs/JointState: what the gripper is told, in its unit, with each command; while left alone, where it is."""
MARK = "fosp/mark"
"""std_msgs/String: the operator marks this moment of an episode with a note."""
RESET_EPISODE = "fosp/reset_episode"
JOINT_STATES = "joint_states"
ODOMETRY = "odom"
TOOL_POSE = "tool_pose"
ROBOT_DESCRIPTION = "robot_description"
"""std_msgs/String: the URDF of the robot, for viewers."""
TF, TF_STATIC = "tf", "tf_static"
"""tf2_msgs/TFMessage: the frames of the robot, for viewers. In a namespace they move with it, as Nav2 has it."""
DIAGNOSTICS = "/diagnostics"
CLOCK = "/clock"


def of_camera(topic: str, name: str) -> str:
    """Return the topic of the camera `name` that corresponds to `topic`, which is one of the camera named 'camera'."""
    return f"{name}/{topic.removeprefix('camera/')}"


_LONGEST_TOPIC, _LONGEST_NAMESPACE = 247, 245
"""Bounds of rmw for a full name, in characters."""


def resolve(name: str, namespace: str = "", node: str = "") -> str:
    """Return the full name of a topic or service that a node in `namespace` gives as `name`; `~` stands for `node`."""
    prefix = "/" + namespace.strip("/") if namespace.strip("/") else ""
    if name.startswith("~"):
        name = f"{node}{name[1:]}"
    return name if name.startswith("/") else f"{prefix}/{name}"


def are_one(first: str, second: str, namespace: str = "") -> bool:
    """Return whether two names are the same topic for nodes in `namespace`."""
    return resolve(first, namespace) == resolve(second, namespace)


def is_in_bag(recorded: str, name: str) -> bool:
    """Return whether the full name `recorded` of a bag can be what the robot file calls `name`.

    A bag may come from a stack in any namespace, so that its name ends with `name`.
    """
    wanted = "/" + name.lstrip("/")
    return ("/" + recorded.lstrip("/")).endswith(wanted)


def why_not_a_name(name: str, longest: int = _LONGEST_TOPIC) -> str:
    """Return why ROS does not allow `name` for a topic, relative or absolute; an empty text when it does."""
    if not name.strip("/"):
        return "it is empty"
    wrong = re.search(r"[^A-Za-z0-9_/]", name)
    if wrong:
        said = "a space" if wrong.group().isspace() else f"'{wrong.group()}'"
        return f"{said} is not allowed: letters without accents, digits, '_' and '/' are"
    if "//" in name:
        return "it has '//'"
    if name.endswith("/"):
        return "it ends with '/'"
    digit = next((part for part in name.split("/") if part[:1].isdigit()), "")
    if digit:
        return f"'{digit}' begins with a digit"
    if len(name) > longest:
        return f"it has {len(name)} characters, {longest} are allowed"
    return ""


def topic_name(name: str) -> str:
    """Return `name`; raise ValueError when ROS does not allow it for a topic."""
    because = why_not_a_name(name)
    if because:
        raise ValueError(f"'{name}' is no name of a ROS topic: {because}")
    return name


def checked_namespace(namespace: str) -> str:
    """Return a namespace without its outer slashes, empty for the root; UserError when ROS does not allow it."""
    bare = namespace.removeprefix("/").removesuffix("/")
    because = why_not_a_name(bare, _LONGEST_NAMESPACE) if bare else ""
    if because:
        raise UserError(f"namespace '{namespace}' is no name that ROS allows: {because}")
    return bare
