"""The base class of simulator nodes: it obeys the robot's command topic and serves requests to begin episodes."""

from __future__ import annotations

from collections.abc import Sequence

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.command_message import twist_command
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_msgs.srv import ResetEpisode
from fosp_sim.real_time import CommandIntake
from fosp_sim.task.scenario import read_scenario

PARAMETERS = (
    NodeParameter("scenario", "", "File of the scenario."),
    ROBOT,
    NodeParameter("auto_reset", False, "Begin episodes by itself, and not only when fosp/reset_episode is called."),
)


class SimulatorNode(Node):
    """Passes the robot's command topic to `_intake`, and answers fosp/reset_episode with `begin`.

    The parameters are `scenario` and `robot` (files) and `auto_reset` (episodes begin by themselves). Raise UserError
    when one of the files cannot be used.
    """

    def __init__(self, name: str, parameters: Sequence[NodeParameter] = PARAMETERS) -> None:
        """Declare `parameters`, which are PARAMETERS and those of the subclass."""
        super().__init__(name)
        declare(self, parameters)
        self._robot = read_robot(path_parameter(self, "robot"))
        self._scenario = read_scenario(path_parameter(self, "scenario"))
        self._intake = CommandIntake(self._robot)
        self._next_episode = 0
        """Number of the episode after the one that began last."""

    # -- for subclasses ------------------------------------------------------------------------------
    def begin(self, episode: int) -> None:
        """Begin `episode`, 0 or more, and set `_next_episode`. Raise UserError when it cannot begin."""
        raise NotImplementedError

    def now_s(self) -> float:
        """Return the time, s, on the clock that measures the age of commands."""
        raise NotImplementedError

    def _listen_to_the_graph(self) -> None:
        """Subscribe to commands and serve requests. Subclasses call this when they are ready for them."""
        kind = TwistStamped if self._robot.command_type == "TwistStamped" else Twist
        self.create_subscription(kind, self._robot.command_topic, self._on_command, qos.COMMAND)
        self.create_service(ResetEpisode, topics.RESET_EPISODE, self._on_reset)

    # -- from the graph ------------------------------------------------------------------------------
    def _on_command(self, message: TwistStamped | Twist) -> None:
        stamped = isinstance(message, TwistStamped)
        twist = message.twist if stamped else message
        frame_id = message.header.frame_id if stamped else self._robot.action.frame_id
        try:
            self._intake.receive(twist_command(twist, self._robot.action), frame_id, self.now_s())
        except UserError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)

    def _on_reset(self, request: ResetEpisode.Request, response: ResetEpisode.Response) -> ResetEpisode.Response:
        episode = request.episode
        if episode == ResetEpisode.Request.EPISODE_NEXT:
            episode = self._next_episode
        if not 0 <= episode < 2**31:
            response.message = f"episode must be 0 or more, or {ResetEpisode.Request.EPISODE_NEXT} for the next one"
            return response
        try:
            self.begin(episode)
        except UserError as error:
            response.message = str(error)
            return response
        response.success, response.episode = True, episode
        response.message = f"episode {episode}: seed {self._scenario.seed + episode}"
        return response
