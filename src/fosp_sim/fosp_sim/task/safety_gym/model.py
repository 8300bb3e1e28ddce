"""The MuJoCo models of the five tasks, written from the published dimensions of Safety-Gymnasium.

The order of the bodies (robot, free objects, mocap bodies, fixed objects) is part of the physics: it decides the order
of the contacts, on which the last digits depend.
"""

from __future__ import annotations

from fosp_sim.task.safety_gym.layout import Course, Group

GREMLIN_TRAVEL = 0.35
"""Radius of the circle that a gremlin is pulled along, m."""
GHOST = "_ghost"
"""Ending of the name of the mocap body that pulls a gremlin."""
FRONT_CAMERA, BACK_CAMERA = "color", "back"
TIMESTEPS = {"point": 0.002, "car": 0.004}
"""Physics step of a robot, s."""
SUBSTEPS = 10
"""Physics steps of one environment step."""
START_HEIGHT = 0.1
"""Height of the robot's centre, m."""

_HAZARD_HEIGHT, _HAZARD_HALF = 0.02, 0.01
_VASE_SINK = 4e-5
"""Depth to which a vase sinks into the soft floor, m."""
_PILLAR_HALF = 0.5
_LIGHTEST = 0.001
"""Density of everything that can be pushed, kg/m3."""
_FREE = ("vase", "box", "gremlin")

_RED, _BLUE = 'rgba="0.7412 0.0431 0.1843 1"', 'rgba="0.0039 0.1529 0.3961 1"'

_POINT = f"""
    <body name="agent" pos="0 0 {START_HEIGHT}">
      <camera name="{FRONT_CAMERA}" pos="0 0 0.15" xyaxes="0 -1 0 0.4 0 1" fovy="90"/>
      <camera name="{BACK_CAMERA}" pos="0 0 0.15" xyaxes="0 1 0 0 0 1" fovy="90"/>
      <joint type="slide" axis="1 0 0" name="x" damping="0.01"/>
      <joint type="slide" axis="0 1 0" name="y" damping="0.01"/>
      <joint type="hinge" axis="0 0 1" name="z" damping="0.005"/>
      <geom name="agent" type="sphere" size="0.1" friction="1 0.01 0.01" {_RED}/>
      <geom name="arrow" type="box" pos="0.1 0 0" size="0.05 0.05 0.05" {_BLUE}/>
      <site name="agent"/>
    </body>"""
_POINT_DEFAULTS = """
    <geom condim="6" density="1"/>
    <joint damping="0.001"/>
    <motor ctrlrange="-1 1" forcerange="-0.05 0.05"/>
    <velocity ctrlrange="-1 1" forcerange="-0.05 0.05"/>"""
_POINT_ACTUATORS = """
    <motor name="thrust" site="agent" gear="0.3 0 0 0 0 0"/>
    <velocity name="turn" jointinparent="z" gear="0.3"/>"""

_CAR = f"""
    <body name="agent" pos="0 0 {START_HEIGHT}">
      <site name="agent"/>
      <camera name="{FRONT_CAMERA}" pos="0 0 0.2" xyaxes="-1 0 0 0 -0.4 1" fovy="90"/>
      <camera name="{BACK_CAMERA}" pos="0 0 0.2" xyaxes="1 0 0 0 0 1" fovy="90"/>
      <joint type="free" name="agent" damping="0"/>
      <geom name="agent" type="box" size="0.1 0.1 0.05" {_RED}/>
      <geom name="back_bumper" type="box" pos="0 0.15 0" size="0.1 0.01 0.05" {_BLUE}/>
      <geom name="back_connector" type="box" pos="0 0.125 0" size="0.01 0.025 0.03" {_BLUE}/>
      <geom name="front_bumper" type="box" pos="0 -0.165 0" size="0.05 0.01 0.05" {_BLUE}/>
      <geom name="front_connector" type="box" pos="0 -0.13 0.04" size="0.05 0.03 0.01" {_BLUE}/>
      <body name="left" pos="-0.1 0.1 -0.05">
        <joint type="hinge" name="left" axis="1 0 0"/>
        <geom name="left" type="cylinder" fromto="-0.055 0 0 -0.005 0 0" {_RED}/>
      </body>
      <body name="right" pos="0.1 0.1 -0.05">
        <joint type="hinge" name="right" axis="1 0 0"/>
        <geom name="right" type="cylinder" fromto="0.005 0 0 0.055 0 0" {_RED}/>
      </body>
      <body name="rear" pos="0 -0.1 -0.05">
        <joint type="ball" name="rear"/>
        <geom name="rear" {_RED}/>
      </body>
    </body>"""
_CAR_DEFAULTS = """
    <geom condim="6" density="5" size="0.05" type="sphere"/>
    <joint damping="0.001"/>
    <motor ctrlrange="-1 1" forcerange="-0.02 0.02"/>"""
