"""Writes docs/bundles: a page for each bundle that is shipped in models, from its manifest.

python -m fosp_cli.evaluation.bundle_pages docs/bundles
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fosp_bringup.paths import share
from fosp_core.bundle.acceptance import unsupported_because
from fosp_core.bundle.bundle import read_manifest
from fosp_core.specs import Manifest

_WRITTEN = (
    "<!-- Written by `python -m fosp_cli.evaluation.bundle_pages docs/bundles` from manifest.json; do not edit. -->"
)
_MEANINGS = {
    "action_rmse": "difference of the actor's mode from the recorded action, normalised (root mean square)",
    "cloning_nll": "negative log likelihood of recorded actions under the actor",
    "pixel_rmse": "error of reconstructed images, of 255 (root mean square)",
    "q_h_auc": "area under the ROC curve of Q_h for steps before a violation",
    "q_h_auc_next": "the same for the very steps that end in a violation",
    "q_r_correlation": "correlation of Q_r with the return that came",
    "q_r_success_auc": "area under the ROC curve of Q_r for steps of episodes that arrive, against those that hang",
    "q_s_auc": "the same of the success critic Q_s",
    **{
        f"prediction_share_{n}": f"error of embeddings predicted {n} steps ahead; 1 is that of expecting no motion"
        for n in (1, 4, 8, 12)
    },
    "reward_rmse": "error of the predicted reward (root mean square)",
    "surprise_mean": "mean surprise per step, nats",
}
"""Metric of a manifest -> what it says."""


def shipped_bundles() -> list[Path]:
    """Return the folders of the shipped bundles, sorted."""
    return sorted(path.parent for path in (share() / "models").glob("*/manifest.json"))


def pages() -> dict[str, str]:
    """Return the content of each page of docs/bundles by its file name."""
    manifests = {folder.name: read_manifest(folder) for folder in shipped_bundles()}
    found = {f"{name}.md": bundle_page(name, manifest) for name, manifest in manifests.items()}
    return {"README.md": _index(manifests), **found}


def _index(manifests: Mapping[str, Manifest]) -> str:
    rows = [
        (f"[{name}]({name}.md)", one.task, one.robot, one.size, str(one.training.get("episodes", "?")))
        for name, one in manifests.items()
    ]
    table = _table(("bundle", "task", "robot", "size", "training episodes"), rows)
    return f"# Shipped bundles\n\n{_WRITTEN}\n\n{table}"


def bundle_page(name: str, manifest: Manifest) -> str:
    """Return the page of one bundle, Markdown."""
    training, calibration, period_s = manifest.training, manifest.calibration, manifest.decision_period_s
    doubt = unsupported_because(calibration)
    cameras = ", ".join(f"`{c.topic}` {c.width} x {c.height}" for c in manifest.observation.cameras)
    axes = ", ".join(f"{axis.name} +-{axis.scale:g} {axis.unit}" for axis in manifest.action.axes)
    camera = calibration.camera
    specification = [
        ("id", f"`{manifest.id}`"),
        ("made from", f"`{manifest.parent_id}`" if manifest.parent_id else "nothing: trained offline"),
        ("task, robot", f"{manifest.task}, {manifest.robot}"),
        ("size of the networks", manifest.size),
        ("observation", cameras),
        ("action", f"{axes}, in `{manifest.action.frame_id}`"),
        ("decision period", f"{period_s:g} s"),
    ]
    thresholds = [
        ("feasibility threshold eps", f"{calibration.eps:.4f}, {'UNSUPPORTED: ' + doubt if doubt else 'supported'}"),
        ("promised miss rate", f"at most {calibration.miss_rate_bound:.3f} (alpha {calibration.alpha:g})"),
        (
            "steps before a violation that count",
            f"{calibration.horizon_steps} ({calibration.horizon_steps * period_s:g} s)",
        ),
        ("calibrated on", f"{calibration.episodes} episodes, of which {calibration.violating_episodes} violate"),
        ("false vetoes", f"{calibration.false_veto_rate:.1%} of the steps of safe episodes"),
        ("surprise limit", f"{calibration.surprise_limit:.3f} nats"),
        ("range of its values", ", ".join(f"{k} [{a:.3g}, {b:.3g}]" for k, (a, b) in calibration.ranges.items())),
    ]
    if camera is not None:
        limits = f"novelty {camera.novelty_limit:.2f}, inconsistency {camera.inconsistency_limit:.2f}"
        thresholds.append(("limits of its frames", f"{limits}; false alarms in at most {camera.false_alarm_bound:.2%}"))
    figures = [(f"`{key}`", f"{value:.4g}", _MEANINGS.get(key, "")) for key, value in sorted(manifest.metrics.items())]
    return (
        f"# {name}\n\n{_WRITTEN}\n\n"
        f"    ./fosp bundle show models/{name}\n\n"
        f"## What it is for\n\n{_table(('', ''), specification)}\n"
        f"## What it was trained on\n\n{_table(('', ''), _training_rows(training))}\n"
        f"## Figures on held-out episodes\n\n{_table(('figure', 'value', 'meaning'), figures)}\n"
        f"## Thresholds of the runtime\n\n{_table(('', ''), thresholds)}\n"
        f"What it reaches is in [results of training](../results/training.md#what-they-reach).\n"
    )


def _training_rows(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the manifest says of the data and of the run, as far as it does."""
    rows = [
        ("command", _code(training.get("command"))),
        ("episodes, steps", _joined(training, "episodes", "data_steps")),
        ("episodes that succeed", _share(training.get("data_success_share"))),
        ("episodes that violate", _share(training.get("data_violation_share"))),
        ("updates", _said(training.get("steps"))),
        ("time", f"{training['wall_time_s'] / 60:.0f} min" if "wall_time_s" in training else ""),
        ("seed, torch", _joined(training, "seed", "torch")),
        ("hash of the data", _code(str(training["data_sha256"])[:16]) if "data_sha256" in training else ""),
    ]
    reference, probes = training.get("reference", {}), training.get("probes", {})
    rows += [("reference of its cameras", f"{reference['episodes']} more episodes")] if "episodes" in reference else []
    rows += [("probes, for a swap", f"{probes['episodes']} episodes")] if "episodes" in probes else []
    return [row for row in rows if row[1]]


def _joined(training: Mapping[str, Any], *keys: str) -> str:
    return ", ".join(_said(training[key]) for key in keys if key in training)


def _said(value: Any) -> str:
    return "" if value is None else f"{value}"


def _share(value: Any) -> str:
    return "" if value is None else f"{value:.1%}"


def _code(value: Any) -> str:
    return "" if not value else f"`{value}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the pages to a folder, and take away those of bundles that are no longer shipped."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for stale in set(folder.glob("*.md")) - {folder / name for name in made}:
        stale.unlink()
    for name, page in made.items():
        (folder / name).write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
