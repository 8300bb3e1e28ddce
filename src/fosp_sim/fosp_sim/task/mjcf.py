"""Dimensions of the simulated robots, and the parts that the generated MuJoCo models share.

The models consist of primitives only, so that software rendering keeps up. Obstacles and goal are slots: every episode
sets shape, size, colour and place of geoms that always exist, so one compiled model and one renderer serve a process.
"""

from __future__ import annotations

from fosp_sim.task.scene import MAX_OBSTACLES

TIMESTEP = 0.005
"""Physics step, s. The periods of the 100 Hz command ticks and of the 40 Hz camera frames are multiples of it."""

SHOULDER_HEIGHT = 0.42
UPPER_ARM = 0.50
FOREARM = 0.52
WRIST_TO_TIP = 0.45
"""Link lengths of the arm, m. The tool is long, so that hand and forearm pass above the obstacles."""

TIP_RADIUS = 0.025
TOOL_MARGIN = 0.015
"""Distance, m, below which the tool is in violation without touching."""

ARM_CAMERA = (1.30, 0.0, 1.20)
"""Position of the third-person camera, m: in front of the robot, looking back and down at the table."""

BASE_RADIUS = 0.13
BASE_MARGIN = 0.03
WHEEL_RADIUS = 0.05
TRACK = 0.20
"""Distance between the wheels, m."""
ARENA = 1.5
"""Half the side of the walled square, m."""

# The margins are the `gap` of geoms: the distance within which MuJoCo reports a contact that does not push yet.
# Contact bits: robot surfaces carry OBSTACLE_BIT and obstacles answer to it; ground and wheels use GROUND_BIT.
GROUND_BIT, OBSTACLE_BIT = 1, 2

_HEADER = """
<mujoco model="{name}">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{timestep}" integrator="implicitfast" cone="elliptic" gravity="{gravity}">
    <flag midphase="disable"/>
  </option>
  <visual>
    <global offwidth="320" offheight="240"/>
    <quality offsamples="0" shadowsize="0" numslices="12" numstacks="8" numquads="1"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.55 0.55 0.55" specular="0 0 0"/>
    <map znear="0.02" zfar="20"/>
    <rgba haze="0.2 0.2 0.22 1"/>
  </visual>
  <default>
    <geom contype="0" conaffinity="0"/>
  </default>
"""

LIGHT = '<light pos="0 0 3" dir="0.25 0.15 -1" directional="true" castshadow="false" diffuse="0.35 0.35 0.35"/>'


def slots() -> str:
    """Return the mocap bodies of the obstacles (a head and a post each) and of the goal (shape, stand and foot)."""
    obstacle = """
    <body name="obstacle{i}" mocap="true" pos="0 0 -5">
      <geom name="obstacle{i}" type="box" size="0.05 0.05 0.1" conaffinity="{bit}" solref="0.01 1"/>
      <geom name="post{i}" type="cylinder" size="0.01 0.1" pos="0 0 -0.1"/>
    </body>"""
    goal = """
    <body name="goal" mocap="true" pos="0 0 -5">
      <geom name="goal" type="sphere" size="0.04 0.04 0.04"/>
      <geom name="stand" type="cylinder" size="0.005 0.1" pos="0 0 -0.1" rgba="0.75 0.75 0.75 1"/>
      <geom name="foot" type="cylinder" size="0.025 0.002" pos="0 0 -0.2" rgba="0.75 0.75 0.75 1"/>
    </body>"""
    return "".join(obstacle.format(i=i, bit=OBSTACLE_BIT) for i in range(MAX_OBSTACLES)) + goal


def header(name: str, gravity: str) -> str:
    """Return the opening of a model's XML with the options, visual settings and defaults that all tasks share."""
    return _HEADER.format(name=name, timestep=TIMESTEP, gravity=gravity)
