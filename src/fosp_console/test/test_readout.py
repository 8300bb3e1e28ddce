"""Robot file and folders of this computer become what the page shows."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from fosp_bringup.paths import robot_path
from fosp_console.readout import ABANDONED_S, RecorderWatch, learner_view, robot_view, zone_view
from fosp_core.robot.config import read_robot
from fosp_core.robot.protective import ZoneConfig


def test_a_protective_zone_is_an_outline_from_above() -> None:
    view = robot_view(read_robot(robot_path("sim_base").with_name("sim_base.zones.yaml")))
    (zone,) = view["zones"]
    assert (zone["name"], zone["action"], zone["around_tool"]) == ("around", "approach", False)
    assert zone["outline"][0] == [0.175, 0.035]
    assert view["sources"] == [{"name": "laser", "position": [0.0, 0.0]}]


def test_a_box_is_its_four_corners() -> None:
    zone = ZoneConfig(name="table", action="keep_out", lower=(0.1, -0.2, 0.0), upper=(0.3, 0.2, 0.1), time_s=1.0)
    assert zone_view(zone)["outline"] == [[0.1, -0.2], [0.3, -0.2], [0.3, 0.2], [0.1, 0.2]]


def test_the_rate_of_a_recording_tells_when_the_disk_is_full(tmp_path: Path) -> None:
    watch, bag = RecorderWatch(), tmp_path / ".partial" / "episode_000003" / "episode_000003.mcap"
    (tmp_path / "episode_000002").mkdir()
    (tmp_path / "incomplete_000001").mkdir()
    view = watch.view(tmp_path, 0.0)
    assert view is not None
    assert (view["episodes"], view["incomplete"], view["writing"], view["bytes_per_s"]) == (1, 1, "", None)
    bag.parent.mkdir(parents=True)
    for second in range(1, 6):
        bag.write_bytes(bytes(2_000_000 * second))
        view = watch.view(tmp_path, float(second))
    assert view is not None
    assert (view["writing"], view["writing_bytes"]) == ("episode_000003", 10_000_000)
    assert view["bytes_per_s"] == 2_000_000
    assert view["minutes_left"] == round(view["free_bytes"] / 2_000_000 / 60.0, 1)


def test_a_bag_that_a_crash_left_behind_is_not_being_written(tmp_path: Path) -> None:
    bag = tmp_path / ".partial" / "episode_000000" / "episode_000000.mcap"
    bag.parent.mkdir(parents=True)
    bag.write_bytes(b"x")
    old = time.time() - ABANDONED_S - 1.0
    os.utime(bag, (old, old))
    view = RecorderWatch().view(tmp_path, 0.0)
    assert view is not None
    assert view["writing"] == ""


def test_the_learner_tells_updates_episodes_and_what_the_gate_said(tmp_path: Path) -> None:
    (tmp_path / "buffer").mkdir()
    (tmp_path / "buffer" / "episodes.jsonl").write_text("{}\n{}\n{}\n")
    (tmp_path / "losses.csv").write_text("step,loss\n10,0.5\n20,0.4\n")
    kept = {"passed": False, "reasons": ["it misses 3 % more", "it succeeds less"]}
    events = [
        {"event": "candidate", "id": "a" * 64, "details": {"step": 10, "gate": kept}},
        {"event": "candidate", "id": "b" * 64, "details": {"step": 20, "gate": {"passed": True, "reasons": []}}},
        {"event": "refused", "id": "b" * 64, "details": {"reason": "wrong robot"}},
    ]
    (tmp_path / "lineage.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    view = learner_view(tmp_path)
    assert view is not None
    assert (view["updates"], view["episodes"]) == (20, 3)
    assert [event["why"] for event in view["events"]] == [
        "update 10, kept by the gate: it misses 3 % more; it succeeds less",
        "update 20, passed the gate",
        "wrong robot",
    ]
