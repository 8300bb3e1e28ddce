"""Setting a checkout up with a Python and a pip that only pretend: in a path with spaces, and after accidents."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/bash
case "$*" in
    "-m venv .venv") [ -e "$HOME/no_ensurepip" ] && { mkdir -p .venv/bin; echo "ensurepip is not available"; exit 1; }
        mkdir -p .venv/bin; touch .venv/pyvenv.cfg; cp "$0" .venv/bin/python ;;
    "-m pip --version") ;;
    *" install "*) echo "$*" >> "$HOME/installed.txt"; echo "Collecting things" ;;
    *built_messages.py*) mkdir -p install ;;
    *print*) echo python3.11-venv ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with spaces, and in its `home` the programs that are called."""
    folder = tmp_path / "a path with spaces" / "fosp"
    for part in ("scripts", "requirements", "src/fosp_msgs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"python3": PYTHON, "dpkg-query": "#!/bin/bash\necho install ok installed\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return folder


def set_up(checkout: Path, part: str = "messages") -> subprocess.CompletedProcess[str]:
    home = checkout.parents[1]
    variables = {"PATH": f"{home / 'bin'}:/usr/bin:/bin", "HOME": str(home)}
    command = ["bash", str(checkout / "scripts" / "set_up.sh"), part]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)


def installed(checkout: Path) -> list[str]:
    """Return the arguments of each call of pip, a line each."""
    file = checkout.parents[1] / "installed.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_the_demo_installs_the_lock_with_its_hashes_once_and_tells_size_and_progress(checkout: Path) -> None:
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert "about 820 MB" in done.stderr
    assert len(installed(checkout)) == 1
    assert "--require-hashes -r requirements/run.lock" in installed(checkout)[0]
    assert set_up(checkout).returncode == 0
    assert len(installed(checkout)) == 1, "a part that is there costs nothing"
    assert set_up(checkout, "all").returncode == 0
    assert "-r requirements/learner.txt" in installed(checkout)[1]


def test_a_file_that_pip_takes_away_while_the_size_is_counted_ends_nothing(checkout: Path) -> None:
    counts = checkout.parents[1] / "bin" / "du"
    counts.write_text("#!/bin/bash\nprintf '12\\t.venv/\\n'\necho 'du: cannot access setuptools' >&2\nexit 1\n")
    counts.chmod(0o755)
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert len(installed(checkout)) == 1


@pytest.mark.parametrize("accident", ["no pip", "no configuration", "no python"])
def test_an_environment_that_was_left_half_made_is_made_anew(checkout: Path, accident: str) -> None:
    broken = checkout / ".venv" / "bin"
    broken.mkdir(parents=True)
    if accident != "no python":
        (broken / "python").write_text("#!/bin/bash\nexit 1\n" if accident == "no pip" else "#!/bin/bash\n")
        (broken / "python").chmod(0o755)
    if accident != "no configuration":
        (checkout / ".venv" / "pyvenv.cfg").touch()
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert ".venv is half-made" in done.stderr
    assert len(installed(checkout)) == 1


def test_a_python_without_ensurepip_is_told_with_the_package_that_brings_it(checkout: Path) -> None:
    (checkout.parents[1] / "no_ensurepip").touch()
    done = set_up(checkout)
    assert done.returncode == 2
    assert "sudo apt-get install -y python3-venv   (or python3.11-venv)" in done.stderr
    assert not (checkout / ".venv").exists(), "nothing half-made is left behind"
    (checkout.parents[1] / "no_ensurepip").unlink()
    assert set_up(checkout).returncode == 0


def built_messages() -> Any:
    specification = importlib.util.spec_from_file_location("built_messages", ROOT / "scripts" / "built_messages.py")
    assert specification is not None and specification.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_built_messages_of_the_repository_are_those_of_its_sources() -> None:
    module = built_messages()
    archives = [(name, path) for name, folder in module.PACKAGES.items() for path in folder.glob("built/*.tar.xz")]
    assert {name for name, _ in archives} == {"fosp_msgs", "tf2_msgs", "control_msgs"}
    for package, path in archives:
        with tarfile.open(path) as archive:
            written = archive.extractfile("sources.sha256")
            assert written is not None
            assert written.read().decode() == module.key(package), "run `make built-messages`"
            contents = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        assert any(name.endswith(("_latent.py", "_tf_message.py", "_gripper_command.py")) for name in contents)
        kinds = (
            "generator_c",
            "generator_py",
            "typesupport_c",
            "typesupport_fastrtps_c",
            "typesupport_introspection_c",
        )
        assert {f"lib/lib{package}__rosidl_{kind}.so" for kind in kinds} <= set(contents), "the middleware loads these"


def test_the_lock_pins_what_the_lists_name_and_the_versions_of_the_constraints() -> None:
    def names(path: Path) -> dict[str, str]:
        """Package -> its pinned version, empty where none is given."""
        found = {}
        for line in path.read_text().splitlines():
            name, _, version = line.split("#")[0].split(";")[0].rstrip("\\ ").partition("==")
            if name[:1].isalpha():
                found[name.partition("[")[0].strip().lower().replace("_", "-")] = version.strip()
        return found

    lock, constraints = names(ROOT / "requirements/run.lock"), names(ROOT / "requirements/constraints.txt")
    for part in ("ros", "robot", "sim", "console"):
        assert set(names(ROOT / f"requirements/{part}.txt")) <= set(lock), part
    assert not {"torch", "pytest", "ruff", "cmake", "colcon-core"} & set(lock)
    assert {name: version for name, version in lock.items() if constraints.get(name, version) != version} == {}