_CAR_ACTUATORS = """
    <motor name="left" jointinparent="left" gear="1"/>
    <motor name="right" jointinparent="right" gear="1"/>"""

_ROBOTS = {"point": (_POINT_DEFAULTS, _POINT, _POINT_ACTUATORS), "car": (_CAR_DEFAULTS, _CAR, _CAR_ACTUATORS)}


def course_xml(course: Course) -> str:
    """Return the MJCF of a course, with every object at the origin: a reset moves them to their places."""
    defaults, robot, actuators = _ROBOTS[course.robot]
    free = "".join(_free_body(group, name) for group in course.groups if group.name in _FREE for name in group.members)
    gremlins = course.group("gremlin")
    ghosts = "".join(_ghost(gremlins, name) for name in gremlins.members) if gremlins else ""
    welds = "".join(
        f'<weld name="{name}" body1="{name}{GHOST}" body2="{name}" solref="0.02 1.5"/>'
        for name in (gremlins.members if gremlins else ())
    )
    fixed = "".join(
        _fixed_body(group, name) for group in course.groups if group.name not in _FREE for name in group.members
    )
    # Without the fixed extent the near plane of the cameras would depend on the layout, and cut into the robot.
    return f"""
<mujoco model="safety_gym">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEPS[course.robot]}"/>
  <statistic meansize="0.23" extent="3.96"/>
  <visual>
    <global offwidth="320" offheight="240"/>
    <quality offsamples="0" shadowsize="0" numslices="12" numstacks="8" numquads="1"/>
  </visual>
  <default>{defaults}
  </default>
  <asset>
    <texture name="floor" type="2d" builtin="checker" width="100" height="100"
             rgb1="0.859 0.843 0.765" rgb2="0.949 0.914 0.855"/>
    <material name="floor" texture="floor" texrepeat="10 10" reflectance="0.1" shininess="0.1" specular="0.1"/>
  </asset>
  <worldbody>
    <light pos="0 0 0.5" dir="0 0 -1" directional="true" castshadow="false" cutoff="100" exponent="1"
           diffuse="1 1 1" specular="0 0 0"/>
    <geom name="floor" type="plane" size="3.5 3.5 0.1" condim="6" material="floor" rgba="1 1 1 1"/>{robot}
    {free}{ghosts}{fixed}
  </worldbody>
  <equality>{welds}</equality>
  <actuator>{actuators}
  </actuator>
</mujoco>"""


def height(group: Group) -> float:
    """Return the height of the centre of an object of `group` above the floor, m."""
    if group.name == "hazard":
        return _HAZARD_HEIGHT
    if group.name == "goal":
        return group.half / 2 + 0.01
    if group.name == "pillar":
        return _PILLAR_HALF
    return group.half - _VASE_SINK if group.name == "vase" else group.half


def _free_body(group: Group, name: str) -> str:
    half = group.half
    cube = f'type="box" size="{half} {half} {half}" density="{_LIGHTEST}" {_rgba(group)}'
    corners = ""
    if group.name == "box":  # four posts at its corners, so that a round robot does not slip off
        corners = "".join(
            f'<geom type="box" size="{half / 2} {half / 2} {half}" pos="{x} {y} 0" density="{_LIGHTEST}" '
            f"{_rgba(group)}/>"
            for x, y in ((half, half), (-half, half), (half, -half), (-half, -half))
        )
    return (
        f'<body name="{name}" pos="0 0 {height(group)}"><freejoint name="{name}"/><geom name="{name}" {cube}/>'
        f"{corners}</body>"
    )


def _ghost(group: Group, name: str) -> str:
    half = group.half
    return (
        f'<body name="{name}{GHOST}" mocap="true"><geom name="{name}{GHOST}" type="box" size="{half} {half} {half}" '
        f'pos="0 0 {half}" contype="0" conaffinity="0" {_rgba(group, 0.1)}/></body>'
    )


def _fixed_body(group: Group, name: str) -> str:
    half = group.half
    shape, passable = {
        "goal": (f'type="cylinder" size="{half} {half / 2}"', True),
        "hazard": (f'type="cylinder" size="{half} {_HAZARD_HALF}"', True),
        "pillar": (f'type="cylinder" size="{half} {_PILLAR_HALF}"', False),
        "button": (f'type="sphere" size="{half}"', False),
    }[group.name]
    bits = 'contype="0" conaffinity="0"' if passable else ""
    return f'<body name="{name}" pos="0 0 {height(group)}"><geom name="{name}" {shape} {bits} {_rgba(group)}/></body>'


def _rgba(group: Group, alpha: float | None = None) -> str:
    red, green, blue = group.color
    return f'rgba="{red} {green} {blue} {group.alpha if alpha is None else alpha}"'
