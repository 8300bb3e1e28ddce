"""Robot file, bundles and folders of this computer as the page shows them: plain values for JSON. No ROS."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from fosp_core.bundle.bundle import read_manifest
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.protective import ZoneConfig
from fosp_core.specs import Manifest

MOST_BUNDLES = 40
MOST_LINEAGE = 12
RATE_S = 10.0
"""Time over which the rate of a recording is measured, s."""
ABANDONED_S = 30.0
"""Time without a change after which a half-written bag is what a crash left behind."""
_TAIL_BYTES = 65536


def robot_view(robot: RobotConfig) -> dict[str, Any]:
    """Return the robot's axes with their limits (m/s, rad/s), its workspace (m), and its emergency stops."""
    box = robot.workspace
    return {
        "name": robot.name,
        "kind": robot.kind,
        "frame": robot.action.frame_id,
        "axes": [
            {"name": str(axis.name), "scale": axis.scale, "limit": robot.limits[axis.name].speed}
            for axis in robot.action.axes
        ],
        "workspace": {"lower": list(box.lower), "upper": list(box.upper)} if box is not None else None,
        "estops": list(robot.estop_topics),
        "enabling": robot.enabling.topic if robot.enabling is not None else "",
        "force_limit": robot.protective_force_n,
        "zones": [zone_view(zone) for zone in robot.zones],
        "sources": [{"name": one.name, "position": list(one.position[:2])} for one in robot.sources],
    }


def zone_view(zone: ZoneConfig) -> dict[str, Any]:
    """Return a protective zone from above: its outline, m, in the action frame or around the commanded point."""
    outline = [list(corner) for corner in zone.polygon]
    if zone.lower is not None and zone.upper is not None:
        (x0, y0, _), (x1, y1, _) = zone.lower, zone.upper
        outline = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return {"name": zone.name, "action": zone.action, "outline": outline, "around_tool": zone.around_tool}


def model_view(manifest: Manifest, path: Path) -> dict[str, Any]:
    """Return what identifies a bundle and its thresholds."""
    calibration, camera = manifest.calibration, manifest.calibration.camera
    return {
        "id": manifest.id,
        "parent": manifest.parent_id,
        "name": path.name,
        "task": manifest.task,
        "size": manifest.size,
        "eps": calibration.eps,
        "miss_rate": calibration.miss_rate_bound,
        "supported": calibration.supported,
        "period_s": manifest.decision_period_s,
        "surprise_limit": calibration.surprise_limit,
        "novelty_limit": camera.novelty_limit if camera is not None else None,
        "inconsistency_limit": camera.inconsistency_limit if camera is not None else None,
    }


class BundleCatalogue:
    """Bundles that a page may announce: those that the graph has named, and those that lie beside them.

    A page names a bundle by its id. What an id stands for was read here, from this computer's disk.
    """

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}
        self._manifests: dict[str, Manifest] = {}
        self._active: list[str] = []
        """Ids in the order in which they began to decide; the last one decides now."""

    def add(self, path: Path) -> str:
        """Read a bundle's folder and those beside it, and return its id; empty when it is no bundle that can be read.

        Folders of another computer, and damaged ones, are left out.
        """
        known = self._add(path)
        if known and path.parent.is_dir():
            for folder in sorted(path.parent.iterdir())[:MOST_BUNDLES]:
                if len(self._paths) < MOST_BUNDLES and (folder / "manifest.json").is_file():
                    self._add(folder)
        return known

    def _add(self, path: Path) -> str:
        try:
            manifest = read_manifest(path)
        except (UserError, OSError):
            return ""
        self._paths[manifest.id], self._manifests[manifest.id] = path, manifest
        return manifest.id

    def decides(self, model_id: str) -> None:
        """Note that a bundle decides from now on."""
        if not self._active or self._active[-1] != model_id:
            self._active = [*self._active, model_id][-MOST_BUNDLES:]

    def path(self, model_id: str) -> Path:
        """Return the folder of a bundle; UserError when the console does not know the id."""
        if model_id not in self._paths:
            raise UserError(f"no bundle {model_id[:12]} is known to this console")
        return self._paths[model_id]

    def manifest(self, model_id: str) -> Manifest | None:
        """Return the manifest of a bundle; None when the console does not know the id."""
        return self._manifests.get(model_id)

    @property
    def before(self) -> str:
        """Id of the bundle to roll back to: the one that decided before, else the parent; empty when there is none."""
        if not self._active:
            return ""
        now = self._active[-1]
        known = self._manifests.get(now)
        earlier = [one for one in self._active[:-1] if one != now and one in self._paths]
        parent = [known.parent_id] if known is not None and known.parent_id in self._paths else []
        return [*parent, *earlier][-1] if earlier or parent else ""

    def view(self) -> list[dict[str, Any]]:
        """Return the known bundles for the page."""
        return [
            {"id": model_id, "name": path.name, "task": self._manifests[model_id].task,
             "parent": self._manifests[model_id].parent_id, "robot": self._manifests[model_id].robot}
            for model_id, path in sorted(self._paths.items(), key=lambda item: item[1].name)
        ]  # fmt: skip


