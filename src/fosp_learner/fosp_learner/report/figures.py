"""Figures of the report, each a matplotlib Figure without global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fosp_core.specs import Calibration
from fosp_learner.bundling.calibration import EpisodeValues
from fosp_learner.bundling.prediction import PredictionErrors
from fosp_learner.bundling.validation import EndedEpisode, auc_by_step
from fosp_learner.report.figure_data import CONTEXT, CalibrationCurve, Floats, Prediction, Reliability, SceneFrames

BLUE, RED, GREY, GREEN = "#1f5fa8", "#c0392b", "#8a8f98", "#2e8b57"
_RISK = LinearSegmentedColormap.from_list("risk", ["#f4f8fc", "#9fc3e6", "#f2b880", "#c0392b"])
_PANELS = (
    ("image", ("world_model/reconstruction",)),
    ("KL", ("world_model/kl",)),
    ("reward, cost, continue", ("world_model/reward", "world_model/cost", "world_model/continue")),
    ("actor", ("behaviour/cloning", "behaviour/actor")),
    ("return and cost critics", ("behaviour/q_r", "behaviour/v_r", "behaviour/q_c", "behaviour/v_c")),
    ("risk and success critics", ("behaviour/q_h", "behaviour/v_h", "behaviour/q_s", "behaviour/v_s")),
    ("weights", ("behaviour/weight_effective_share", "behaviour/weight_zero_share", "behaviour/multiplier")),
    ("gradient norms", ("gradient/world_model", "gradient/critics", "gradient/actor")),
)
_LOGARITHMIC = {"image", "gradient norms"}
_MOST_EPISODES = 80


def training_curves(losses: dict[str, tuple[Floats, Floats]], phases: Sequence[tuple[str, int]]) -> Figure:
    """Draw every loss over the steps, smoothed, with the phases marked."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(2, 4)
    for panel, (title, names) in zip(axes.flat, _PANELS, strict=True):
        _plain(panel, title)
        for name, colour in zip(names, (BLUE, RED, GREY, GREEN), strict=False):
            if name in losses:
                steps, values = losses[name]
                panel.plot(steps, values, color=colour, alpha=0.2, linewidth=0.7)
                panel.plot(steps, smoothed(values), color=colour, linewidth=1.4, label=name.split("/")[1])
        end = 0
        for _, steps_of_phase in phases[:-1]:
            end += steps_of_phase
            if end:
                panel.axvline(end, color=GREY, linewidth=0.7, linestyle=":")
        if title in _LOGARITHMIC and panel.lines:
            panel.set_yscale("log")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, frameon=False, loc="upper right")
        panel.set_xlabel("step", fontsize=8)
    return figure


def smoothed(values: Floats, share: float = 0.05) -> Floats:
    """Return the centred running mean over a share of the points, cut off at the ends."""
    reach = max(1, round(share * len(values))) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    begin = np.maximum(np.arange(len(values)) - reach, 0)
    end = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    result: Floats = (sums[end] - sums[begin]) / (end - begin)
    return result


def open_loop(predictions: Sequence[Prediction], ours: Floats, still: Floats, period_s: float) -> Figure:
    """Draw truth and prediction side by side, and the pixel error over the horizon."""
    columns = 6
    figure = Figure(figsize=(13, 3.2 * len(predictions) + 2.8), layout="constrained")
    grid = figure.add_gridspec(2 * len(predictions) + 1, columns, height_ratios=[1] * 2 * len(predictions) + [1.3])
    for number, prediction in enumerate(predictions):
        ahead = np.unique(np.linspace(0, len(prediction.truth) - 1, columns).round().astype(int))
        for column, t in enumerate(ahead):
            for row, (name, images) in enumerate((("truth", prediction.truth), ("predicted", prediction.predicted))):
                panel = figure.add_subplot(grid[2 * number + row, column])
                panel.imshow(images[t])
                _without_ticks(panel)
                if row == 0:
                    panel.set_title(f"+{(t + 1) * period_s:.2f} s", fontsize=8)
                if column == 0:
                    panel.set_ylabel(f"{name}\n{prediction.episode}" if row == 0 else name, fontsize=8)
    panel = figure.add_subplot(grid[-1, :])
    _plain(panel, f"pixel error after {CONTEXT} seen frames, mean over held-out episodes")
    ahead_s = period_s * np.arange(1, len(ours) + 1)
    panel.plot(ahead_s, ours, color=BLUE, label="predicted from the actions")
    panel.plot(ahead_s, still, color=GREY, linestyle="--", label="if nothing moved")
    panel.set_xlabel("s ahead", fontsize=8)
    panel.set_ylabel("RMS of 255", fontsize=8)
    panel.legend(fontsize=8, frameon=False)
    return figure


