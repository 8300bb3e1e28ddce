"""Transfer of a bundle to another machine in messages, without a shared disk. This module does not use ROS.

The receiver requests pieces of files (`IncomingBundle.requests`), and the sender answers (`OutgoingBundle.chunk`).
Pieces may arrive in any order or not at all: the receiver requests a late piece again, and none of a file that is whole
on its disk. It accepts a file only if its sha256 is that of the manifest, and the manifest only if its content gives
the offered id. The verified bundle appears in one rename; an attempt that ends earlier leaves a hidden folder, with
which the next attempt goes on.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fosp_core.bundle.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    content_id,
    file_hash,
    read_manifest,
    safe_name,
    verify_bundle,
)
from fosp_core.bundle.signature import MAX_SIGNATURE_BYTES, SIGNATURE
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import Manifest, parse_spec

CHUNK = 48 * 1024
"""Size of a piece in bytes: a message of this size is one UDP datagram."""
WINDOW = 16
"""Number of pieces that are under way at a time."""
PATIENCE_S = 1.0
"""A piece that has not arrived after this time is requested again."""
MOST_ATTEMPTS = 20
"""After this many requests for one piece the sender counts as silent."""
PAUSE_S = 10.0
"""A silent sender is asked again after this time."""
MOST_DAMAGED = 3
"""A file that arrived damaged this many times is damaged at the sender."""
LARGEST_BUNDLE = 4 << 30


@dataclass(frozen=True)
class Offer:
    """A bundle on offer: its manifest, byte for byte, and the sizes of all other files in bytes."""

    model_id: str
    manifest: bytes
    sizes: Mapping[str, int]
    stamp_ns: int
    parent_id: str = ""


@dataclass(frozen=True)
class PieceRequest:
    """A request for one piece of a file; offset and length in bytes."""

    file: str
    offset: int
    length: int


class OutgoingBundle:
    """The sender's side of a transfer. The constructor raises UserError when the bundle is not whole."""

    def __init__(self, directory: Path, stamp_ns: int) -> None:
        manifest = verify_bundle(directory)
        names = [*manifest.files, *([SIGNATURE] if (directory / SIGNATURE).is_file() else [])]
        sizes = {name: (directory / name).stat().st_size for name in names}
        self._directory = directory
        self.offer = Offer(manifest.id, (directory / MANIFEST).read_bytes(), sizes, stamp_ns, manifest.parent_id)

    def chunk(self, request: PieceRequest) -> bytes | None:
        """Return the requested piece, or None when there is no such piece or the file is gone."""
        size = self.offer.sizes.get(request.file)
        if size is None or not 0 <= request.offset < max(size, 1) or request.length <= 0:
            return None
        try:
            with (self._directory / request.file).open("rb") as file:
                file.seek(request.offset)
                return file.read(min(request.length, CHUNK))
        except OSError:
            return None


