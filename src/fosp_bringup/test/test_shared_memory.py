"""Segments of dead Fast DDS processes are removed; those that a living process holds are not."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path

import pytest

from fosp_bringup import shared_memory
from fosp_bringup.shared_memory import clean_shared_memory

SEGMENT = ("fastrtps_9b3ee507691054db", "fastrtps_9b3ee507691054db_el")
PORT = ("fastrtps_port7411", "fastrtps_port7411_el", "sem.fastrtps_port7411_mutex")
ENDED_PORT = ("fastrtps_port7413", "sem.fastrtps_port7413_mutex")


@pytest.fixture(autouse=True)
def _old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "NEWBORN_S", -1.0)


def make(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).touch()


def test_segments_and_ports_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    make(tmp_path, (*SEGMENT, *PORT, *ENDED_PORT))
    assert set(clean_shared_memory(tmp_path)) == {*SEGMENT, *PORT, *ENDED_PORT}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [SEGMENT, PORT])
def test_what_a_living_process_holds_stays(tmp_path: Path, names: tuple[str, ...]) -> None:
    make(tmp_path, names)
    with (tmp_path / names[1]).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean_shared_memory(tmp_path) == []
    assert set(clean_shared_memory(tmp_path)) == set(names)


def test_a_young_segment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "NEWBORN_S", 60.0)
    make(tmp_path, SEGMENT)
    assert clean_shared_memory(tmp_path) == []


def test_other_files_stay(tmp_path: Path) -> None:
    make(tmp_path, ("lttng-ust-wait-6", "sem.mine", "fastrtps_notes.txt"))
    assert clean_shared_memory(tmp_path) == []
