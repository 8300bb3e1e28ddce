"""Makes a set of many large bags that takes little of the disk, and checks it: memory, processor time, progress.

    python many_bags.py FOLDER COUNT MEGABYTES

Each bag has a file of MEGABYTES: a short episode, and depth images of zeros, which are holes in the file. The files of
the bags are links to a few. One line of JSON says, for a quarter of the bags and for all of them, the time that
`bags check` takes, the most memory of any of its processes, and how often it told its progress.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from altered_bags import record, text, write_mcap

from fosp_core.bag_types import typestore
from fosp_core.robot.config import read_robot
from fosp_core.specs import ObservationSpec
from fosp_learner.data.bags import check_bags

ROBOT = read_robot(Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml")
DISTINCT = 20
"""Number of files that are not links."""
FRAMES, FRAME_NS, COMMAND_NS = 41, 25_000_000, 10_000_000
DEPTH_BYTES = 2_000_000
DEPTH = ("/camera/depth/image_raw", "sensor_msgs/msg/Image")
END = record(15, bytes(4)) + record(2, bytes(20)) + b"\x89MCAP0\r\n"


def episode(number: int) -> list[tuple[str, str, int, Any]]:
    """The messages of a short episode whose commands are those of no other."""
    types = typestore().types
    start, random = (1000 + 10 * number) * 10**9, np.random.default_rng(number)

    def header(at: int, frame: str) -> Any:
        return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(at, 10**9)), frame)

    messages: list[tuple[str, str, int, Any]] = []
    for frame in range(FRAMES):
        at = start + frame * FRAME_NS
        pixels = random.integers(0, 255, 64 * 64 * 3, np.uint8)
        image = types["sensor_msgs/msg/Image"](header(at, "camera"), 64, 64, "rgb8", 0, 192, pixels)
        told = types["fosp_msgs/msg/StepFeedback"](
            header(at, "camera"), number, frame == 0, 0.1, 0.0, False, frame == FRAMES - 1, False, 0.5
        )
        messages += [("/camera/color/image_raw", DEPTH[1], at, image)]
        messages += [("/fosp/feedback", "fosp_msgs/msg/StepFeedback", at, told)]
    vector = types["geometry_msgs/msg/Vector3"]
    for at in range(start, start + (FRAMES - 1) * FRAME_NS, COMMAND_NS):
        twist = types["geometry_msgs/msg/Twist"](
            vector(float(random.uniform(-0.2, 0.2)), 0.0, 0.0), vector(0.0, 0.0, 0.0)
        )
        command = types["geometry_msgs/msg/TwistStamped"](header(at, ROBOT.action.frame_id), twist)
        messages.append((f"/{ROBOT.command_topic}", "geometry_msgs/msg/TwistStamped", at, command))
    return sorted(messages, key=lambda message: message[2])


def write_file(path: Path, number: int, size: int) -> dict[str, tuple[str, int]]:
    """Write an episode and depth images up to `size` bytes; return type and number of the messages of each topic."""
    messages = episode(number)
    write_mcap(messages[::-1], path, "")
    counts: dict[str, tuple[str, int]] = {}
    for topic, kind, _, _ in messages:
        counts[topic] = (kind, counts.get(topic, ("", 0))[1] + 1)
    with path.open("r+b") as file:
        file.seek(-len(END), os.SEEK_END)
        file.write(record(4, (99).to_bytes(2, "little") + bytes([1, 0]) + text(DEPTH[0]) + text("cdr") + text("")))
        count = max(0, size - file.tell()) // DEPTH_BYTES
        for _ in range(count):
            file.write(bytes([5]) + DEPTH_BYTES.to_bytes(8, "little"))
            file.write((99).to_bytes(2, "little") + bytes(4) + 2 * messages[-1][2].to_bytes(8, "little"))
            file.seek(DEPTH_BYTES - 22, os.SEEK_CUR)
        file.write(END)
    return {**counts, DEPTH[0]: (DEPTH[1], count)}


def metadata(name: str, counts: dict[str, tuple[str, int]]) -> str:
    listed = [
        {
            "topic_metadata": {"name": topic, "type": kind, "serialization_format": "cdr", "offered_qos_profiles": []},
            "message_count": count,
        }
        for topic, (kind, count) in counts.items()
    ]
    content = {
        "version": 9,
        "storage_identifier": "mcap",
        "relative_file_paths": [name],
        "duration": {"nanoseconds": FRAMES * FRAME_NS},
        "starting_time": {"nanoseconds_since_epoch": 1000 * 10**9},
        "message_count": sum(count for _, count in counts.values()),
        "topics_with_message_count": listed,
        "compression_format": "",
        "compression_mode": "",
        "custom_data": {"robot": ROBOT.name, "task": "safe_reach"},
    }
    return yaml.safe_dump({"rosbag2_bagfile_information": content})


def make(folder: Path, count: int, size: int) -> None:
    """Write `count` bags of `size` bytes."""
    files = folder / ".files"
    files.mkdir(parents=True)
    listed = [write_file(files / f"{number}.mcap", number, size) for number in range(min(count, DISTINCT))]
    for number in range(count):
        bag = folder / f"episode_{number:06d}"
        bag.mkdir()
        os.link(files / f"{number % DISTINCT}.mcap", bag / "bag.mcap")
        (bag / "metadata.yaml").write_text(metadata("bag.mcap", listed[number % DISTINCT]))


def check(folders: list[Path], answer: Any) -> None:
    """Check bags in this process and those that it starts, and answer with what it took."""
    told: list[tuple[int, int]] = []
    begin = time.monotonic()
    reports = check_bags(folders, ObservationSpec(), ROBOT, 0.05, progress=lambda done, of: told.append((done, of)))
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    answer.send(
        {
            "bags": len(reports),
            "usable": sum(not report.problem for report in reports),
            "problems": sorted({report.problem for report in reports if report.problem})[:3],
            "gigabytes": round(sum((f / "bag.mcap").stat().st_size for f in folders) * 1e-9, 1),
            "seconds": round(time.monotonic() - begin, 1),
            "processor_s": round(sum(u.ru_utime + u.ru_stime for u in (own, others)), 1),
            "most_mib": round(max(own.ru_maxrss, others.ru_maxrss) / 1024, 1),
            "progress_told": len(told),
            "last_told": told[-1],
        }
    )


def measure(folder: Path, count: int, size: int) -> list[dict[str, Any]]:
    """Make the set and check a quarter of it, then all of it, each in a process of its own."""
    make(folder, count, size)
    bags = sorted(folder.glob("episode_*"))
    found = []
    for chosen in (bags[: count // 4], bags):
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=check, args=(chosen, there))
        process.start()
        found.append(here.recv())
        process.join()
    return found


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) * 1_000_000)))