def lineage_of(model_id: str, manifests: BundleCatalogue) -> list[str]:
    """Return the ids from a bundle to its oldest ancestor that is known."""
    found = [model_id]
    while len(found) < MOST_LINEAGE:
        manifest = manifests.manifest(found[-1])
        if manifest is None or not manifest.parent_id or manifest.parent_id in found:
            break
        found.append(manifest.parent_id)
    return found


class RecorderWatch:
    """Looks at a recorder's folder from time to time: its episodes, how fast it writes, and the room on its disk."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, str, int]] = deque()
        """Moment, s, name and bytes of the bag that was being written."""

    def view(self, out: Path, now_s: float) -> dict[str, Any] | None:
        """Return what is in the recorder's folder at `now_s`, monotonic; None when it is not on this computer.

        `bytes_per_s` and `minutes_left` are None while nothing is written, and until it is known how fast.
        """
        try:
            usage = shutil.disk_usage(out if out.is_dir() else out.parent)
            names = [entry.name for entry in out.iterdir()] if out.is_dir() else []
            name, size = _newest_bag(out / ".partial")
        except OSError:
            return None
        rate = self._rate(now_s, name, size)
        return {
            "folder": out.name,
            "episodes": sum(name.startswith("episode_") for name in names),
            "incomplete": sum(name.startswith("incomplete_") for name in names),
            "writing": name,
            "writing_bytes": size,
            "bytes_per_s": rate,
            "minutes_left": round(usage.free / rate / 60.0, 1) if rate else None,
            "free_bytes": usage.free,
            "total_bytes": usage.total,
        }

    def _rate(self, now_s: float, name: str, size: int) -> float | None:
        """Return the bytes per second of the bag over the last RATE_S; it grows by chunks."""
        if self._looks and self._looks[-1][1] != name:
            self._looks.clear()
        self._looks.append((now_s, name, size))
        while self._looks[0][0] < now_s - RATE_S:
            self._looks.popleft()
        (begin_s, _, before), passed_s = self._looks[0], now_s - self._looks[0][0]
        if not name or passed_s < 2.0 or size <= before:
            return None
        return round((size - before) / (now_s - begin_s))


def _newest_bag(folder: Path) -> tuple[str, int]:
    """Return name and bytes of the bag in `folder` that was written to last; an empty name without one."""
    bags = [
        (file.stat().st_mtime, file.parent.name, file.stat().st_size)
        for file in (folder.glob("*/*.mcap") if folder.is_dir() else ())
    ]
    if not bags:
        return "", 0
    written_s, name, size = max(bags)
    return (name, size) if time.time() - written_s < ABANDONED_S else ("", 0)


def learner_view(run: Path) -> dict[str, Any] | None:
    """Return the progress of a fine-tuning run by its lineage and its losses; None when it is not on this computer."""
    events = _json_lines(_tail(run / "lineage.jsonl"))
    losses = _tail(run / "losses.csv").splitlines()
    if not run.is_dir():
        return None
    last = losses[-1].split(",")[0] if len(losses) > 1 else ""
    return {
        "run": run.name,
        "updates": int(float(last)) if last.replace(".", "", 1).isdigit() else None,
        "episodes": _lines(run / "buffer" / "episodes.jsonl"),
        "events": [
            {
                "event": str(event.get("event", "")),
                "id": str(event.get("id", "")),
                "time": str(event.get("time", "")),
                "why": _why(event.get("details")),
            }
            for event in events[-8:]
        ],
    }


def _why(details: Any) -> str:
    """Return the verdict of the gate on a candidate, or the reason of another event."""
    if not isinstance(details, dict):
        return ""
    gate = details.get("gate")
    if isinstance(gate, dict) and "passed" in gate:
        reasons = gate.get("reasons")
        why = "; ".join(str(reason) for reason in reasons) if isinstance(reasons, list) else ""
        judged = "passed the gate" if gate["passed"] else f"kept by the gate: {why}"
        return f"update {details.get('step', '?')}, {judged}"[:300]
    return str(details.get("reason") or "")[:300]


def _lines(path: Path) -> int | None:
    """Return the number of lines of a text file; None when there is none."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return None


def _tail(path: Path) -> str:
    """Return the end of a text file; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= _TAIL_BYTES else text.partition("\n")[2]


def _json_lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
