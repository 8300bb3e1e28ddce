"""A candidate's judge is held against the running one on the probes of the bundle that the graph was started with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import tiny_manifest, tiny_probes, write_tiny_bundle

from fosp_core.bundle.agreement import (
    DEFAULT,
    Scores,
    binomial_most,
    declared_tolerance,
    disagreement,
    disagreements,
    rank_correlation,
    require_agreement,
    scores_of,
)
from fosp_core.bundle.bundle import Bundle, load_bundle, read_manifest, write_bundle
from fosp_core.bundle.packed_arrays import packed_bytes, read_packed
from fosp_core.bundle.probes import BEFORE, MOST_BYTES, PROBES, SAFE, UNKNOWN, probe_bytes, read_probes
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

ARM = read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")
MANIFEST = tiny_manifest(ARM)
TINY = tiny_probes(MANIFEST)
OWN = Scores(np.clip(TINY.actions[..., 0], 0, 1), 0.5)


def bundle(folder: Path, **options: Any) -> Bundle:
    write_tiny_bundle(folder, ARM, **options)
    return load_bundle(folder, provider="cpu")


def other(q_h: Any, eps: float = 0.5) -> list[str]:
    return disagreements(OWN, Scores(np.asarray(q_h, np.float32), eps), TINY)


def test_the_probes_of_a_bundle_come_back_from_disk_as_they_were_and_it_agrees_with_itself(tmp_path: Path) -> None:
    running = bundle(tmp_path / "a")
    assert running.probes is not None
    for name in ("images", "executed", "actions", "labels"):
        assert np.array_equal(getattr(running.probes, name), getattr(TINY, name))
    assert running.probes.tolerance == TINY.tolerance
    np.testing.assert_allclose(scores_of(running, running.probes).q_h, OWN.q_h, atol=1e-6)
    require_agreement(running, bundle(tmp_path / "b", seed=1, policy_action=[0.2, 0.1, 0.0]), running.probes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"judge": (0.0, 0.0)}, "lets pass 10 of 10 actions before a violation"),
        ({"judge": (-1.0, 1.0)}, "vetoes 10 of 10 safe actions"),
        ({"judge": (0.0, 0.5)}, "lets pass 10 of 10 actions before a violation"),
        ({"judge": (0.0, 0.5), "calibration": {"eps": 0.4}}, "vetoes 10 of 10 safe actions"),
        ({"calibration": {"eps": 0.98}}, "lets pass 1"),
        ({"calibration": {"eps": 1e-6}}, "vetoes 10 of 10 safe actions"),
    ],
)
def test_a_judge_that_is_no_good_is_refused_with_the_numbers(tmp_path: Path, options: Any, said: str) -> None:
    running = bundle(tmp_path / "a")
    with pytest.raises(UserError) as refusal:
        require_agreement(running, bundle(tmp_path / "b", **options), running.probes)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_probes_nothing_is_taken_over(tmp_path: Path) -> None:
    running = bundle(tmp_path / "a", probes=False)
    assert running.probes is None
    with pytest.raises(UserError, match=r"holds no probes.*fosp bundle probes"):
        require_agreement(running, bundle(tmp_path / "b"), running.probes)


def test_risks_that_are_not_numbers_are_no_agreement() -> None:
    assert other(np.full_like(OWN.q_h, np.nan)) == ["gives risks that are not numbers"]


def test_a_judge_that_knows_the_moments_but_not_the_actions_is_refused() -> None:
    blind = np.repeat(OWN.q_h[:, :1], OWN.q_h.shape[1], axis=1)
    assert any("orders 50% of the actions of a moment alike" in reason for reason in other(blind))


def test_the_verdicts_count_and_not_the_scale_of_the_risks() -> None:
    assert other(OWN.q_h**3, 0.5**3) == []
    assert any("lets pass" in reason for reason in other(OWN.q_h**3, 0.5))
    assert any("vetoes" in reason for reason in other(OWN.q_h ** (1 / 3), 0.5))


def test_a_share_of_few_actions_says_nothing() -> None:
    few = Scores(np.zeros((2, 3), np.float32), 0.5)
    found = disagreement(few, Scores(np.ones((2, 3), np.float32), 0.5), np.array([SAFE, UNKNOWN], np.int8))
    assert (found.safe, found.vetoed, found.before) == (1, 1, 0)
    assert np.isnan([found.overlooked, found.overvetoed, found.order]).all()


# -- the tolerance -----------------------------------------------------------------------------------
@pytest.mark.parametrize(("count", "share", "most"), [(24, 0.05, 4), (10, 0.0, 0), (10, 1.0, 10), (1, 0.5, 1)])
def test_the_count_that_a_judge_which_keeps_its_promise_exceeds_in_one_of_a_hundred_cases(
    count: int, share: float, most: int
) -> None:
    assert binomial_most(count, share) == most


def test_the_count_holds_in_a_simulation_of_judges_that_just_keep_their_promise() -> None:
    missed = np.random.default_rng(0).binomial(24, 0.05, 100_000)
    assert (missed > binomial_most(24, 0.05)).mean() <= 0.01


def test_other_fit_judges_widen_what_is_tolerated_and_never_narrow_it() -> None:
    fit = Scores(OWN.q_h, 0.7)
    alone = declared_tolerance(OWN, TINY.labels, 0.05, 0.1)
    assert (alone.overlooked, alone.judges) == (DEFAULT.overlooked, 0)
    with_it = declared_tolerance(OWN, TINY.labels, 0.05, 0.1, [fit, OWN])
    assert with_it.overlooked == pytest.approx(disagreement(OWN, fit, TINY.labels).overlooked)
    assert with_it.overlooked > DEFAULT.overlooked
    assert (with_it.overvetoed, with_it.rank, with_it.judges) == (DEFAULT.overvetoed, DEFAULT.rank, 2)


def test_ranks_of_equal_values_are_shared_and_a_constant_orders_nothing() -> None:
    rising = np.arange(5, dtype=np.float32)
    assert rank_correlation(rising, rising**3) == pytest.approx(1.0)
    assert rank_correlation(rising, -rising) == pytest.approx(-1.0)
    assert rank_correlation(rising, np.zeros(5, np.float32)) == 0.0
    assert rank_correlation(rising, np.array([0, 1, 1, 2, 2], np.float32)) == pytest.approx(0.9486833)


# -- probes that come from anywhere ------------------------------------------------------------------
def with_content(folder: Path, content: bytes) -> Path:
    """A bundle whose probes.npz holds `content`, with the right hash."""
    write_tiny_bundle(folder / "source", ARM, probes=False)
    manifest = read_manifest(folder / "source")
    files: dict[str, Path | bytes] = {name: folder / "source" / name for name in manifest.files}
    write_bundle(folder / "bundle", manifest, {**files, PROBES: content})
    return folder / "bundle"


def changed(**changes: Any) -> bytes:
    return probe_bytes(dataclasses.replace(TINY, **changes))


def tolerating(**changes: Any) -> bytes:
    return changed(tolerance=dataclasses.replace(TINY.tolerance, **changes))


WHOLE = probe_bytes(TINY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WHOLE[: len(WHOLE) // 2], "not readable"),
        (b"", "not readable"),
        (packed_bytes({"images": TINY.images}), "expected"),
        (packed_bytes({"images": np.array([{}], object)}), "not readable"),
        (changed(images=TINY.images.astype(np.float32)), "'images' must have 6 axes of uint8"),
        (changed(images=TINY.images[:, :, :, :32]), "'images' has the shape"),
        (changed(executed=TINY.executed[:-1]), "'executed' has the shape"),
        (changed(actions=TINY.actions[:, :, :1]), "'actions' has the shape"),
        (changed(actions=TINY.actions * np.float32(np.nan)), "outside of"),
        (changed(actions=TINY.actions * np.float32(9)), "outside of"),
        (changed(labels=TINY.labels + np.int8(3)), "unknown label"),
        (changed(labels=np.zeros_like(TINY.labels)), "0 sequences before a violation"),
        (tolerating(missed=10), "tolerates a share of 1.00 missed; at most 0.5"),
        (tolerating(vetoed=10), "tolerates a share of 1.00 vetoed"),
        (tolerating(overlooked=1.0), "tolerates a share of 1.00 overlooked"),
        (tolerating(overvetoed=-1.0), "overvetoed"),
        (tolerating(rank=-1.0), "rank of -1.00; at least 0.3"),
        (tolerating(order=0.0), "order of 0.00; at least 0.6"),
        (tolerating(rank=float("nan")), "not a finite number"),
    ],
    ids=range(19),
)
def test_probes_that_are_malformed_or_tolerate_all_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_bundle(with_content(tmp_path, content), provider="cpu")
    assert said in str(refusal.value)
    assert PROBES in str(refusal.value)


def test_a_file_that_unpacks_to_more_than_allowed_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    path.write_bytes(packed_bytes({"images": np.zeros(MOST_BYTES + 1, np.uint8)}))
    assert path.stat().st_size < MOST_BYTES // 100
    with pytest.raises(UserError, match="unpacks to more than 64 MiB"):
        read_packed(path, MOST_BYTES)


def test_a_bundle_that_lists_no_probes_has_none(tmp_path: Path) -> None:
    manifest = write_tiny_bundle(tmp_path / "bundle", ARM, probes=False)
    assert read_probes(tmp_path / "bundle", manifest) is None
    assert TINY.count(BEFORE) == TINY.count(SAFE) == 10
