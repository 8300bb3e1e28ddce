"""`fosp cameras`: the cameras of this machine, and how a robot file names them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fosp_core.errors import UserError

if TYPE_CHECKING:
    from fosp_perception.camera.devices import FoundCamera

_TIMEOUT_S = 30.0
"""Longest wait for all cameras of a kind; the driver of a broken one may hang."""
_PROGRAM = (sys.executable, "-m", "fosp_perception.camera.devices")
_MODES_SHOWN = 6


def cameras(
    thumbnails: Annotated[
        Path | None, typer.Option(help="Open each camera, and write a picture of it to this folder.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cameras as JSON, with all their modes.")] = False,
) -> int:
    """List the cameras that are connected to this machine, with their serial numbers and modes.

    Below the table stands what to write into the robot file for each. A camera that another program uses, such as a
    running graph, is listed, but gives no thumbnail.
    """
    if thumbnails is not None:
        try:
            thumbnails.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{thumbnails}: its folder cannot be made: {error.strerror or error}") from None
    found, remarks = connected(thumbnails)
    if as_json:
        from fosp_perception.camera.devices import as_json as plain

        print(json.dumps({"cameras": [plain(camera) for camera in found], "remarks": remarks}, indent=2))
        return 0
    _show(found, remarks)
    return 0


def connected(thumbnails: Path | None = None, program: Sequence[str] = _PROGRAM) -> tuple[list[FoundCamera], list[str]]:
    """Return the cameras of this machine, and remarks on what kept some from being found.

    Each kind is asked in a process of its own; what it had told before it hung or ended counts.
    """
    from fosp_perception.camera.devices import from_json
    from fosp_perception.camera.v4l2 import video_devices

    found: list[FoundCamera] = []
    remarks: list[str] = []
    for kind in ("realsense", "opencv"):
        if kind == "realsense" and importlib.util.find_spec("pyrealsense2") is None:
            if any(device.realsense for device in video_devices()):
                how = "pip install -r requirements/realsense.txt -c requirements/constraints.txt"
                remarks.append(f"a RealSense is connected, but pyrealsense2 is missing: {how}")
            continue
        said, remark = _ask([*program, kind, *([str(thumbnails)] if thumbnails else [])])
        found += [from_json(json.loads(line)) for line in said.splitlines() if line.startswith("{")]
        if remark:
            remarks.append(f"{kind}: {remark}")
    return found, remarks


def _ask(command: list[str]) -> tuple[str, str]:
    """Return what a process printed, and why it did not end well; empty if it did."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return text, f"a camera did not answer within {_TIMEOUT_S:g} s; unplug it, and plug it in again"
    lines = done.stderr.strip().splitlines()
    problem = "" if done.returncode == 0 else lines[-1] if lines else f"the driver ended with {done.returncode}"
    return done.stdout, problem


def _show(found: Sequence[FoundCamera], remarks: Sequence[str]) -> None:
    from rich.table import Table

    from fosp_cli.live_line import show_table

    if found:
        table = Table(title=f"{len(found)} camera{'s' if len(found) > 1 else ''}")
        for column in ("camera", "serial", "modes", "picture"):
            table.add_column(column, overflow="fold")
        for camera in found:
            usb = f"\nUSB {camera.usb}" if camera.usb else ""
            picture = camera.problem or camera.thumbnail or "not asked"
            table.add_row(f"{camera.name}\n{camera.identity}{usb}", camera.serial or "none", _modes(camera), picture)
        show_table(table)
        print("in the robot file:\n\ncameras:")
        for number, camera in enumerate(found, 1):
            if camera.identity:
                print(f"  - {camera.in_robot_file('camera' if number == 1 else f'camera_{number}')}")
        types = " or ".join(f"--camera {source}" for source in dict.fromkeys(camera.source for camera in found))
        print(f"\nto start them: ./fosp up ROBOT.yaml --bundle DIR {types}")
    else:
        print("no camera found: no RealSense and no /dev/video*; is it plugged in? (docs/camera.md)")
    for remark in remarks:
        print(remark)


def _modes(camera: FoundCamera) -> str:
    """Return the sizes with their highest rates, the proposed one first."""
    best: dict[tuple[int, int], float] = {}
    for mode in camera.modes:
        size = (mode.width, mode.height)
        best[size] = max(best.get(size, 0.0), mode.rate_hz)
    proposed = camera.mode
    if proposed is None:
        return "not known"
    sizes = sorted(best, key=lambda size: (size != (proposed.width, proposed.height), size))
    lines = [f"{w}x{h}" + (f" at {best[w, h]:g} Hz" if best[w, h] else "") for w, h in sizes[:_MODES_SHOWN]]
    return "\n".join([*lines, *([f"and {len(sizes) - _MODES_SHOWN} more"] if len(sizes) > _MODES_SHOWN else [])])
