"""Reads or writes a data set with the real lerobot package; test_lerobot_package.py runs it in a venv that has it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]

ROWS = (9, 7)
FPS = 40


def read(root: Path) -> dict[str, Any]:
    """Return what lerobot sees in a data set: counts, statistics, and each row."""
    whole = LeRobotDataset("fosp/exported", root=root, video_backend="pyav")
    rows = [whole[index] for index in range(len(whole))]
    keys = [key for key in whole.features if key.startswith(("action", "next."))]
    (camera,) = whole.meta.camera_keys
    windows = LeRobotDataset(
        "fosp/exported",
        root=root,
        video_backend="pyav",
        episodes=[1],
        delta_timestamps={"action": [0.0, 1.0 / whole.fps], camera: [-1.0 / whole.fps, 0.0]},
    )
    return {
        "episodes": whole.num_episodes,
        "fps": whole.fps,
        "camera": camera,
        "tasks": [row["task"] for row in rows],
        "episode": [int(row["episode_index"]) for row in rows],
        "numbers": {key: [np.asarray(row[key], float).reshape(-1).tolist() for row in rows] for key in keys},
        "brightness": [(row[camera].mean((1, 2)) * 255).tolist() for row in rows],
        "window": [list(windows[1]["action"].shape), list(windows[1][camera].shape)],
        "mean": {key: np.asarray(whole.meta.stats[key]["mean"]).reshape(-1).tolist() for key in (*keys, camera)},
    }


def write(root: Path) -> None:
    """Write a data set as lerobot's recorder does: a base with a camera, and a state of joints."""
    features = {
        "action": {"dtype": "float32", "shape": (3,), "names": ["x.vel", "y.vel", "theta.vel"]},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["left_wheel.pos", "right_wheel.pos"]},
        "observation.images.front": {"dtype": "video", "shape": (96, 128, 3), "names": ["height", "width", "channels"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }
    data_set = LeRobotDataset.create("fosp/written", FPS, features, root=root, robot_type="lekiwi")
    for episode, rows in enumerate(ROWS):
        for row in range(rows):
            data_set.add_frame(
                {
                    "action": np.array([0.1 * (row % 3), 0.0, 30.0 * episode], np.float32),
                    "observation.state": np.zeros(2, np.float32),
                    "observation.images.front": np.full((96, 128, 3), 40 + 60 * episode + 5 * row, np.uint8),
                    "next.reward": np.array([1.0], np.float32),
                    "next.success": np.array([row == rows - 1]),
                    "task": "drive to the door",
                }
            )
        data_set.save_episode()
    data_set.finalize()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        Path(sys.argv[3]).write_text(json.dumps(read(Path(sys.argv[2]))))
