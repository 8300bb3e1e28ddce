"""Built messages in the repository: `unpack` puts those for this Python and processor in place, `pack` renews them.

They spare whoever only wants to see the demo a compiler and the tools of colcon. They are used only when they were
built from exactly these sources against exactly these ROS packages; otherwise the messages are built here.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES, INSTALLED = ROOT / "src" / "fosp_msgs", ROOT / "install"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.system().lower()}-{platform.machine()}"
PACKAGES = {"fosp_msgs": SOURCES, "tf2_msgs": SOURCES / "tf2_msgs", "control_msgs": SOURCES / "control_msgs"}
"""Folder of each package of messages. tf2_msgs and control_msgs are for the wheels, which lack them; a ROS from apt has
them, and colcon does not look for packages within packages."""
_KEY = "sources.sha256"


def archive_of(package: str) -> Path:
    """Return the archive of a package's built messages for this Python and processor; it need not exist."""
    return PACKAGES[package] / "built" / f"{TAG}.tar.xz"


def key(package: str = "fosp_msgs") -> str:
    """Return the hash of the messages' sources and of the versions of the ROS packages that they are built against."""
    digest, sources = hashlib.sha256(), PACKAGES[package]
    kinds = ("msg", "srv", "action")
    for path in [sources / "CMakeLists.txt", *(path for k in kinds for path in sorted(sources.glob(f"{k}/*.{k}")))]:
        digest.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes() + b"\0")
    pins = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    digest.update("\n".join(sorted(pin for pin in pins if pin.startswith("ros-"))).encode())
    return digest.hexdigest()


def is_needed(path: Path) -> bool:
    """Return whether a file below install/ is needed at run time; `path` is relative."""
    name = path.as_posix()
    if "__pycache__" in name or "egg-info" in name or name.endswith(".c"):
        return False
    messages = tuple(f"share/{package}/{kind}/" for package in PACKAGES for kind in ("msg", "srv", "action"))
    parts = ("lib/", *messages, "share/ament_index/resource_index/packages/")
    return name.startswith(parts) and path.suffix not in (".idl", ".json")


def unpack() -> bool:
    """Put the messages below install/, and return True; False when those of a package do not fit."""
    fit = [_unpack(package) for package in PACKAGES]
    return all(fit)


def _unpack(package: str) -> bool:
    if not archive_of(package).is_file():
        return False
    with tarfile.open(archive_of(package)) as archive:
        written = archive.extractfile(_KEY)
        if written is None or written.read().decode() != key(package):
            return False
        for member in archive.getmembers():
            file, path = archive.extractfile(member), INSTALLED / member.name
            if file is not None and member.name != _KEY and path.resolve().is_relative_to(INSTALLED.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
    return True


def pack(package: str) -> Path:
    """Build the messages of a package anew, without a trace of this machine's folders, and write the archive."""
    target = archive_of(package)
    target.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=buffer, mode="w") as archive:
        _build(Path(folder), PACKAGES[package])
        for name, content in _contents(Path(folder, "install"), package):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    target.write_bytes(lzma.compress(buffer.getvalue(), preset=9))
    return target


def _build(folder: Path, sources: Path) -> None:
    maps = " ".join(f"-ffile-prefix-map={path}=." for path in (folder, ROOT, Path(sys.prefix), Path.home()))
    flags = f"-DNDEBUG {maps}"
    base = ["colcon", "--log-base", str(folder / "log"), "build", "--merge-install", "--base-paths", str(sources)]
    places = ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    settings = {"CMAKE_POLICY_VERSION_MINIMUM": "3.5", "BUILD_TESTING": "OFF", "CMAKE_BUILD_TYPE": "Release"}
    settings["Python3_EXECUTABLE"] = sys.executable
    options = [f"-D{name}={value}" for name, value in settings.items()]
    variables = {**os.environ, "CFLAGS": flags, "CXXFLAGS": flags}
    subprocess.run([*base, *places, "--cmake-args", *options], check=True, env=variables, stdout=subprocess.DEVNULL)


def _contents(installed: Path, package: str) -> Iterator[tuple[str, bytes]]:
    yield _KEY, key(package).encode()
    for path in sorted(path for path in installed.rglob("*") if path.is_file()):
        relative = path.relative_to(installed)
        if is_needed(relative):
            content = _stripped(path) if path.suffix == ".so" else path.read_bytes()
            yield relative.as_posix(), content


def _stripped(library: Path) -> bytes:
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "--strip-unneeded", "-o", copy.name, str(library)], check=True)
        return Path(copy.name).read_bytes()


def main() -> int:
    if sys.argv[1:] == ["unpack"]:
        return 0 if unpack() else 1
    if sys.argv[1:] == ["pack"]:
        for archive in map(pack, PACKAGES):
            print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e3:.0f} kB")
        return 0
    print("usage: built_messages.py unpack|pack", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