def predicted_embeddings(errors: PredictionErrors, period_s: float) -> Figure:
    """Draw the error of predicted embeddings over the steps ahead, beside the guess that nothing moves."""
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    distance, share = figure.subplots(1, 2)
    ahead_s = period_s * np.arange(1, len(errors.model) + 1)
    _plain(distance, "distance from the embedding that came")
    distance.plot(ahead_s, errors.model, color=BLUE, label="predicted from the actions")
    distance.plot(ahead_s, errors.still, color=GREY, linestyle="--", label="if nothing moved")
    distance.legend(fontsize=8, frameon=False)
    _plain(share, "as a share of the guess that nothing moves")
    share.plot(ahead_s, errors.share, color=BLUE)
    share.axhline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    share.set_ylim(0, max(1.05, float(np.nanmax(errors.share))))
    for panel in (distance, share):
        panel.set_xlabel("s ahead", fontsize=8)
    return figure


def success_told(ended: Sequence[EndedEpisode], period_s: float) -> Figure:
    """Draw how well Q_s and Q_r tell episodes that arrive from those that hang, and Q_s along both kinds."""
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    told, values = figure.subplots(1, 2)
    _plain(told, "arriving told from hanging")
    for of, label, colour in (("q_s", "success critic", BLUE), ("q_r", "return critic", GREY)):
        curve = auc_by_step(ended, of)
        if len(curve):
            told.plot(period_s * np.arange(len(curve)), curve, color=colour, label=label)
    told.axhline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    told.set_ylim(0, 1.02)
    told.legend(fontsize=8, frameon=False)
    _plain(values, "success critic along episodes")
    for arrived, label, colour in ((True, "arrives", GREEN), (False, "hangs", RED)):
        some = [episode.q_s for episode in ended if episode.arrived == arrived and len(episode.q_s)]
        length = int(np.median([len(one) for one in some])) if some else 0
        if not length:
            continue
        columns = [np.array([one[t] for one in some if len(one) > t]) for t in range(length)]
        low, middle, high = np.array([np.quantile(column, [0.25, 0.5, 0.75]) for column in columns]).T
        values.fill_between(period_s * np.arange(length), low, high, color=colour, alpha=0.2, linewidth=0)
        values.plot(period_s * np.arange(length), middle, color=colour, label=label)
    values.set_ylim(0, 1.02)
    if values.lines:
        values.legend(fontsize=8, frameon=False)
    for panel in (told, values):
        panel.set_xlabel("s", fontsize=8)
    return figure


def scene_map(scene: SceneFrames, v_h: NDArray[np.float32], eps: float) -> Figure:
    """Draw V_h over the places of a scene, beside the view of the camera."""
    wide = 4.6 * float(np.ptp(scene.x) / np.ptp(scene.y)) + 1.4
    figure = Figure(figsize=(4.6 + wide, 5), layout="constrained")
    picture, panel = figure.subplots(1, 2, width_ratios=[4.6, wide])
    picture.imshow(scene.picture)
    _without_ticks(picture)
    picture.set_title("the camera's view from the start", fontsize=9)
    _plain(panel, "V_h with the robot there")
    mesh = panel.pcolormesh(scene.x, scene.y, v_h, cmap=_RISK, vmin=0, vmax=1, shading="nearest")
    figure.colorbar(mesh, ax=panel, fraction=0.04, label="V_h")
    _contour(panel, scene, scene.clearance, 0.0, "black", "-")
    _contour(panel, scene, v_h, eps, BLUE, "--")
    panel.plot(*scene.start, "o", color="black", markersize=6)
    panel.plot(*scene.goal, "*", color=GREEN, markersize=14)
    panel.set_aspect("equal")
    panel.set_xlabel("x, m", fontsize=8)
    panel.set_ylabel("y, m", fontsize=8)
    return figure


def _contour(panel: Axes, scene: SceneFrames, values: NDArray[Any], level: float, colour: str, style: str) -> None:
    if float(np.min(values)) < level < float(np.max(values)):
        panel.contour(scene.x, scene.y, values, levels=[level], colors=[colour], linestyles=[style], linewidths=1.4)


