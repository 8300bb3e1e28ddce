"""A task that runs on in real time: ticks in, camera poses and feedback out. No threads, no ROS, no rendering."""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_sim.env import DECISION_PERIOD, make_world
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.feedback import Feedback, feedback
from fosp_sim.task.mjcf import TIMESTEP
from fosp_sim.task.scenario import Scenario
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import Pose, Vector

_DECISION_TICKS = round(DECISION_PERIOD / TIMESTEP)


@dataclass(frozen=True)
class Exposure:
    """A camera frame to be rendered, and what to say with it."""

    pose: Pose
    feedback: Feedback | None
    """None while no episode runs: before the first one, and after the last frame of one."""


class LiveSimulation:
    """The world never stops; episodes begin with `begin` and end by success or time limit."""

    def __init__(self, scenario: Scenario, robot: RobotConfig, camera_rate_hz: float) -> None:
        """UserError when the camera rate does not fit the physics rate or the robot does not fit the task."""
        ticks = 1.0 / TIMESTEP / camera_rate_hz if camera_rate_hz > 0 else 0.0
        if ticks < 1 or abs(ticks - round(ticks)) > 1e-6:
            raise UserError(f"camera_rate_hz must divide {1 / TIMESTEP:g}, such as 40 or 20; got {camera_rate_hz:g}")
        self.frame_ticks = round(ticks)
        self.scenario = scenario
        self.world = make_world(scenario, robot)
        self.world.reset(draw_scene(scenario, 0))
        self.episode: int | None = None
        """The running one."""
        self._ticks = 0
        # Frames that never coincide with the end of a decision period would never end an episode.
        self._end_ticks = _DECISION_TICKS if _DECISION_TICKS % self.frame_ticks == 0 else self.frame_ticks

    def begin(self, scene: Scene) -> Exposure:
        """Start the episode of `scene`, as draw_scene returns it."""
        self.world.reset(scene)
        self.episode, self._ticks = scene.episode, 0
        return self._exposure()

    def tick(self, twist: Vector) -> Exposure | None:
        """Simulate TIMESTEP under `twist` (n,); an exposure when a frame is due."""
        self.world.advance(twist)
        self._ticks += 1
        return self._exposure() if self._ticks % self.frame_ticks == 0 else None

    def _exposure(self) -> Exposure:
        happening = self.world.happening()
        pose = self.world.pose()
        if self.episode is None:
            return Exposure(pose, None)
        told = feedback(
            happening,
            is_first=self._ticks == 0,
            may_end=self._ticks % self._end_ticks == 0,
            out_of_time=self._ticks >= self.scenario.max_steps * _DECISION_TICKS,
        )
        if told.is_last:
            self.episode = None
        return Exposure(pose, told)
