"""Finds bags: folders of rosbag2, and single storage files, behind links as well."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fosp_core.errors import UserError

METADATA = "metadata.yaml"
SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
_ROS1_SUFFIX, _ROS1_BEGIN = ".bag", b"#ROSBAG V"


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Return the bags at or below `paths`, sorted; UserError for a path that holds none.

    A bag is a folder with metadata.yaml, a folder with the parts of one recording (NAME_0.mcap, NAME_1.mcap), or a
    single storage file. Links are followed; what is reached by several ways counts once. Hidden folders hold what is
    being recorded at this moment, and are left out.
    """
    bags: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            closed: list[Path] = []
            found = [bag for folder, names in folders_below(path, closed.append) for bag in _bags_in(folder, names)]
            found += closed
        elif path.is_file():
            found = [path.parent if path.name == METADATA else path]
            if path.name != METADATA and not (is_storage(path.name) or is_ros1(path)):
                raise UserError(f"{path}: is no bag; expected {', '.join(SUFFIXES)}, or a folder with such a file")
        else:
            raise UserError(f"{path}: no such folder of bags, and no such file")
        if not found:
            raise UserError(f"{path}: no bag here; expected folders with metadata.yaml and .mcap, one per episode")
        for bag in found:
            bags.setdefault(bag.resolve(), bag)
    return sorted(bags.values())


def files_of(bag: Path) -> list[Path]:
    """Return the storage files of a bag in their order: NAME_2 comes before NAME_10."""
    if not bag.is_dir():
        if not bag.is_file():
            raise UserError(f"{bag}: {'is a link that leads nowhere' if bag.is_symlink() else 'no such bag'}")
        return [bag]
    try:
        found = [path for path in bag.iterdir() if is_storage(path.name) and path.is_file()]
    except OSError as error:
        raise UserError(f"{bag}: cannot be read: {error.strerror or error}") from None
    if not found and not (bag / METADATA).is_file():
        found = [path for path in bag.iterdir() if is_ros1(path)]
    return sorted(found, key=_in_order_of_numbers)


def is_ros1(path: Path) -> bool:
    """Return True for a bag of ROS 1."""
    if path.suffix != _ROS1_SUFFIX or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(len(_ROS1_BEGIN)) == _ROS1_BEGIN
    except OSError:
        return False


def folders_below(top: Path, closed: Callable[[Path], None] = lambda folder: None) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder at and below `top`, and the names of its files; once, though links lead in circles.

    `closed` is called with each folder that cannot be read.
    """
    seen: set[Path] = set()
    for folder, below, names in os.walk(top, onerror=lambda error: closed(Path(error.filename)), followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(folder), sorted(names)


def _bags_in(folder: Path, names: list[str]) -> list[Path]:
    """Return the bags that the files of one folder are."""
    storage = [name for name in names if is_storage(name) and not name.startswith(".")]
    ros1 = [folder / name for name in names if is_ros1(folder / name)]
    if METADATA in names or len(storage) == 1 or (storage and _are_parts(storage)):
        return [folder, *ros1]
    # A link to a bag that is gone is told of, like a bag that cannot be read.
    gone = [folder / name for name in names if not Path(name).suffix and (folder / name).is_symlink()]
    return [*(folder / name for name in storage), *ros1, *(path for path in gone if not path.exists())]


def _are_parts(names: list[str]) -> bool:
    """Return True when the names are those that rosbag2 gives to the parts of one recording: NAME_0, NAME_1, ..."""
    parts = [re.fullmatch(r"(.*)_(\d+)", name.split(".", 1)[0]) for name in names]
    stems = {part.group(1) for part in parts if part}
    numbers = sorted(int(part.group(2)) for part in parts if part)
    return None not in parts and len(stems) == 1 and numbers == list(range(numbers[0], numbers[0] + len(names)))


def is_storage(name: str) -> bool:
    """Return True for the name of a storage file of rosbag2."""
    return name.endswith(SUFFIXES)


def _in_order_of_numbers(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
