"""The table of camera types and the source classes that it names."""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import fields

import pytest

from fosp_core.cameras import CAMERA_TYPES, DEVICES
from fosp_core.errors import UserError
from fosp_core.robot.config import CameraConfig
from fosp_core.specs import parse_spec
from fosp_perception.camera.image_source import CameraSettings


@pytest.mark.parametrize("name", CAMERA_TYPES)
def test_every_camera_type_names_a_source_class_that_takes_settings_and_a_clock(name: str) -> None:
    source = pkgutil.resolve_name(CAMERA_TYPES[name].source)
    assert list(inspect.signature(source).parameters)[:2] == ["settings", "now_ns"]
    own = {CAMERA_TYPES[name].identity, *CAMERA_TYPES[name].options}
    assert own <= {field.name for field in fields(CameraSettings)}


@pytest.mark.parametrize("name", DEVICES)
def test_a_robot_file_may_list_every_device(name: str) -> None:
    identity = DEVICES[name].identity
    camera = parse_spec(CameraConfig, {"source": name, identity: "one"}, "robot.yaml")
    assert {"source": name, identity: "one"}.items() <= camera.node_parameters(30.0).items()


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"source": "webcam"}, "source: must be one of realsense, opencv"),
        ({"source": "opencv"}, "a camera with source opencv needs device"),
    ],
)
def test_a_camera_that_could_not_be_opened_is_refused_in_one_line(camera: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_spec(CameraConfig, camera, "robot.yaml")
