"""The page on the paper's five tasks: the figures that `fosp experiment safety-gym` left, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fosp_cli.json_file import content_of
from fosp_core.errors import UserError
from fosp_sim.task.safety_gym.layout import COURSES

PAPER: Mapping[str, tuple[str, str]] = {
    "point_goal1": ("18.5 / 3", "19.2 / 2"),
    "point_goal2": ("8.6 / 3", "13.9 / 1"),
    "point_button1": ("12.8 / 12", "13.0 / 2"),
    "point_push1": ("3.8 / 13", "15.6 / 1"),
    "car_goal2": ("10.9 / 1", "12.3 / 1"),
}
"""Reward / cost of an episode, offline and fine-tuned, read off the curves of arXiv 2407.04942."""
WANTED: Mapping[str, tuple[str, str, str]] = {
    "point_goal1": ("18.5 / 15", "15 / 3", "19 / 2"),
    "point_goal2": ("10 / 20", "8.6 / 6", "12 / 4"),
    "point_button1": ("12.8 / 15", "10 / 10", "13 / 6"),
    "point_push1": ("3.5 / 10", "3 / 6", "4 / 4"),
    "car_goal2": ("11 / 15", "9 / 6", "11 / 3"),
}
"""Reward at least / cost at most that we set out for: monitor off, on, and on after fine-tuning."""
WANTED_AUC = 0.95
FIGURES = "figures.json"
_TITLE = "# The paper's five tasks"

_DIFFERS = (
    "Their data set is not public: ours is scripted, and the mixture of demonstrators is our own. The engine is ours, "
    "too, equal to the library's in\nlayouts, physics, rewards and costs "
    "([tests](simulation.md#the-papers-five-tasks)). A decision takes effect one environment step after its\npicture, "
    "as on a robot. The paper's figures are read off its curves. Parentheses hold 95 % bootstrap intervals."
)


def figures_below(out: Path) -> list[dict[str, Any]]:
    """Return what the command left of each task in `out`, in the order of the paper's table."""
    files = {name: out / name / FIGURES for name in COURSES}
    found = []
    for name, path in files.items():
        if path.is_file():
            with content_of(path) as figures:
                if figures["task"] != name:
                    raise ValueError(f"the figures of {figures['task']}")
                course_page([figures])  # what is missing is told with the file's name
                found.append(figures)
    return found


def require_own_page(page: Path) -> None:
    """Raise UserError when a page is there that this command did not write, or that cannot be written."""
    try:
        if page.exists() and not page.read_text().startswith(_TITLE):
            raise UserError(f"{page}: is there, and no page of this command: give --page another name")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{page}: cannot be replaced by a page: {getattr(error, 'strerror', None) or error}") from None


def course_page(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the page, in Markdown, of the figures of one or more tasks (stages.task_figures)."""
    there = {str(one["task"]) for one in figures}
    parts = [
        _TITLE,
        "What `fosp experiment safety-gym --task NAME` reached, which wrote this page.",
        "## Reward / cost of an episode",
        _DIFFERS,
        _reward_table(figures),
        "Wanted, reward at least / cost at most:",
        _table(
            ("", "monitor off", "monitor on", "fine-tuned, monitor on"),
            [(f"`{name}`", *wanted) for name, wanted in WANTED.items() if name in there],
        ),
        "## Scenes never demonstrated, monitor on",
        _unseen_table(figures),
        "## Training",
        _training_table(figures),
    ]
    return "\n\n".join(parts) + "\n"


def _reward_table(figures: Sequence[Mapping[str, Any]]) -> str:
    heading: tuple[str, ...] = (
        "",
        "episodes",
        "monitor off",
        "policy's own filter",
        "monitor on",
        "the paper, offline",
    )
    heading += ("fine-tuned, monitor off", "fine-tuned, monitor on", "the paper, fine-tuned")
    rows = []
    for one in figures:
        task = str(one["task"])
        offline = {str(row["monitor"]): row for row in one.get("eval", ())}
        tuned = one.get("finetuned", {})
        episodes = next((str(row["episodes"]) for row in offline.values()), "")
        cells = [_both(offline.get(name)) for name in ("off", "policy_filter", "on")]
        after = [_both(tuned.get(name)) for name in ("after_policy_alone", "after")]
        rows.append((f"`{task}`", episodes, *cells, PAPER[task][0], *after, PAPER[task][1]))
    return _table(heading, rows)


def _unseen_table(figures: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (f"`{row['scenario']}`", str(row["episodes"]), _both(row), f"{row['goals_mean']:.1f}")
        for one in figures
        for row in one.get("unseen", ())
    ]
    return _table(("scenario", "episodes", "reward / cost", "goals"), rows) if rows else "Not run yet."


def _training_table(figures: Sequence[Mapping[str, Any]]) -> str:
    heading: tuple[str, ...] = (
        "",
        "demonstrations",
        "violating held-out episodes",
        "full updates",
        "hours of training",
    )
    heading += (
        f"AUC of Q_h: next step, within the horizon (wanted: {WANTED_AUC:g})",
        "horizon, steps",
        "eps",
        "false vetoes",
        "calibration",
    )
    rows = []
    for one in figures:
        bundle = one.get("bundle")
        if bundle is None:
            continue
        calibration, training = bundle["calibration"], bundle["training"]
        rows.append(
            (
                f"`{one['task']}`",
                str(training["episodes"]),
                f"{calibration['violating_episodes']} of {calibration['episodes']}",
                str(training["full_updates"]),
                f"{training['wall_time_s'] / 3600.0:.2f}",
                _auc(bundle["metrics"]),
                str(calibration["horizon_steps"]),
                f"{calibration['eps']:.3f}",
                f"{calibration['false_veto_rate']:.1%}",
                "supported" if calibration["supported"] else "unsupported",
            )
        )
    return _table(heading, rows) if rows else "No bundle yet."


def _auc(metrics: Mapping[str, float]) -> str:
    found = [f"{metrics[name]:.3f}" for name in ("q_h_auc_next", "q_h_auc") if name in metrics]
    return ", ".join(found) or "none: no violation"


def _both(row: Mapping[str, Any] | None) -> str:
    """Return reward / cost with their intervals; nothing for an evaluation that was not run."""
    if row is None:
        return ""
    parts = []
    for name in ("reward", "cost"):
        low, high = row[f"{name}_mean_ci95"]
        parts.append(f"{row[f'{name}_mean']:.1f} ({low:.1f} - {high:.1f})")
    return " / ".join(parts)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
