"""The timeline of a bag whose every moment is known, its frames, and clips of it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from altered_bags import write_mcap
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from told_bag import (
    BEGIN_NS,
    CAMERA,
    MARKED_S,
    NOTE,
    PRESSED_S,
    SECONDS,
    TAKEN_OVER_S,
    VETOED_S,
    WRIST,
    brightness,
    write_told_bag,
)

from fosp_console.history.clip import ClipRange, write_clip
from fosp_console.history.samples import Lane, MessageIndex, Samples
from fosp_console.history.timeline import BagHistory, read_history
from fosp_console.history.viewer import clip_request
from fosp_core.bag.messages import deserialise
from fosp_core.bag.storage import BagStorage, Place
from fosp_core.bag_types import typestore
from fosp_core.errors import UserError


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_told_bag(tmp_path_factory.mktemp("bags") / "told")


@pytest.fixture(scope="module")
def history(bag: Path) -> BagHistory:
    return read_history(bag)


# -- the timeline ------------------------------------------------------------------------------------
def test_the_lane_tells_what_was_decided_when_and_why(history: BagHistory) -> None:
    lane = history.document()["lane"]
    assert [(begin, decision, reason) for begin, decision, reason, *_ in lane] == [
        (0.0, "PASS", "OK"),
        (1.0, "SUBSTITUTE", "INFEASIBLE"),
        (1.5, "PASS", "OK"),
        (2.5, "STOP", "STALE_IMAGE"),
        (3.0, "PASS", "OK"),
        (3.2, "PASS", "OK"),
    ]
    assert [driver for *_, driver in lane] == [*["POLICY"] * 5, "OPERATOR"]
    assert lane[1][3] == "verdict 20"


def test_figures_stand_at_their_moments(history: BagHistory) -> None:
    document = history.document()
    risk = document["risk"]
    assert dict(zip(risk["t"], risk["risk"], strict=True))[1.0] == pytest.approx(0.3)
    assert set(risk["eps"]) == {0.2}
    (command,) = document["commands"]
    speeds = dict(zip(command["t"], command["linear"], strict=True))
    assert (speeds[1.0], speeds[2.5]) == (pytest.approx(0.1), 0.0)
    assert [camera["topic"] for camera in document["cameras"]] == [CAMERA, WRIST]
    assert document["about"] == {"robot": "sim_arm", "task": "safe_reach"}


def test_what_the_operator_did_is_told_apart(history: BagHistory) -> None:
    events = history.document()["events"]
    by_operator = [(event["t"], event["kind"], event["text"]) for event in events if event["row"] == "operator"]
    assert by_operator == [
        (0.1, "engaged", "an operator engaged at the console"),
        (MARKED_S, "mark", NOTE),
        (TAKEN_OVER_S, "takes over", "verdict 64"),
        (PRESSED_S, "latched", "the emergency stop is pressed"),
    ]
    assert [(event["t"], event["kind"]) for event in events if event["row"] == "episode"] == [
        (0.0, "begin"),
        (1.5, "violation"),
    ]


def test_any_frame_and_any_verdict_can_be_gone_to(history: BagHistory) -> None:
    for index in (80, 0, 37):
        frame = history.frame(1, index)
        assert (frame.shape, int(frame[0, 0, 0])) == ((48, 64, 3), brightness(index))
    verdict = history.verdict(VETOED_S[0] + 0.06)
    assert verdict is not None
    assert (verdict["text"], verdict["t"], verdict["decision"]) == ("verdict 21", 1.05, "SUBSTITUTE")
    for camera, index in ((0, 81), (0, -1), (2, 0), (-1, 0)):
        with pytest.raises(UserError, match="has no frame"):
            history.frame(camera, index)


@pytest.mark.parametrize("chunk", ["", "lz4", None], ids=["chunks", "lz4", "no chunks"])
def test_a_file_in_no_order_is_put_in_order(bag: Path, tmp_path: Path, chunk: str | None) -> None:
    told = [
        (stored.topic, stored.type, stored.logged_ns, deserialise(stored))
        for stored in BagStorage(bag).messages(lambda topic: True)
    ]
    path = tmp_path / "other.mcap"
    write_mcap(told, path, chunk)
    history = read_history(path)
    assert history.seconds == pytest.approx(SECONDS)
    assert int(history.frame(0, 37)[0, 0, 0]) == brightness(37)
    assert any("set back" in note for note in history.notes)


@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE], ids=str)
@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name)
def test_frames_are_found_in_files_of_every_kind(
    bag: Path, tmp_path: Path, storage: StoragePlugin, mode: CompressionMode | None
) -> None:
    writer = Writer(tmp_path / "other", version=9, storage_plugin=storage)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for stored in BagStorage(bag).messages((CAMERA, "/fosp/verdict").__contains__):
            if stored.topic not in connections:
                connections[stored.topic] = writer.add_connection(stored.topic, stored.type, typestore=typestore())
            writer.write(connections[stored.topic], stored.logged_ns, bytes(stored.data))
    history = read_history(tmp_path / "other")
    assert [int(history.frame(0, index)[0, 0, 0]) for index in (80, 3)] == [brightness(80), brightness(3)]
    verdict = history.verdict(2.0)
    assert verdict is not None
    assert verdict["text"] == "verdict 40"


def test_a_bag_that_was_cut_off_is_shown_as_far_as_it_goes(bag: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(bag, cut)
    (cut / "metadata.yaml").unlink()
    file = next(cut.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-200])
    history = read_history(cut)
    assert any("cut off" in note for note in history.notes)
    assert len(history.cameras[0]) > 0


def test_the_document_is_json_without_nan(history: BagHistory, tmp_path: Path) -> None:
    history.risk.add(BEGIN_NS * 1e-9, math.nan, math.nan, math.nan)
    history.risk.close()
    assert json.dumps(history.document(), allow_nan=False)
    history.risk.times.pop()
    for column in history.risk.columns:
        column.pop()


def test_a_bag_with_nothing_to_show_is_one_line(bag: Path, tmp_path: Path) -> None:
    told = [
        (stored.topic, stored.type, stored.logged_ns, deserialise(stored))
        for stored in BagStorage(bag).messages("/fosp/none".__eq__)
    ]
    path = tmp_path / "empty.mcap"
    write_mcap(told, path, None)
    with pytest.raises(UserError) as refusal:
        read_history(path)
    assert "\n" not in str(refusal.value)


# -- bounded memory ----------------------------------------------------------------------------------
def test_of_many_figures_the_peaks_stay() -> None:
    samples = Samples(1, 100)
    for index in range(10_000):
        samples.add(float(index), 1.0 if index in (777, 5_001) else 0.0)
    samples.close()
    assert len(samples.times) <= 100
    assert samples.thinned
    kept = dict(zip(samples.times, samples.columns[0], strict=True))
    assert (kept.get(777.0), kept.get(5_001.0)) == (1.0, 1.0)


def test_of_many_frames_evenly_spread_ones_stay() -> None:
    index = MessageIndex("camera", 100)
    for number in range(10_000):
        index.add(float(number), Place(0, number), number)
    assert len(index) <= 100
    assert len(set(np.diff(index.times))) == 1
    assert index.at(index.before(5_000.0))[1] == pytest.approx(5_000, abs=128)


def test_of_many_decisions_the_restrictive_ones_stay() -> None:
    lane = Lane(50)
    for number in range(1_000):
        lane.add(float(number), 4 if number == 500 else number % 2, 0, 0, "")
    assert len(list(lane)) <= 51
    assert max(run.decision for run in lane) == 4


# -- clips -------------------------------------------------------------------------------------------
def test_a_clip_as_mp4_shows_the_frames_of_its_part_in_real_time(history: BagHistory, tmp_path: Path) -> None:
    av: Any = pytest.importorskip("av")
    out = tmp_path / "clip.mp4"
    count = write_clip(history, ClipRange.checked(history, ".mp4", 0.5, 1.5), out)
    with av.open(str(out)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert float(film.duration) / 1e6 == pytest.approx(1.0, abs=0.05)
    assert len(frames) == count == 25
    assert frames[0].shape[1] > 2 * frames[0].shape[0] > 0, "two cameras side by side"
    for number in (0, 12, 24):
        shown = brightness(int((0.5 + number / 25) * 20 + 1e-6))
        assert int(frames[number][10, 10, 0]) == pytest.approx(shown, abs=3)
    assert list(tmp_path.iterdir()) == [out]


def test_a_clip_as_gif_plays_at_its_rate(history: BagHistory, tmp_path: Path) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    out = tmp_path / "clip.gif"
    assert write_clip(history, ClipRange.checked(history, ".gif", 1.0, 3.0), out) == 20
    with pillow.open(out) as film:
        assert (film.n_frames, film.info["duration"], film.info["loop"]) == (20, 100, 0)


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (2.0, 1.0, "to a later one"),
        (-1.0, 1.0, "to a later one"),
        (math.nan, 1.0, "to a later one"),
        (0.0, math.inf, "to a later one"),
        (1.0, 99.0, "lasts 4.00 s"),
        (99.0, 100.0, "lasts 4.00 s"),
    ],
)
def test_a_range_that_is_none_is_refused_in_one_line(history: BagHistory, begin: float, end: float, said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        ClipRange.checked(history, ".mp4", begin, end)
    assert "\n" not in str(refusal.value)


def test_a_bag_without_images_gives_no_clip_and_is_shown_all_the_same(tmp_path: Path) -> None:
    history = read_history(write_told_bag(tmp_path / "blind", cameras=()))
    assert history.document()["cameras"] == []
    with pytest.raises(UserError, match="no colour images"):
        ClipRange.checked(history, ".gif")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 400,
        '{"from": 0, "to": 1}',
        '{"from": 0, "to": 1, "format": "mp4", "path": "/etc/passwd"}',
        '{"from": 0, "to": 1, "format": "../x"}',
        '{"from": "0", "to": 1, "format": "mp4"}',
        '{"from": true, "to": 1, "format": "mp4"}',
        '{"from": NaN, "to": 1, "format": "mp4"}',
        '{"from": 0, "to": 1e999, "format": "mp4"}',
    ],
)
def test_a_request_for_anything_but_a_clip_is_refused(history: BagHistory, text: str) -> None:
    with pytest.raises(UserError):
        clip_request(history, text)


def test_a_request_for_a_clip_names_format_and_range(history: BagHistory) -> None:
    kind, part = clip_request(history, '{"from": 1, "to": 2.5, "format": "gif"}')
    assert (kind, part) == ("gif", ClipRange(1.0, 2.5))
