"""Names of the graph's topics and services: all relative, so that a namespace moves the whole stack."""

COLOR_IMAGE = "camera/color/image_raw"
CAMERA_INFO = "camera/color/camera_info"
DEPTH_IMAGE = "camera/aligned_depth_to_color/image_raw"
DEPTH_INFO = "camera/aligned_depth_to_color/camera_info"
LATENT = "fosp/latent"
PROPOSAL = "fosp/proposal"
VERDICT = "fosp/verdict"
FEEDBACK = "fosp/feedback"
MODEL_ANNOUNCEMENT = "fosp/model_announcement"
MODEL_STATUS = "fosp/model_status"
HEARTBEAT = "fosp/heartbeat"
RESET_EPISODE = "fosp/reset_episode"
JOINT_STATES = "joint_states"
ODOMETRY = "odom"
TOOL_POSE = "tool_pose"
DIAGNOSTICS = "/diagnostics"
CLOCK = "/clock"


def of_camera(topic: str, name: str) -> str:
    """The topic of the camera `name` that corresponds to one of ours, which are those of the camera named 'camera'."""
    return f"{name}/{topic.removeprefix('camera/')}"
