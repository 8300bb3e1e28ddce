"""Report of a run: PNGs and one HTML page, which needs no network, from networks, held-out episodes and losses.csv."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fosp_core.errors import UserError
from fosp_core.specs import Calibration
from fosp_learner.bundling.validation import Assessment, auc_by_step
from fosp_learner.config import LearnerConfig
from fosp_learner.data.dataset import Dataset, EpisodeIndex
from fosp_learner.report import figures
from fosp_learner.report.figure_data import (
    CONTEXT,
    Prediction,
    SceneFrames,
    calibration_curve,
    mean_error,
    predict,
    read_losses,
    realised_reach,
    reliability,
    scene_v_h,
)
from fosp_learner.report.video import SLOWER, open_loop_video
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

PAGE = "index.html"
VIDEO = "open_loop.webp"
HORIZON = 20
"""Steps that open-loop predictions look ahead."""
_PREDICTED_EPISODES = 20
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2126; max-width: 70em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #d5d9de; }
table { border-collapse: collapse; font-size: 0.9em; margin: 0.6em 0; }
td { padding: 0.15em 1.2em 0.15em 0; vertical-align: top; } td + td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } p { max-width: 50em; } .warning { background: #fdecea; padding: 0.5em 1em; }
"""


@dataclass(frozen=True)
class Section:
    """Section of the page."""

    title: str
    text: str
    """Plain text below the title."""
    table: Mapping[str, str] | None = None
    image: str = ""
    """Name of the picture; empty for none."""
    warning: str = ""


@dataclass(frozen=True)
class ReportInput:
    """Input of a report."""

    trainer: Trainer
    validation: Dataset
    assessment: Assessment
    calibration: Calibration
    losses: Path
    """losses.csv of the run."""
    facts: dict[str, str]
    """Facts about the run, for the table at the top."""
    scene: SceneFrames | None = None


def write_report(directory: Path, made_of: ReportInput) -> Path:
    """Replace the folder `directory` by a new report, and return its page.

    UserError when losses.csv is damaged or the folder cannot be written.
    """
    config = made_of.trainer.config
    images = {name: drawn if isinstance(drawn, bytes) else _png(drawn) for name, drawn in _figures(made_of)}
    title = f"Training report: {made_of.facts.get('run', directory.parent.name)}"
    page = html_page(title, list(_sections(made_of, images)), images)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            for name, content in images.items():
                (staging / name).write_bytes(content)
            (staging / PAGE).write_text(page)
            (staging / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
            staging.chmod(0o755)
            shutil.rmtree(directory, ignore_errors=True)
            os.rename(staging, directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{directory}: the report cannot be written ({error.strerror})") from None
    return directory / PAGE


def _figures(made_of: ReportInput) -> Iterator[tuple[str, Figure | bytes]]:
    """Yield the name of each picture, and what is drawn, or the content of a file that is finished already."""
    trainer, values, calibration = made_of.trainer, made_of.assessment.values, made_of.calibration
    config = trainer.config
    yield "curves.png", figures.training_curves(read_losses(made_of.losses), config.named_phases)
    predictions = list(_predictions(trainer, made_of.validation))
    if predictions:
        ours, still = mean_error(predictions, HORIZON)
        yield "open_loop.png", figures.open_loop(predictions[:2], ours, still, config.decision_period_s)
        yield VIDEO, open_loop_video(predictions, config.decision_period_s)
    if np.isfinite(made_of.assessment.predicted.model).all():
        yield "prediction.png", figures.predicted_embeddings(made_of.assessment.predicted, config.decision_period_s)
    if len(auc_by_step(made_of.assessment.ended, "q_r")):
        yield "success.png", figures.success_told(made_of.assessment.ended, config.decision_period_s)
    if made_of.scene is not None:
        v_h = scene_v_h(trainer.world_model, trainer.behaviour.critics, made_of.scene)
        yield "reachability_map.png", figures.scene_map(made_of.scene, v_h, calibration.eps)
    yield "reachability_episodes.png", figures.episode_map(values, config.decision_period_s)
    curve = calibration_curve(values, calibration.horizon_steps)
    yield "calibration.png", figures.calibration_curves(curve, calibration)
    q_h = np.concatenate([e.q_h for e in values]).astype(np.float64)
    reach = np.concatenate([realised_reach(e.cost, config.critic.reachability_discount) for e in values])
    q_r = np.concatenate([e.q_r for e in values]).astype(np.float64)
    came = np.concatenate(made_of.assessment.returns).astype(np.float64)
    edges = np.unique(np.quantile(q_r, np.linspace(0, 1, 13)))
    yield (
        "reliability.png",
        figures.reliability_diagrams(
            reliability(q_h, reach, np.linspace(0, 1, 11)),
            reliability(q_r, came, edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1.0])),
        ),
    )
    yield "surprise.png", figures.surprise_histogram(values, calibration.surprise_limit)