class IncomingBundle:
    """The receiver's side of a transfer, into the folder `folder`/ID; all times are monotonic, in s.

    The constructor raises UserError when the offer contradicts itself or the disk refuses.
    """

    def __init__(self, offer: Offer, folder: Path, robot: RobotConfig | None = None) -> None:
        self.offer, self._robot = offer, robot
        self._manifest = _checked_manifest(offer)
        self.target = folder / offer.model_id[:12]
        self._staging = folder / f".incoming_{offer.model_id[:12]}"
        self._asked: dict[PieceRequest, tuple[float, int]] = {}
        self._damaged: Counter[str] = Counter()
        self._go_on_s = 0.0
        self.silent = False
        """True when the sender has not answered for long; it is asked again every PAUSE_S."""
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            self._missing = {name: self._pieces(name) for name in offer.sizes}
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror or error}") from None

    @property
    def progress(self) -> float:
        """Share of the bytes that have arrived, in [0, 1]."""
        total = sum(self.offer.sizes.values())
        left = sum(request.length for pieces in self._missing.values() for request in pieces)
        return 1.0 - left / max(1, total)

    def requests(self, now_s: float) -> list[PieceRequest]:
        """Return the pieces to request now."""
        if now_s < self._go_on_s:
            return []
        if any(
            now_s - asked_s > PATIENCE_S and attempts >= MOST_ATTEMPTS for asked_s, attempts in self._asked.values()
        ):
            self._asked.clear()
            self.silent, self._go_on_s = True, now_s + PAUSE_S
            return []
        due = [r for r, (asked_s, _) in self._asked.items() if now_s - asked_s > PATIENCE_S]
        room = WINDOW - (len(self._asked) - len(due))
        fresh = (r for pieces in self._missing.values() for r in pieces if r not in self._asked)
        due += islice(fresh, max(0, room - len(due)))
        for request in due:
            self._asked[request] = (now_s, self._asked.get(request, (0.0, 0))[1] + 1)
        return due

    def receive(self, file: str, offset: int, data: bytes, crc32: int) -> None:
        """Store a piece that has arrived; ignore one that is damaged or was not requested.

        Raise UserError when the disk refuses, or a file arrives damaged MOST_DAMAGED times.
        """
        request = next((r for r in self._missing.get(file, ()) if (r.offset, r.length) == (offset, len(data))), None)
        if request is None or zlib.crc32(data) != crc32:
            return
        path = self._staging / file
        try:
            with path.open("r+b" if path.exists() else "w+b") as stream:
                stream.seek(offset)
                stream.write(data)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from None
        self._missing[file].remove(request)
        self._asked.pop(request, None)
        self.silent, self._go_on_s = False, 0.0
        if not self._missing[file] and not self._whole(file):
            self._damaged[file] += 1
            if self._damaged[file] >= MOST_DAMAGED:
                raise UserError(f"bundle {self.offer.model_id[:12]}: {file} arrived damaged again and again; given up")
            self._missing[file] = self._all_pieces(file)

    def finish(self) -> Path | None:
        """Return the folder of the bundle once all of it has arrived and is verified, None before.

        Raise UserError when the bundle does not verify, or the disk refuses.
        """
        if any(self._missing.values()):
            return None
        try:
            (self._staging / MANIFEST).write_bytes(self.offer.manifest)
            verify_bundle(self._staging, self._robot)
            if self.target.exists():
                shutil.rmtree(self.target)
            self._staging.rename(self.target)
        except OSError as error:
            raise UserError(f"{self.target}: {error.strerror or error}") from None
        return self.target

    def _pieces(self, name: str) -> list[PieceRequest]:
        """Return the missing pieces of a file: none or all, because a half-written file does not tell its holes."""
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.is_file() and path.stat().st_size == self.offer.sizes[name] and self._whole(name)
        if whole and name != SIGNATURE:
            return []
        path.unlink(missing_ok=True)
        return self._all_pieces(name)

    def _all_pieces(self, name: str) -> list[PieceRequest]:
        size = self.offer.sizes[name]
        return [PieceRequest(name, offset, min(CHUNK, size - offset)) for offset in range(0, size, CHUNK)]

    def _whole(self, name: str) -> bool:
        if name == SIGNATURE:
            return True  # it is verified with the bundle
        return file_hash(self._staging / name) == self._manifest.files[name]


def received(folder: Path, model_id: str) -> Path | None:
    """Return the folder of a bundle that arrived earlier and is whole, or None when there is none."""
    path = folder / model_id[:12]
    try:
        return path if read_manifest(path).id == model_id and verify_bundle(path).id == model_id else None
    except UserError:
        return None


def _checked_manifest(offer: Offer) -> Manifest:
    """Return the manifest of an offer; raise UserError when it does not give the offered id or names other files."""
    name = f"offer of {offer.model_id[:12]}"
    if len(offer.manifest) > MAX_MANIFEST_BYTES:
        raise UserError(f"{name}: its manifest is larger than a manifest may be")
    try:
        content = json.loads(offer.manifest)
    except (ValueError, RecursionError):
        raise UserError(f"{name}: its manifest is not valid JSON") from None
    manifest = parse_spec(Manifest, content, name)
    if content_id(manifest) != manifest.id or manifest.id != offer.model_id:
        raise UserError(f"{name}: the manifest's content does not give this id")
    _check_sizes(name, offer.sizes, list(manifest.files))
    return manifest


def _check_sizes(name: str, sizes: Mapping[str, int], listed: Sequence[str]) -> None:
    if set(sizes) - {SIGNATURE} != set(listed):
        raise UserError(f"{name}: its files are not those of the manifest")
    for file in listed:
        safe_name(file, name)
    if not all(size >= 0 for size in sizes.values()) or sum(sizes.values()) > LARGEST_BUNDLE:
        raise UserError(f"{name}: larger than {LARGEST_BUNDLE >> 30} GiB")
    if sizes.get(SIGNATURE, 0) > MAX_SIGNATURE_BYTES:
        raise UserError(f"{name}: its signature is larger than a signature may be")
