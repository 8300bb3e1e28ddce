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

_HEAD = """
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

_LIGHT = '<light pos="0 0 3" dir="0.25 0.15 -1" directional="true" castshadow="false" diffuse="0.35 0.35 0.35"/>'


def _slots() -> str:
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


def arm_xml() -> str:
    """The 7-DoF arm of safe_reach at a table, its long tool pointing down, and the third-person camera `color`."""
    head = _HEAD.format(name="safe_reach", timestep=TIMESTEP, gravity="0 0 0")
    surface = f'contype="{OBSTACLE_BIT}" density="300"'
    tool = f'{surface} gap="{TOOL_MARGIN}"'
    link = 'rgba="0.85 0.85 0.85 1"'
    joints = "\n".join(
        f'<position name="servo{i}" joint="joint{i}" kp="{kp}" kv="{kv}" forcerange="-{force} {force}"/>'
        for i, (kp, kv, force) in enumerate([(4000, 260, 200)] * 4 + [(1500, 60, 80)] * 3, start=1)
    )
    # Gravity is off: a robot arm's own controller compensates for it.
    return f"""{head}
  <worldbody>
    {_LIGHT}
    <camera name="color" pos="{ARM_CAMERA[0]} {ARM_CAMERA[1]} {ARM_CAMERA[2]}" xyaxes="0 1 0 -0.8 0 0.6" fovy="36"/>
    <geom name="table" type="box" size="0.62 0.75 0.02" pos="0.42 0 -0.02" rgba="0.30 0.27 0.25 1"/>
    <body name="shadow" mocap="true" pos="0 0 -5">
      <geom name="shadow" type="cylinder" size="0.025 0.001" rgba="0.02 0.02 0.02 1"/>
    </body>
    {_slots()}
    <geom name="pedestal" type="cylinder" size="0.08 0.17" pos="0 0 0.17" {link}/>
    <body name="link1" pos="0 0 {SHOULDER_HEIGHT}">
      <joint name="joint1" axis="0 0 1" armature="0.5" range="-2.9 2.9"/>
      <geom type="sphere" size="0.075" density="300" {link}/>
      <body name="link2">
        <joint name="joint2" axis="0 1 0" armature="0.5"/>
        <geom type="capsule" fromto="0 0 0 0 0 {UPPER_ARM}" size="0.05" {surface} {link}/>
        <body name="link3" pos="0 0 {UPPER_ARM}">
          <joint name="joint3" axis="0 0 1" armature="0.5"/>
          <geom type="sphere" size="0.055" density="300" {link}/>
          <body name="link4">
            <joint name="joint4" axis="0 1 0" armature="0.5"/>
            <geom type="capsule" fromto="0 0 0 0 0 {FOREARM}" size="0.04" {surface} {link}/>
            <body name="link5" pos="0 0 {FOREARM}">
              <joint name="joint5" axis="0 0 1" armature="0.1"/>
              <geom type="sphere" size="0.045" density="300" {link}/>
              <body name="link6">
                <joint name="joint6" axis="0 1 0" armature="0.1"/>
                <geom type="sphere" size="0.02" density="300" {link}/>
                <body name="link7">
                  <joint name="joint7" axis="0 0 1" armature="0.1"/>
                  <geom type="capsule" fromto="0 0 0 0 0 0.10" size="0.03" {surface} rgba="0.55 0.55 0.55 1"/>
                  <geom name="shaft" type="capsule" fromto="0 0 0.10 0 0 {WRIST_TO_TIP}" size="0.010" {tool}
                        rgba="0.95 0.75 0.2 1"/>
                  <geom name="tip" type="sphere" size="{TIP_RADIUS}" pos="0 0 {WRIST_TO_TIP}" {tool}
                        rgba="1 0.15 0.1 1"/>
                  <site name="tip" pos="0 0 {WRIST_TO_TIP}"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>{joints}</actuator>
</mujoco>"""


def base_xml() -> str:
    """The differential-drive base of safe_goal in a walled arena, with its front camera `color`."""
    head = _HEAD.format(name="safe_goal", timestep=TIMESTEP, gravity="0 0 -9.81")
    surface = f'contype="{OBSTACLE_BIT}" gap="{BASE_MARGIN}"'
    ground = f'conaffinity="{GROUND_BIT}"'
    walls = "".join(
        f'<geom name="wall{i}" type="box" size="{sx} {sy} 0.06" pos="{x} {y} 0.06" conaffinity="{OBSTACLE_BIT}" '
        'rgba="0.8 0.7 0.55 1"/>'
        for i, (x, y, sx, sy) in enumerate(
            [(ARENA, 0, 0.02, ARENA), (-ARENA, 0, 0.02, ARENA), (0, ARENA, ARENA, 0.02), (0, -ARENA, ARENA, 0.02)]
        )
    )
    wheels = "".join(
        f"""
      <body name="{side}_wheel" pos="0 {y} 0">
        <joint name="{side}_wheel" axis="0 1 0" armature="0.002" damping="0.001"/>
        <geom type="sphere" size="{WHEEL_RADIUS}" mass="0.2" friction="1.5" {ground} rgba="0.1 0.1 0.1 1"/>
      </body>"""
        for side, y in (("left", TRACK / 2), ("right", -TRACK / 2))
    )
    # Spheres touch the ground in a point; a cylinder's line of contact would scrub in every turn.
    # Casters slide freely: condim 1 with priority, or the base hardly moves.
    casters = "".join(
        f'<geom type="sphere" size="0.02" pos="{x} 0 {0.02 - WHEEL_RADIUS}" mass="0.1" condim="1" priority="1" '
        f'{ground} rgba="0.1 0.1 0.1 1"/>'
        for x in (0.09, -0.09)
    )
    return f"""{head}
  <worldbody>
    {_LIGHT}
    <geom name="ground" type="plane" size="{ARENA} {ARENA} 0.1" contype="{GROUND_BIT}" rgba="0.30 0.27 0.25 1"/>
    {walls}
    {_slots()}
    <body name="base" pos="0 0 {WHEEL_RADIUS}">
      <freejoint name="base"/>
      <geom name="chassis" type="cylinder" size="{BASE_RADIUS} 0.05" pos="0 0 0.05" mass="4" {surface}
            rgba="0.85 0.85 0.85 1"/>
      <camera name="color" pos="0.05 0 0.30" xyaxes="0 -1 0 0.2079 0 0.9781" fovy="80"/>
      <site name="tip"/>{wheels}{casters}
    </body>
  </worldbody>
  <actuator>
    <velocity name="left" joint="left_wheel" kv="2" forcerange="-5 5"/>
    <velocity name="right" joint="right_wheel" kv="2" forcerange="-5 5"/>
  </actuator>
</mujoco>"""
