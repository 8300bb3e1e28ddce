"""Bundles loaded in the background: real files, real ONNX sessions."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import Bundle, load_bundle, sign_bundle
from fosp_core.bundle.loader import BundleLoader, Loaded
from fosp_core.bundle.signature import SIGNATURE, generate_key
from fosp_core.robot.config import read_robot
from fosp_core.swap.sequence import Announcement

ROBOT = Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml"


@pytest.fixture
def bundle(tmp_path: Path) -> Announcement:
    manifest = write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT))
    return Announcement(manifest.id, tmp_path / "bundle", 1)


def load(announcement: Announcement) -> Bundle:
    return load_bundle(announcement.path, provider="cpu")


def result(loader: BundleLoader) -> Loaded:
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        taken = loader.take()
        if taken:
            return taken[0]
        threading.Event().wait(0.005)
    raise AssertionError("nothing was loaded within 10 s")


def test_a_good_bundle_is_loaded(bundle: Announcement) -> None:
    loader = BundleLoader(load)
    loader.offer(bundle)
    loaded = result(loader)
    assert loaded.refusal == ""
    assert loaded.bundle is not None
    assert loaded.bundle.manifest.id == bundle.model_id
    loader.close()


def vanish(path: Path) -> None:
    shutil.rmtree(path)


def halve(path: Path) -> None:
    """Leave the bundle as an interrupted copy does."""
    file = path / "critic.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_a_file(path: Path) -> None:
    (path / "policy.onnx").unlink()


def no_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "line"),
    [(vanish, "no such bundle"), (halve, "damaged"), (lose_a_file, "missing"), (no_manifest, "is this a bundle")],
)
def test_what_is_broken_is_refused_in_one_line_and_the_loader_goes_on(
    bundle: Announcement, tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    good = tmp_path / "good"
    shutil.copytree(bundle.path, good)
    damage(bundle.path)
    loader = BundleLoader(load)
    loader.offer(bundle)
    loaded = result(loader)
    assert loaded.bundle is None
    assert line in loaded.refusal
    assert "\n" not in loaded.refusal
    loader.offer(Announcement(bundle.model_id, good, 2))
    assert result(loader).bundle is not None
    loader.close()


def test_a_bundle_of_another_id_than_announced_is_refused(bundle: Announcement) -> None:
    loader = BundleLoader(load)
    loader.offer(Announcement("f" * 64, bundle.path, 1))
    assert "announced was ffffffffffff" in result(loader).refusal
    loader.close()


def test_an_error_that_nobody_expected_is_a_refusal_not_the_end_of_the_thread(bundle: Announcement) -> None:
    def fail(announcement: Announcement) -> Bundle:
        raise MemoryError("no memory for\nthis")

    loader = BundleLoader(fail)
    loader.offer(bundle)
    assert "MemoryError: no memory for this" in result(loader).refusal
    loader.offer(bundle)
    assert result(loader).bundle is None
    loader.close()


def test_a_robot_with_keys_takes_over_nothing_that_is_unsigned_or_signed_by_others(
    bundle: Announcement, tmp_path: Path
) -> None:
    trusted, stranger = generate_key(tmp_path / "trusted.pem"), generate_key(tmp_path / "stranger.pem")
    assert trusted != stranger
    robot = read_robot(ROBOT).model_copy(update={"bundle_keys": (trusted,)})
    loader = BundleLoader(lambda offered: load_bundle(offered.path, robot, "cpu"))
    loader.offer(bundle)
    assert "sign" in result(loader).refusal
    sign_bundle(bundle.path, tmp_path / "stranger.pem")
    loader.offer(bundle)
    assert "sign" in result(loader).refusal
    (bundle.path / SIGNATURE).unlink()
    sign_bundle(bundle.path, tmp_path / "trusted.pem")
    loader.offer(bundle)
    assert result(loader).bundle is not None
    loader.close()
