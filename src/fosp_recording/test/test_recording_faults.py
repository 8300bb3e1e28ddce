"""What becomes of episodes when topics are silent, the disk refuses, or several recorders share a folder."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from fosp_core.bag_types import BagWriter
from fosp_recording import episode_recorder
from fosp_recording.episode_recorder import EpisodeRecorder, Record, RecordingError, Topic, minutes_left

IMAGE = Topic("/camera/color/image_raw", "sensor_msgs/msg/CompressedImage")
FEEDBACK = Topic("/fosp/feedback", "fosp_msgs/msg/StepFeedback")
START = 1_700_000_000 * 10**9
MS = 1_000_000
DATA = bytes(4096)


def tell(recorder: EpisodeRecorder, ms: int, first: bool = False, last: bool = False) -> None:
    stamp = START + ms * MS
    recorder.message(Record(FEEDBACK, DATA, stamp, stamp))
    recorder.feedback(stamp, first, last, 0)


def show(recorder: EpisodeRecorder, ms: int, data: bytes = DATA) -> None:
    recorder.message(Record(IMAGE, data, START + ms * MS, START + ms * MS))


def episode(recorder: EpisodeRecorder, ms: int = 0, images: bool = True) -> None:
    tell(recorder, ms, first=True)
    if images:
        show(recorder, ms + 1)
    tell(recorder, ms + 20, last=True)
    recorder.close()


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if not path.name.startswith("."))


def test_an_episode_without_a_required_topic_is_not_complete_and_says_why(tmp_path: Path) -> None:
    lines: list[str] = []
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK], required=[IMAGE.name], warn=lines.append)
    episode(recorder)
    episode(recorder, 1000, images=False)
    assert names(tmp_path) == ["episode_000000", "incomplete_000001"]
    assert lines == [f"{tmp_path / 'incomplete_000001'} is not complete: no message on {IMAGE.name}"]
    assert "missing: /camera/color/image_raw" in (tmp_path / "incomplete_000001/metadata.yaml").read_text()


def test_recorders_that_share_a_folder_take_numbers_in_turn(tmp_path: Path) -> None:
    left, right = EpisodeRecorder(tmp_path, [FEEDBACK]), EpisodeRecorder(tmp_path, [FEEDBACK])
    for ms in range(0, 3000, 1000):
        tell(left, ms, first=True)
        tell(right, ms, first=True)
        for recorder in (left, right):
            tell(recorder, ms + 20, last=True)
            recorder.close()
    episode(right, 5000)
    assert names(tmp_path) == [f"episode_{number:06d}" for number in range(7)]


def test_recorders_that_begin_at_once_never_take_the_same_number(tmp_path: Path) -> None:
    recorders = [EpisodeRecorder(tmp_path, [FEEDBACK]) for _ in range(4)]
    together, errors = threading.Barrier(len(recorders)), []

    def run(recorder: EpisodeRecorder) -> None:
        try:
            for ms in range(0, 5_000, 1000):
                together.wait(20)
                episode(recorder, ms)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names(tmp_path)) == 20


def test_a_number_that_is_finished_between_looking_and_taking_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    class Late(BagWriter):
        def __init__(self, partial: Path, compress: bool = True) -> None:
            if not made:  # another recorder finishes this number at the worst moment
                (tmp_path / partial.name).mkdir()
                (tmp_path / partial.name / "metadata.yaml").write_text("mine")
            made.append(partial)
            super().__init__(partial, compress)

    monkeypatch.setattr(episode_recorder, "BagWriter", Late)
    episode(EpisodeRecorder(tmp_path, [FEEDBACK]))
    assert names(tmp_path) == ["episode_000000", "episode_000001"]
    assert (tmp_path / "episode_000000/metadata.yaml").read_text() == "mine"


def test_a_finished_bag_is_neither_replaced_nor_lost_when_its_name_is_taken(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, [FEEDBACK])
    tell(recorder, 0, first=True)
    (tmp_path / "episode_000000").mkdir()
    (tmp_path / "episode_000000/theirs").write_text("theirs")
    tell(recorder, 20, last=True)
    with pytest.raises(RecordingError, match="exists already"):
        recorder.close()
    assert (tmp_path / "episode_000000/theirs").read_text() == "theirs"
    assert (tmp_path / ".partial/episode_000000/metadata.yaml").is_file(), "the bag is complete there"


@pytest.mark.parametrize("fault", [errno.EIO, errno.ESTALE])
def test_a_drive_that_fails_stops_the_recording_in_one_line_and_what_was_written_stays(
    tmp_path: Path, fault: int
) -> None:
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK], compress=False)
    episode(recorder)
    tell(recorder, 1000, first=True)
    fail_after(recorder, 100_000, fault)
    with pytest.raises(RecordingError, match=os.strerror(fault)) as error:
        show_many(recorder, 2000)
    assert "\n" not in str(error.value)
    assert str(tmp_path / ".partial/episode_000001") in str(error.value)
    assert recorder.failed
    assert names(tmp_path) == ["episode_000000"]
    assert (tmp_path / ".partial/episode_000001/episode_000001.mcap").stat().st_size > 0
    again = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK])
    episode(again, 9000)
    assert names(tmp_path) == ["episode_000000", "episode_000002"]


def show_many(recorder: EpisodeRecorder, count: int) -> None:
    for ms in range(1000, 1000 + count):
        show(recorder, ms, bytes(50_000))


def fail_after(recorder: EpisodeRecorder, size: int, fault: int) -> None:
    """Let the file of the open bag fail as a network drive does, once `size` bytes are written."""
    opened = recorder._open
    assert opened is not None
    storage: Any = opened.bag._writer.storage
    real = storage.bio

    class Failing:
        written = 0

        def write(self, data: bytes) -> int:
            self.written += len(data)
            if self.written > size:
                raise OSError(fault, os.strerror(fault))
            return int(real.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    storage.bio = Failing()


def test_what_a_drive_tells_at_the_very_end_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = EpisodeRecorder(tmp_path, [FEEDBACK])
    tell(recorder, 0, first=True)
    tell(recorder, 20, last=True)

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RecordingError, match=r"Input/output error.*\.partial/episode_000000"):
        recorder.close()
    assert names(tmp_path) == []


def test_no_episode_begins_that_the_disk_could_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = EpisodeRecorder(tmp_path, [FEEDBACK])
    episode(recorder)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 50_000_000))
    with pytest.raises(RecordingError, match=r"too little space for an episode: 50 MB are free"):
        tell(recorder, 1000, first=True)
    assert names(tmp_path) == ["episode_000000"]


def test_the_operator_is_warned_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK], compress=False, warn=lines.append)
    tell(recorder, 0, first=True)
    for ms in range(100):
        show(recorder, ms, bytes(100_000))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    recorder.tick(START + 10_000 * MS)
    assert lines == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 200_000_000))
    recorder.tick(START + 11_000 * MS)
    assert lines == [], "it looks every ten seconds"
    recorder.tick(START + 21_000 * MS)
    (line,) = lines
    assert "the disk is full in" in line


def test_the_time_until_the_disk_is_full() -> None:
    assert minutes_left(600_000_000, 10_000_000, 1.0) == pytest.approx(1.0)
    assert minutes_left(1, 0, 1.0) == float("inf")
