"""The simulated arm is driven to a limit of its joints, by the description that it is shown with."""

from __future__ import annotations

import numpy as np
import pytest

from fosp_bringup.paths import robot_path
from fosp_cli.evaluation.simulated_scans import SimulatedJoints
from fosp_core.clock import Now, Received
from fosp_core.decisions import Reason
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmMeasured
from fosp_sim.env import Env
from fosp_sim.task.arm_kinematics import TOOL_ORIENTATION
from fosp_sim.task.scenario import Scenario

pytest.importorskip("pinocchio", reason="pip install -r requirements/arm.txt -c requirements/constraints.txt")
ELBOW, UPPER, MARGIN = 3, 2.9, 0.65


@pytest.fixture
def robot() -> RobotConfig:
    shipped = read_robot(robot_path("sim_arm").with_name("sim_arm.joints.yaml"))
    assert shipped.joints is not None
    narrow = shipped.joints.model_copy(update={"joint_limit_margins": {"joint4": MARGIN}})
    return shipped.model_copy(update={"joints": narrow})


def test_the_simulated_arm_stops_at_the_margin_of_its_elbow_and_drives_away_again(robot: RobotConfig) -> None:
    env = Env(parse_spec(Scenario, {"task": "safe_reach", "obstacles": {"count": 0}}, "an empty table"), robot)
    env.reset(0)
    joints, guard, command = SimulatedJoints(robot, env.world), ArmGuard(robot), np.zeros(3)
    elbows, shares = [], []
    for number in range(220):
        time_s = 0.01 * number
        view = joints.view(time_s)
        assert view is not None
        assert view.mismatch == ""
        wish = (-1.0, 0.0, 0.0) if number < 160 else (1.0, 0.0, 0.0)
        measured = ArmMeasured(Received(time_s, time_s), TOOL_ORIENTATION, ArmInputs(None, view))
        found = guard.judge(measured, wish, tuple(command.tolist()), Now(time_s, time_s))
        step = found.share * 0.25 * np.array(wish) - command
        command = command + np.clip(step, -0.04, 0.04)
        for _ in range(2):
            env.world.advance(command)
        elbows.append(env.world.state().joint_positions[ELBOW])
        shares.append((found.share, found.reason))
    assert shares[159] == (0.0, Reason.JOINT_LIMIT)
    assert UPPER - 1.2 * MARGIN < max(elbows) < UPPER - 0.9 * MARGIN
    assert elbows[-1] < max(elbows) - 0.05, "it drives away again"
