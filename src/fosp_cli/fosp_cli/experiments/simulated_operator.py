"""A simulated person who corrects the policy on the live graph: takes over by a gamepad, drives carefully, hands back.

They see the scene as it is. They take over when the policy hangs, or when the true distance from an obstacle falls
below a bound, and hand back when the robot is clear of it. `Corrections` decides, without ROS; `OperatorHands` holds
the gamepad. They save for it: a take-over begins only when the budget, a share of the steps so far, covers a short one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Joy

from fosp_bringup.paths import teleop_path
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.trail import HANGING_SHARE
from fosp_core.ros import qos
from fosp_core.ros.fields import heading_of
from fosp_core.specs import read_yaml
from fosp_msgs.msg import StepFeedback
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import DECISION_PERIOD
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.scenario import Scenario, read_scenario
from fosp_sim.task.world import RobotState

DEVICE = "gamepad"
SHORTEST = 20
"""Decision steps that a take-over lasts at least: a second."""
CLEAR = 2.0
"""Multiple of the bound of the distance from which on the robot is handed back."""
Action = NDArray[np.float32]


@dataclass(frozen=True)
class OperatorSettings:
    """A simulated person: how they drive, when they take over, and how often they may."""

    kind: Literal["careful"] = "careful"
    """Demonstrator by which they drive."""
    budget: float = 0.1
    """Largest share of the steps so far that they drive."""
    hang_s: float = 1.5
    """They take over when the policy has hung for this time, s: it dithers, too, when it gets no further in it than
    HANGING_SHARE of what the robot could have gone, as the noise of exploration keeps every robot moving."""
    distance_m: float = 0.02
    """They take over when the commanded point is nearer to an obstacle than this, m."""

    def __post_init__(self) -> None:
        if self.kind != "careful":
            raise UserError(f"--operator must be careful, got '{self.kind}'")
        if not 0.0 < self.budget <= 1.0:
            raise UserError(f"--budget is a share of the steps, above 0 and up to 1, got {self.budget:g}")


@dataclass
class EpisodeCorrections:
    """Account of one episode, in decision steps."""

    steps: int = 0
    operated: int = 0
    take_overs: int = 0


class Corrections:
    """Decides step by step whether the person drives, and how. `begin` an episode before its first `step`."""

    def __init__(
        self,
        settings: OperatorSettings,
        scenario: Scenario,
        robot: RobotConfig,
        earlier: Sequence[EpisodeCorrections] = (),
    ) -> None:
        """`earlier` are the episodes before, which count for the budget."""
        self._settings, self._scenario, self._robot = settings, scenario, robot
        fastest = max((axis.scale for axis in robot.action.axes if axis.name.startswith("linear")), default=0.0)
        self._least_m = HANGING_SHARE * fastest * settings.hang_s
        """Way that a robot that does not hang gets in `hang_s`, m."""
        self._trail: deque[tuple[float, tuple[float, float, float]]] = deque()
        """Times, s, and positions, m, of the last `hang_s`."""
        self._driven = 0
        """Steps of the take-over that lasts; 0: the policy drives."""
        self.episodes = list(earlier)

    def begin(self, episode: int) -> None:
        """Look at the scene of an episode."""
        self._scene = draw_scene(self._scenario, episode)
        seed = self._scenario.seed + episode
        self._demonstrator = Demonstrator(self._settings.kind, self._scene, self._robot, seed, noise=False)
        self._trail.clear()
        self._driven = 0
        self.episodes.append(EpisodeCorrections())

    def step(self, state: RobotState, time_s: float | None = None) -> Action | None:
        """Return the action (n,) of the person in the present decision step; None while the policy drives.

        `time_s` is the time since the first frame of the episode; None: one step has passed since the last call. On a
        busy machine calls are missing, and the steps count all the same.
        """
        account = self.episodes[-1]
        passed = 1 if time_s is None else max(0, round(time_s / DECISION_PERIOD) + 1 - account.steps)
        time_s = account.steps * DECISION_PERIOD if time_s is None else time_s
        account.steps += passed
        self._trail.append((time_s, state.position))
        while len(self._trail) > 1 and self._hung(self._trail[1][0]):
            self._trail.popleft()
        room = float(self._scene.clearance(np.array([state.position[:2]]), time_s)[0])
        if self._driven == 0 and not (self._affords(SHORTEST) and self._worried(room)):
            return None
        done = self._driven >= SHORTEST and room > CLEAR * self._settings.distance_m
        if done or not self._affords(1):
            self._driven = 0
            self._trail.clear()
            return None
        account.take_overs += self._driven == 0
        driven = passed if self._driven else 1
        account.operated += driven
        self._driven += driven
        return self._demonstrator.act(state, time_s)

    def summary(self) -> dict[str, Any]:
        """Return what was spent of the budget: the share of all steps, and by episode take-overs and shares."""
        steps, operated = (sum(getattr(e, name) for e in self.episodes) for name in ("steps", "operated"))
        return {
            "kind": self._settings.kind,
            "budget": self._settings.budget,
            "share": round(operated / max(1, steps), 4),
            "take_overs": [e.take_overs for e in self.episodes],
            "shares": [round(e.operated / max(1, e.steps), 4) for e in self.episodes],
        }

    def _affords(self, steps: int) -> bool:
        total, operated = (sum(getattr(e, name) for e in self.episodes) for name in ("steps", "operated"))
        return operated + steps <= self._settings.budget * total

    def _worried(self, room: float) -> bool:
        (begun_s, begin), (_, end) = self._trail[0], self._trail[-1]
        return (self._hung(begun_s) and math.dist(begin, end) < self._least_m) or room < self._settings.distance_m

    def _hung(self, since_s: float) -> bool:
        """Return True if what has been so since `since_s` has been so for long enough to be a hang."""
        return self._trail[-1][0] - since_s >= self._settings.hang_s - DECISION_PERIOD - 1e-6


class OperatorHands:
    """A gamepad in the hands of the simulated person, as a context; its node spins in a thread of its own."""

    def __init__(
        self,
        settings: OperatorSettings,
        scenario: Path,
        robot: RobotConfig,
        earlier: Sequence[EpisodeCorrections] = (),
    ) -> None:
        self.corrections = Corrections(settings, read_scenario(scenario), robot, earlier)
        layout = read_yaml(teleop_path(DEVICE))
        self._deadman, self._robot = int(layout["deadman"]), robot
        self._sticks = [int(layout["axes"][axis.name]["axis"]) for axis in robot.action.axes]
        self._deadzone = float(layout.get("deadzone", 0.08))
        self._state: RobotState | None = None
        self._episode, self._frames = -1, 0
        """Number of the episode, and of the frames since its first one: a simulation that lags has less time."""
        self._running = False
        self._client = GraphClient("simulated_operator")
        node = self._client.node
        self._joy = node.create_publisher(Joy, str(layout["topic"]), qos.STEP)
        if robot.pose_topic:
            node.create_subscription(PoseStamped, robot.pose_topic, lambda m: self._on_pose(m.pose), qos.SENSOR)
        else:
            node.create_subscription(Odometry, robot.state_topic, lambda m: self._on_pose(m.pose.pose), qos.SENSOR)
        node.create_subscription(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.RECORD)
        node.create_timer(DECISION_PERIOD, self._step)

    def __enter__(self) -> OperatorHands:
        self._client.spin_in_thread()
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def _on_pose(self, pose: Any) -> None:
        point = pose.position
        turned = heading_of(pose.orientation) if self._robot.kind == "base" else 0.0
        self._state = RobotState((point.x, point.y, point.z), turned, (), (), (0.0,) * 4)

    def _on_feedback(self, message: StepFeedback) -> None:
        if message.episode != self._episode or (message.is_first and not self._running):
            self._episode = int(message.episode)
            self.corrections.begin(self._episode)
            self._frames = -1
        self._frames += 1
        self._running = not message.is_last

    def _step(self) -> None:
        action = None
        if self._running and self._state is not None:
            action = self.corrections.step(self._state, self._frames / self._robot.camera_frame_rate_hz)
        message = Joy(axes=[0.0] * 8, buttons=[0] * 11)
        message.header.stamp = self._client.node.get_clock().now().to_msg()
        if action is not None:
            message.buttons[self._deadman] = 1
            for stick, value in zip(self._sticks, action.tolist(), strict=True):
                deflected = self._deadzone + (1.0 - self._deadzone) * abs(value)
                message.axes[stick] = math.copysign(deflected, value) if value else 0.0
        self._joy.publish(message)