def _predictions(trainer: Trainer, validation: Dataset) -> Iterator[Prediction]:
    """Yield predictions for evenly spread episodes that are long enough."""
    long_enough = [e for e in validation.episodes if e.length > CONTEXT]
    chosen = long_enough[:: max(1, len(long_enough) // _PREDICTED_EPISODES)][:_PREDICTED_EPISODES]
    chosen = _with_both_kinds(chosen, long_enough)
    for episode in filter_episodes(trainer.world_model, validation.of(chosen)):
        prediction = predict(trainer.world_model, episode, HORIZON)
        if prediction is not None:
            yield prediction


def _with_both_kinds(chosen: list[EpisodeIndex], every: list[EpisodeIndex]) -> list[EpisodeIndex]:
    """Put an episode that succeeds and one that violates in front, since the first two are shown."""
    front = [next((e for e in every if e.success), None), next((e for e in every if e.violates), None)]
    first = [e for e in front if e is not None]
    return first + [e for e in chosen if e not in first]


def _sections(made_of: ReportInput, images: dict[str, bytes]) -> Iterator[Section]:
    yield Section("The run", "", table=made_of.facts)
    yield Section(
        "On held-out episodes",
        "These episodes were split off before training and never trained on.",
        table={name: f"{value:.4g}" for name, value in made_of.assessment.metrics.items()},
    )
    yield from _calibration_section(made_of.calibration)
    texts = {
        "curves.png": ("Training curves", "Faint: as logged; full: running mean. Dotted: a new phase begins."),
        "open_loop.png": (
            "Open-loop predictions",
            f"The model sees {CONTEXT} frames and then only the executed actions; the most likely latent at each step.",
        ),
        VIDEO: (
            "Open-loop predictions, moving",
            f"The same predictions next to what came, {SLOWER} times slower than the robot was.",
        ),
        "prediction.png": (
            "Predicted embeddings",
            "What actor and critics look at, predicted from the executed actions alone. Imagined steps are worth "
            "something below the dotted line: half of the error of the guess that nothing moves.",
        ),
        "success.png": (
            "Success told from hanging",
            "Area under the ROC curve of the values of one moment, episodes that arrive against episodes that run out "
            "of time, among those that last so long: 1 tells all of them apart, 0.5 none, and below that the critic "
            "thinks more of hanging. Right: the success critic along the two kinds, median and quartiles.",
        ),
        "reachability_map.png": (
            "Reachability over a scene",
            (made_of.scene.caption if made_of.scene else "")
            + " Black outline: the obstacles' footprints; dashed: the calibrated threshold; dot: start; star: goal.",
        ),
        "reachability_episodes.png": (
            "Reachability along held-out episodes",
            "Rising values should announce the crosses, and safe episodes, below the line, should stay light.",
        ),
        "calibration.png": (
            "Calibration",
            "The threshold was chosen on these very curves, by split conformal prediction.",
        ),
        "reliability.png": (
            "Reliability",
            "Left: Q_h against discount^k of the violation that came k steps later (0: none came). Q_h means the best "
            "that the data support from there on, so points above the diagonal are what a careless demonstrator adds. "
            "Bars: two standard errors, steps taken as independent; numbers: steps.",
        ),
        "surprise.png": ("Surprise", "A run-time step beyond the limit counts as out of distribution."),
    }
    for name in images:
        title, text = texts[name]
        yield Section(title, text, image=name)
    yield Section("Settings that differ from the defaults", "", table=_changed(made_of.trainer.config) or {"none": ""})


def _calibration_section(calibration: Calibration) -> Iterator[Section]:
    warning = ""
    if not calibration.supported:
        warning = (
            f"{calibration.violating_episodes} violating episodes held out cannot support a miss rate of "
            f"{calibration.alpha:g} (bound {calibration.miss_rate_bound:.3g}): eps is the most conservative value "
            "observed, and the monitor will veto more than it should. Record more violations."
        )
    yield Section(
        "Thresholds of the runtime",
        "",
        table={
            "eps": f"{calibration.eps:.4g}",
            "promised miss rate alpha": f"{calibration.alpha:g}",
            "bound that the data support": f"{calibration.miss_rate_bound:.4g}",
            "steps from the last chance to the onset": str(calibration.horizon_steps),
            "episodes (violating)": f"{calibration.episodes} ({calibration.violating_episodes})",
            "false vetoes at eps": f"{calibration.false_veto_rate:.1%}",
            "surprise limit": f"{calibration.surprise_limit:.4g} nats",
            **{f"range of {name}": f"{low:.4g} to {high:.4g}" for name, (low, high) in calibration.ranges.items()},
        },
        warning=warning,
    )


def _changed(config: LearnerConfig) -> dict[str, str]:
    """Return the settings of `config` that differ from the default, by dotted name."""
    default = LearnerConfig.model_construct().model_dump(mode="json")
    changed: dict[str, str] = {}
    for key, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            changed |= {f"{key}.{k}": str(v) for k, v in value.items() if v != default[key].get(k)}
        elif value != default[key]:
            changed[key] = str(value)
    return changed


def html_page(title: str, sections: Sequence[Section], images: Mapping[str, bytes]) -> str:
    """Return the page with the pictures `images`, by their file names, inside."""
    body = "".join(_section(section, images) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )


def _section(section: Section, images: Mapping[str, bytes]) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.warning:
        parts.append(f'<p class="warning">{escape(section.warning)}</p>')
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.image:
        encoded = base64.b64encode(images[section.image]).decode()
        kind = Path(section.image).suffix.removeprefix(".")
        parts.append(f'<img alt="{escape(section.title)}" src="data:image/{kind};base64,{encoded}">')
    if section.table:
        rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in section.table.items())
        parts.append(f"<table>{rows}</table>")
    return "\n".join(parts) + "\n"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