def episode_map(episodes: Sequence[EpisodeValues], period_s: float) -> Figure:
    """Draw V_h along held-out episodes, first those that violate, with the violations marked."""
    ordered = sorted(episodes, key=lambda e: (not e.violates, _first_violation(e), len(e.v_h)))
    half = _MOST_EPISODES // 2
    violating = [e for e in ordered if e.violates][:half]
    shown = violating + [e for e in ordered if not e.violates][: _MOST_EPISODES - len(violating)]
    longest = max(len(e.v_h) for e in shown)
    grid = np.full((len(shown), longest), np.nan)
    figure = Figure(figsize=(11, 1.6 + 0.06 * len(shown)), layout="constrained")
    panel = figure.subplots()
    _plain(panel, "V_h along held-out episodes; crosses: cost arrives")
    for row, episode in enumerate(shown):
        grid[row, : len(episode.v_h)] = episode.v_h
        times = period_s * (1 + np.flatnonzero(episode.cost > 0))
        panel.plot(times, np.full(len(times), row), "x", color="black", markersize=3, markeredgewidth=0.8)
    mesh = panel.imshow(
        grid, aspect="auto", cmap=_RISK, vmin=0, vmax=1, interpolation="nearest",
        extent=(-0.5 * period_s, (longest - 0.5) * period_s, len(shown) - 0.5, -0.5),
    )  # fmt: skip
    if 0 < len(violating) < len(shown):
        panel.axhline(len(violating) - 0.5, color="black", linewidth=0.8)
    figure.colorbar(mesh, ax=panel, fraction=0.03, label="V_h")
    panel.set_xlabel("s since the episode began", fontsize=8)
    panel.set_ylabel("episode", fontsize=8)
    return figure


def calibration_curves(curve: CalibrationCurve, calibration: Calibration) -> Figure:
    """Draw missed violations and false vetoes over the threshold, with the chosen one."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    panel = figure.subplots()
    _plain(panel, "What a threshold on Q_h means on held-out episodes")
    panel.step(curve.eps, curve.miss_rate, where="post", color=RED, label="missed: onsets that pass at the last chance")
    panel.step(curve.eps, curve.bound, where="post", color=RED, alpha=0.45, linestyle="--",
               label="bound on it for a new episode")  # fmt: skip
    panel.step(curve.eps, curve.false_veto_rate, where="post", color=BLUE, label="vetoed: steps of safe episodes")
    panel.axhline(calibration.alpha, color=GREY, linewidth=0.8, linestyle=":")
    panel.annotate(f"alpha {calibration.alpha:g}", (curve.eps[-1], calibration.alpha), fontsize=8, ha="right",
                   va="bottom", color=GREY)  # fmt: skip
    panel.axvline(calibration.eps, color="black", linewidth=1.2)
    panel.annotate(f" eps {calibration.eps:.3g}", (calibration.eps, 0.97), fontsize=9, va="top")
    panel.set_ylim(-0.02, 1.02)
    panel.set_xscale("symlog", linthresh=max(1e-4, min(0.1, calibration.eps)))
    panel.set_xlim(0, 1)
    panel.set_xlabel("threshold eps", fontsize=8)
    panel.legend(fontsize=8, frameon=False, loc="center")
    return figure


def reliability_diagrams(reach: Reliability, returned: Reliability) -> Figure:
    """Draw predictions in bins against outcomes, for Q_h and Q_r."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for panel, bins, title in (
        (left, reach, "Q_h, and how soon a violation came"),
        (right, returned, "Q_r, and the return that came"),
    ):
        _plain(panel, title)
        low = float(min(bins.predicted.min(), bins.observed.min()))
        high = float(max(bins.predicted.max(), bins.observed.max()))
        panel.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle=":")
        panel.errorbar(bins.predicted, bins.observed, 2 * bins.error, color=BLUE, marker="o", markersize=4,
                       linewidth=1.2, capsize=2)  # fmt: skip
        for x, y, count in zip(bins.predicted, bins.observed, bins.count, strict=True):
            panel.annotate(f"{count:.0f}", (x, y), fontsize=6, xytext=(3, -8), textcoords="offset points", color=GREY)
        panel.set_xlabel("predicted", fontsize=8)
        panel.set_ylabel("observed", fontsize=8)
    return figure


def surprise_histogram(episodes: Sequence[EpisodeValues], limit: float) -> Figure:
    """Draw the KL[posterior || prior] of all held-out steps, with the limit of the runtime."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    panel = figure.subplots()
    _plain(panel, "Surprise per step")
    values = np.concatenate([e.surprise for e in episodes])
    panel.hist(values, bins=np.linspace(0, max(limit, float(values.max())) * 1.02, 60).tolist(), color=BLUE, log=True)
    panel.axvline(limit, color="black", linewidth=1.2)
    panel.annotate(f" limit {limit:.3g}", (limit, 0.97), xycoords=("data", "axes fraction"), fontsize=9, va="top")
    panel.set_xlabel("KL of posterior and prior, nats", fontsize=8)
    panel.set_ylabel("steps", fontsize=8)
    return figure


def _first_violation(episode: EpisodeValues) -> int:
    return int(np.argmax(episode.cost > 0)) if episode.violates else 0


def _plain(panel: Axes, title: str) -> None:
    panel.set_title(title, fontsize=9, loc="left")
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)


def _without_ticks(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
