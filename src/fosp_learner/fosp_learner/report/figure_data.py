"""Numbers behind the figures: losses, calibration, reliability, open-loop predictions, and V_h over a scene."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_learner.bundling.calibration import EpisodeValues, onset_scores
from fosp_learner.model.critics import Critics
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.filtering import FilteredEpisode

Floats = NDArray[np.float64]
CONTEXT = 5
"""Frames that the model sees before it predicts."""
_GROUP = 256


def read_losses(path: Path) -> dict[str, tuple[Floats, Floats]]:
    """Return steps and values of each figure of a losses.csv; UserError when it is missing or damaged."""
    series: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(newline="") as stream:
            for row in csv.DictReader(stream):
                series.setdefault(row["figure"], []).append((float(row["step"]), float(row["value"])))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder of a run, runs/pretrain/NAME") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a table of step, figure and value; the file is damaged") from None
    return {name: _columns(points) for name, points in series.items()}


@dataclass(frozen=True)
class CalibrationCurve:
    """Outcome of each threshold on the validation episodes, (n,) each."""

    eps: Floats
    miss_rate: Floats
    """Share of the onsets whose last chance passes; NaN without a violation."""
    bound: Floats
    """Finite-sample bound on the miss rate of a new episode."""
    false_veto_rate: Floats
    """Share of the steps of episodes without violation that do not pass."""


def calibration_curve(episodes: Sequence[EpisodeValues], horizon: int, points: int = 201) -> CalibrationCurve:
    """Return the rates over thresholds that lie as dense as the scores."""
    before = onset_scores(episodes, horizon)
    safe = [e.q_h for e in episodes if not e.violates]
    every = np.concatenate([before, *safe]).astype(np.float64)
    eps = np.unique(np.quantile(every, np.linspace(0, 1, points), method="inverted_cdf"))  # scores that occur
    miss = np.array([(before <= e).mean() if len(before) else np.nan for e in eps])
    n = len(before)
    passed = np.concatenate(safe) if safe else np.zeros(0)
    veto = np.array([(passed > e).mean() if len(passed) else np.nan for e in eps])
    return CalibrationCurve(eps, miss, (n * np.nan_to_num(miss) + 1) / (n + 1), veto)


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins against the outcomes, (n,) each, without the empty bins."""

    predicted: Floats
    """Mean prediction of the bin."""
    observed: Floats
    """Mean outcome of the bin."""
    error: Floats
    """Standard error of `observed` as if the steps of the bin were independent, which is a lower bound."""
    count: Floats


def reliability(predicted: Floats, observed: Floats, edges: Floats) -> Reliability:
    """Compare predictions (n,) with outcomes (n,) in the bins between `edges`, the last one closed."""
    index = np.clip(np.searchsorted(edges, predicted, "right") - 1, 0, len(edges) - 2)
    kept = [i for i in range(len(edges) - 1) if (index == i).any()]
    parts = [(predicted[index == i], observed[index == i]) for i in kept]
    return Reliability(
        np.array([p.mean() for p, _ in parts]),
        np.array([o.mean() for _, o in parts]),
        np.array([o.std() / np.sqrt(len(o)) for _, o in parts]),
        np.array([float(len(o)) for _, o in parts]),
    )


def realised_reach(cost: NDArray[np.float32], discount: float) -> Floats:
    """Return the outcome that Q_h predicts, discount^k with k steps to the next violation, else 0: (N,) -> (N,)."""
    result = np.zeros(len(cost), np.float64)
    following = 0.0
    for t in reversed(range(len(cost))):
        following = 1.0 if cost[t] > 0 else discount * following
        result[t] = following
    return result


@dataclass(frozen=True)
class Prediction:
    """Open-loop prediction of H frames, after CONTEXT seen ones, from the actions alone; pixels in [0, 1]."""

    episode: str
    truth: NDArray[np.float32]
    """(H, rows, columns, 3) recorded frames of the first camera."""
    predicted: NDArray[np.float32]
    """(H, rows, columns, 3) predicted frames of the first camera."""
    rmse: NDArray[np.float32]
    """(H,) error over all cameras, of 255."""
    rmse_still: NDArray[np.float32]
    """(H,) error of the guess that nothing moves any more, of 255."""


