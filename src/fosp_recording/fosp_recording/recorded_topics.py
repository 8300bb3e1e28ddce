"""Which topics of a robot a bag must hold: for recorder_node, for `ros2 bag record`, and for a security policy."""

from __future__ import annotations

from fosp_core import topics
from fosp_core.specs import RobotConfig


def default_topics(robot: RobotConfig) -> dict[str, str]:
    """What the learner reads, and what explains an episode afterwards: relative topic -> type."""
    recorded = {
        **camera_topics(robot),
        robot.command_topic: f"geometry_msgs/msg/{robot.command_type}",
        robot.state_topic: {"JointState": "sensor_msgs/msg/JointState", "Odometry": "nav_msgs/msg/Odometry"}[
            robot.state_type
        ],
        topics.LATENT: "fosp_msgs/msg/Latent",
        topics.PROPOSAL: "fosp_msgs/msg/ActionProposal",
        topics.VERDICT: "fosp_msgs/msg/SafetyVerdict",
        topics.MARK: "std_msgs/msg/String",
    }
    if robot.pose_topic:
        recorded[robot.pose_topic] = "geometry_msgs/msg/PoseStamped"
    return recorded


def camera_topics(robot: RobotConfig) -> dict[str, str]:
    """Topics of the robot's cameras -> type: those of camera_node, or where its drivers publish the same."""
    found = {}
    for camera in robot.cameras:
        image = topics.of_camera(topics.COLOR_IMAGE, camera.name)
        kind = "CompressedImage" if robot.is_compressed(image) else "Image"
        found[robot.image_topic(image)] = f"sensor_msgs/msg/{kind}"
        found[info_beside(robot.image_topic(image))] = "sensor_msgs/msg/CameraInfo"
        if camera.depth:
            found[topics.of_camera(topics.DEPTH_IMAGE, camera.name)] = "sensor_msgs/msg/Image"
            found[topics.of_camera(topics.DEPTH_INFO, camera.name)] = "sensor_msgs/msg/CameraInfo"
    return found


def all_topics(robot: RobotConfig) -> list[str]:
    """Relative names, feedback included, for a recorder other than ours."""
    return [*default_topics(robot), topics.FEEDBACK]


def frame_topic(robot: RobotConfig) -> str:
    """The camera_info beside the images of the first camera: one small message for each frame, with its stamp."""
    return info_beside(robot.image_topic(topics.of_camera(topics.COLOR_IMAGE, robot.cameras[0].name)))


def image_topics(robot: RobotConfig) -> dict[str, str]:
    """Those of them that are images -> type: colour, and depth where a camera gives it."""
    return {topic: kind for topic, kind in camera_topics(robot).items() if not kind.endswith("CameraInfo")}


def info_beside(image: str) -> str:
    """The camera_info that belongs to the images of the topic `image`."""
    return f"{image.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
