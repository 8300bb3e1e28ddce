"""The MuJoCo models, generated: primitives only, so that software rendering keeps up.

Obstacles and goal are slots: every episode sets shape, size, colour and place of geoms that are always there, so
one compiled model and one renderer serve a whole process.
"""

from __future__ import annotations

from fosp_sim.task.scenario import MAX_OBSTACLES

TIMESTEP = 0.005
"""s; a multiple of it is both a 100 Hz command tick and a 40 Hz camera frame."""

SHOULDER_HEIGHT = 0.42
UPPER_ARM = 0.50
FOREARM = 0.52
WRIST_TO_TIP = 0.45
"""Links of the arm, m. The tool is long, so that hand and forearm pass above the obstacles."""

TIP_RADIUS = 0.025
TOOL_MARGIN = 0.015
"""The tool is in violation from this distance on, before it touches."""

ARM_CAMERA = (1.30, 0.0, 1.20)
"""Where the third-person camera stands: before the robot, looking back and down at the table, m."""

BASE_RADIUS = 0.13
BASE_MARGIN = 0.03
WHEEL_RADIUS = 0.05
TRACK = 0.20
"""Distance between the wheels, m."""
ARENA = 1.5
"""Half the side of the walled square, m."""

# A geom's `gap` is the distance within which MuJoCo reports a contact that does not push yet: our margins.
# Contact bits: robot surfaces carry OBSTACLE_BIT, obstacles answer to it; ground and wheels use GROUND_BIT.
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
    """Mocap bodies of the obstacles (a head and a post each) and of the goal (shape, stand, foot)."""
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
    """Return the opening of a model's XML: options, visual settings and defaults that every task shares."""
    return _HEADER.format(name=name, timestep=TIMESTEP, gravity=gravity)
