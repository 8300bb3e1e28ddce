"""Bags with arbitrary faults: `bags check` and the cache give a report or one line, within seconds, and never more
messages than metadata.yaml counts."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from altered_bags import write_mcap
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import BagReport, check_bags, read_bag
from fosp_learner.data.dataset import load_bags

PERIOD_S = 0.05
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
LONGEST_S = 10.0
WriteBag = Callable[..., Path]

Fault = tuple[str, float, float, int]
"""Kind, two places in the file as shares of its length, and a number."""
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "delete", "repeat", "swap", "zeros", "number", "metadata", "unfinished"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.integers(0, 2**63 - 1),
    ),
    min_size=1,
    max_size=3,
)


def spoil(bag: Path, faults: list[Fault]) -> None:
    """Do to the files of a bag what disks, networks and hands do."""
    metadata = bag / "metadata.yaml"
    for kind, first, second, number in faults:
        if kind == "unfinished":
            metadata.unlink(missing_ok=True)
            continue
        if kind == "metadata" and not metadata.is_file():
            continue
        path = metadata if kind == "metadata" else next(p for p in bag.iterdir() if p != metadata)
        content = bytearray(path.read_bytes())
        begin, end = sorted((int(first * len(content)), int(second * len(content))))
        piece = bytes(content[begin:end])
        if kind == "cut":
            content = content[:begin]
        elif kind == "flip" and begin < len(content):
            content[begin] ^= 1 << (number % 8)
        elif kind == "delete":
            content[begin:end] = b""
        elif kind == "repeat":
            content[end:end] = piece
        elif kind == "swap":
            content = content[:begin] + content[end:] + piece
        elif kind == "zeros":
            content[begin:end] = bytes(end - begin)
        elif kind == "number":
            content[begin : begin + 8] = number.to_bytes(8, "little")
        elif kind == "metadata" and begin < len(content):
            content[begin] = 32 + number % 95
        path.write_bytes(content)


def edited(messages: list[Any], edits: list[Fault]) -> list[Any]:
    """Return messages with clocks that were set, and in another order of writing."""
    for kind, first, second, number in edits:
        begin, end = sorted((int(first * len(messages)), int(second * len(messages))))
        piece = messages[begin:end]
        if kind == "move":
            messages = [*messages[:begin], *messages[end:], *piece]
        elif kind == "again":
            messages = [*messages[:end], *piece, *messages[end:]]
        else:
            shift_ns = (number % 4_000_000_001) - 2_000_000_000
            messages = [*messages[:begin], *(shifted(m, kind, shift_ns) for m in piece), *messages[end:]]
    return messages


def shifted(message: Any, kind: str, shift_ns: int) -> Any:
    topic, of_type, logged_ns, content = message
    if kind in ("log", "both"):
        logged_ns += shift_ns
    if kind in ("stamp", "both"):
        stamp = content.header.stamp
        sec, nanosec = divmod(stamp.sec * 10**9 + stamp.nanosec + shift_ns, 10**9)
        content = replace(content, header=replace(content.header, stamp=replace(stamp, sec=sec, nanosec=nanosec)))
    return topic, of_type, logged_ns, content


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["move", "again", "stamp", "log", "both"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.integers(0, 2**63 - 1),
    ),
    max_size=3,
)


def agrees(report: BagReport, bag: Path) -> bool:
    """Return True unless a bag is used though it holds other messages than its metadata counts."""
    try:
        information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    except FileNotFoundError:
        return True
    counts: dict[str, int] = {}
    for entry in information["topics_with_message_count"]:
        counts[entry["topic_metadata"]["name"]] = int(entry["message_count"])
    recorded = {"image_raw": report.frames, "feedback": report.feedback, "twist_command": report.commands}
    return all(
        sum(count for name, count in counts.items() if name.endswith(topic)) == used.recorded
        for topic, used in recorded.items()
    )


def count_anew(bag: Path, messages: list[Any]) -> None:
    """Let the metadata count what the file holds after it was edited."""
    counted = Counter(message[0] for message in messages)
    text = yaml.safe_load((bag / "metadata.yaml").read_text())
    for entry in text["rosbag2_bagfile_information"]["topics_with_message_count"]:
        entry["message_count"] = counted[entry["topic_metadata"]["name"]]
    (bag / "metadata.yaml").write_text(yaml.safe_dump(text))


def whole(name: str, write_bag: WriteBag, rewrite_bag: Callable[..., Path], messages_of: Callable[..., Any]) -> Path:
    bag = write_bag()
    if name == "mcap without index":
        write_mcap(messages_of(bag), next(bag.glob("*.mcap")), "")
        return bag
    storage = StoragePlugin.SQLITE3 if name == "sqlite3" else StoragePlugin.MCAP
    compression = CompressionMode.STORAGE if name == "mcap zstd" else CompressionMode.NONE
    return rewrite_bag(bag, storage=storage, compression=compression)


def run(
    examples: int,
    storage: str,
    write_bag: WriteBag,
    rewrite_bag: Callable[..., Path],
    messages_of: Callable[..., Any],
    robot: RobotConfig,
    tmp_path: Path,
) -> None:
    sound = whole(storage, write_bag, rewrite_bag, messages_of)
    (expected,) = read_bag(sound, SMALL, robot, PERIOD_S).episodes
    messages = sorted(messages_of(write_bag("original")), key=lambda message: message[2])
    spoilt, cache = tmp_path / "spoilt" / "bag", tmp_path / "cache"
    used = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(EDITS, FAULTS)
    def check(edits: list[Fault], faults: list[Fault]) -> None:
        nonlocal used
        shutil.rmtree(spoilt.parent, ignore_errors=True)
        shutil.copytree(sound, spoilt)
        if edits and not any(path.suffix == ".db3" for path in spoilt.iterdir()):
            written = edited(messages, edits)
            write_mcap(written[::-1], next(spoilt.glob("*.mcap")), "")
            count_anew(spoilt, written)
        spoil(spoilt, faults)
        begin = time.process_time()
        reports = check_bags([spoilt.parent], SMALL, robot, PERIOD_S, workers=1)
        assert all("\n" not in report.problem for report in reports)
        usable = [report for report in reports if not report.problem]
        used += len(usable)
        assert all(agrees(report, spoilt) for report in usable)
        data, refused = None, ""
        try:
            data = load_bags([spoilt.parent], SMALL, robot, PERIOD_S, cache, workers=1)
        except UserError as error:
            refused = str(error)
        assert "\n" not in refused
        assert bool(refused) == (len(usable) < len(reports))
        if data is not None:
            assert data.steps == sum(report.steps for report in usable)
            assert data.steps <= (len(expected.reward) - 1) * (1 + sum(edit[0] == "again" for edit in edits)) + 1
            assert np.isfinite(data.action).all()
            assert np.isfinite(data.reward).all()
            assert (data.cost >= 0).all()
        shutil.rmtree(cache, ignore_errors=True)
        assert time.process_time() - begin < LONGEST_S

    check()
    assert used > 0, "some faults do no harm"


STORAGES = ["mcap", "mcap zstd", "mcap without index", "sqlite3"]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_few_faulty_bags_are_a_report_or_one_line(
    storage: str,
    write_bag: WriteBag,
    rewrite_bag: Callable[..., Path],
    messages_of: Callable[..., Any],
    robot: RobotConfig,
    tmp_path: Path,
) -> None:
    run(25, storage, write_bag, rewrite_bag, messages_of, robot, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("storage", STORAGES)
def test_five_thousand_faulty_bags_of_each_storage_are_a_report_or_one_line(
    storage: str,
    write_bag: WriteBag,
    rewrite_bag: Callable[..., Path],
    messages_of: Callable[..., Any],
    robot: RobotConfig,
    tmp_path: Path,
) -> None:
    run(5000, storage, write_bag, rewrite_bag, messages_of, robot, tmp_path)