@torch.no_grad()
def predict(model: WorldModel, episode: FilteredEpisode, horizon: int) -> Prediction | None:
    """Predict the most likely course after CONTEXT frames, at most `horizon` frames; None for a shorter episode."""
    ahead = min(horizon, episode.index.length - CONTEXT)
    if ahead < 1:
        return None
    action, state = episode.batch.action_prev[0], episode.latents.rows.of(slice(CONTEXT - 1, CONTEXT))
    states = []
    for t in range(CONTEXT, CONTEXT + ahead):
        state = model.imagine_step(state, action[t : t + 1], sample=False)
        states.append(state.state)
    predicted = model.reconstruct(torch.cat(states)) + 0.5
    seen = model.pixels(episode.batch.images[:, CONTEXT - 1 : CONTEXT + ahead]) + 0.5
    truth, last = seen[1:], seen[:1]
    return Prediction(
        episode.index.name,
        truth[..., :3].numpy(),
        predicted[..., :3].clamp(0, 1).numpy(),
        _rmse(predicted, truth),
        _rmse(last, truth),
    )


def mean_error(predictions: Iterable[Prediction], horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the root mean square errors over the episodes, of the model and of the guess that nothing moves.

    Both are (horizon,), of 255, and NaN where no episode is so long.
    """
    squares: list[list[float]] = [[] for _ in range(horizon)]
    still: list[list[float]] = [[] for _ in range(horizon)]
    for prediction in predictions:
        for t, (error, other) in enumerate(zip(prediction.rmse, prediction.rmse_still, strict=True)):
            squares[t].append(float(error) ** 2)
            still[t].append(float(other) ** 2)
    ours, theirs = (
        np.array([np.sqrt(np.mean(part)) if part else np.nan for part in parts]) for parts in (squares, still)
    )
    return ours, theirs


@dataclass(frozen=True)
class SceneFrames:
    """Observations of one still scene with the robot at each place of a grid, in m in the frame of the scene."""

    images: NDArray[np.uint8]
    """(rows, columns, cameras, H, W, 3)."""
    x: NDArray[np.float64]
    """(columns,) m."""
    y: NDArray[np.float64]
    """(rows,) m."""
    clearance: NDArray[np.float64]
    """(rows, columns) distance from the nearest obstacle in m, below 0 inside of one."""
    start: tuple[float, float]
    goal: tuple[float, float]
    picture: NDArray[np.uint8]
    """(H, W, 3) view of the camera with the robot at the start."""
    caption: str


@torch.no_grad()
def scene_v_h(model: WorldModel, critics: Critics, scene: SceneFrames) -> NDArray[np.float32]:
    """Return V_h (rows, columns) of every place, as if the frame were the first of an episode."""
    shape = scene.images.shape[:2]
    images = torch.from_numpy(scene.images.reshape(-1, *scene.images.shape[2:]))
    found = []
    for group in torch.split(images, _GROUP):
        number = len(group)
        deter, stoch = torch.zeros(number, model.carried), torch.zeros(number, model.rssm.from_stoch.in_features)
        action = torch.zeros(number, model.rssm.from_action.in_features)
        deter, stoch, _ = model.filter_step(group, deter, stoch, action, torch.ones(number))
        found.append(critics.v.values(torch.cat([deter, stoch], -1))[2])
    result: NDArray[np.float32] = torch.cat(found).float().numpy().reshape(shape)
    return result


def _columns(points: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    steps, values = np.array(points, np.float64).T
    return steps, values


def _rmse(predicted: torch.Tensor, truth: torch.Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (255 * (predicted - truth).square().mean((1, 2, 3)).sqrt()).numpy()
    return result
