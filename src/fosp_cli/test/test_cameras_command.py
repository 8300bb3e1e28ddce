"""`fosp cameras`: a camera of the SDK, a video file, drivers that hang, and what is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from fosp_cli.cli import run
from fosp_cli.commands.robot import cameras as command
from fosp_core.robot.config import CameraConfig
from fosp_core.specs import parse_spec
from fosp_perception.camera.devices import FoundCamera, as_json, from_json, realsense_cameras, with_thumbnail
from fosp_perception.camera.v4l2 import CameraMode

MODES = (CameraMode(1280, 720, 30.0, "MJPG"), CameraMode(640, 480, 15.0, "YUYV"), CameraMode(640, 480, 30.0, "MJPG"))
WEBCAM = FoundCamera("opencv", "/dev/v4l/by-id/usb-C920:x", "HD Pro Webcam C920", "ABC123", MODES)
REALSENSE = FoundCamera("realsense", "012345678901", "Intel RealSense D435", "012345678901", MODES, usb="3.2")


def test_the_nearest_mode_to_the_usual_one_is_proposed() -> None:
    assert WEBCAM.mode == MODES[2]
    assert FoundCamera("opencv", "/dev/video0", "c", "", ()).mode is None


@pytest.mark.parametrize("camera", [WEBCAM, REALSENSE])
def test_what_is_proposed_for_the_robot_file_is_what_it_takes(camera: FoundCamera) -> None:
    entry = parse_spec(CameraConfig, yaml.safe_load(camera.in_robot_file("wrist")), "test")
    assert (entry.name, entry.source, entry.width, entry.height) == ("wrist", camera.source, 640, 480)
    assert camera.identity in (entry.serial, entry.device)


def test_a_camera_comes_through_json_unchanged() -> None:
    assert from_json(json.loads(json.dumps(as_json(REALSENSE)))) == REALSENSE


@pytest.mark.slow
def test_a_realsense_is_listed_with_its_modes_and_gives_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("pyrealsense2", reason="pip install -r requirements/realsense.txt")
    from virtual_realsense import HEIGHT, RATE_HZ, SERIAL, WIDTH, VirtualPlug, record

    plug = VirtualPlug(record(tmp_path / "camera.db3", 90))
    with plug:
        (found,) = realsense_cameras(plug.context)
        assert (found.serial, found.name, found.usb) == (SERIAL, "Virtual RealSense", "3.2")
        assert found.modes == (CameraMode(WIDTH, HEIGHT, RATE_HZ, ""),)
        shown = with_thumbnail(found, tmp_path, plug.context)
        assert shown.problem == ""
        picture = cv2.imread(shown.thumbnail)
        assert picture.shape == (240, 320, 3)
        blue, _, red = picture[10, 10].tolist()
        assert red > blue + 50, "RGB, not BGR"
    assert with_thumbnail(found, tmp_path, plug.context).problem, "unplugged meanwhile"


def test_a_camera_without_a_picture_says_why(tmp_path: Path) -> None:
    gone = with_thumbnail(FoundCamera("opencv", str(tmp_path / "video7"), "c", "", MODES), tmp_path)
    assert "no such device" in gone.problem
    assert gone.thumbnail == ""


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "played.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_what_a_driver_told_before_it_hung_or_ended_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_TIMEOUT_S", 4.0)
    line = json.dumps(as_json(WEBCAM))
    hangs = f"import sys, time\nif sys.argv[1] == 'opencv': print({line!r}, flush=True); time.sleep(60)\n"
    found, remarks = command.connected(program=program(tmp_path, hangs))
    assert found == [WEBCAM]
    assert [remark for remark in remarks if "opencv: a camera did not answer" in remark]
    ends = f"import os, sys\nprint({line!r}, flush=True)\nos.abort() if sys.argv[1] == 'opencv' else None\n"
    found, remarks = command.connected(program=program(tmp_path, ends))
    assert found[-1] == WEBCAM
    assert [remark for remark in remarks if "ended with" in remark]


def test_the_table_fits_eighty_columns_and_tells_what_to_write(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(command, "connected", lambda folder: ([REALSENSE, WEBCAM], ["a remark"]))
    assert run(["cameras"]) == 0
    shown = capsys.readouterr().out
    table, _, below = shown.partition("in the robot file:")
    assert max(map(len, table.splitlines())) <= 80
    assert "640x480 at 30 Hz" in table
    entries = yaml.safe_load(below.partition("to start them")[0])["cameras"]
    assert [entry["name"] for entry in entries] == ["camera", "camera_2"]
    assert "--camera realsense or --camera opencv" in below
    assert "a remark" in below


def test_json_has_everything_and_no_camera_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(command, "connected", lambda folder: ([REALSENSE], []))
    assert run(["cameras", "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)["cameras"]
    assert (only["serial"], len(only["modes"])) == ("012345678901", 3)
    monkeypatch.setattr(command, "connected", lambda folder: ([], []))
    assert run(["cameras"]) == 0
    assert "no camera found" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    assert run(["cameras", "--thumbnails", str(tmp_path / "file" / "pictures")]) == 2
    assert "cannot be made" in capsys.readouterr().err
