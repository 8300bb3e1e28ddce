"""Reward, cost and success of a data set's episodes: from its columns, or from rules over its measurements. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_learner.lerobot.layout import DataSet
from fosp_learner.lerobot.mapping import (
    NEVER,
    FeedbackColumns,
    MappedEfforts,
    MappedFlag,
    MappedPosition,
    MappedWrench,
    Measurement,
)
from fosp_recording.episode_feedback import EpisodeFeedback, StepValues
from fosp_recording.feedback_rules import (
    AnyRule,
    BumperRule,
    ButtonRule,
    EffortRule,
    FeedbackConfig,
    GoalRule,
    WrenchRule,
)

Columns = Mapping[str, NDArray[np.float64]]
"""Columns of one episode by feature, (n, width)."""
Condition = Callable[[Columns, int], tuple[bool | None, float]]
"""Tells of a row whether a rule holds, None where that cannot be judged, and the distance of a goal, m."""
Judge = Callable[[Columns, int], list[StepValues]]
"""Takes the columns of an episode and its number, and returns the feedback of each row, fewer when it ends earlier.

UserError says why the episode cannot be judged.
"""
_KINDS = {GoalRule: "position", WrenchRule: "wrench", EffortRule: "effort", BumperRule: "flag", ButtonRule: "flag"}


def judge_by_columns(spec: FeedbackColumns, data_set: DataSet) -> tuple[Judge, set[str]]:
    """Return the judge that reads columns, and the features it needs; UserError when one is missing."""
    names = [spec.reward, spec.success, spec.terminal, None if spec.cost == NEVER else spec.cost]
    needed = {name for name in names if name}
    for name in needed:
        if data_set.feature(name).dtype in ("image", "video", "string"):
            raise UserError(f"{data_set.root}: {name} holds no numbers")

    def judge(columns: Columns, episode: int) -> list[StepValues]:
        rows = len(next(iter(columns.values())))

        def arriving(name: str | None, fold: Callable[[float, float], float]) -> NDArray[np.float64]:
            """Return the value that arrives with each row; 0 with the first one."""
            values = np.zeros(rows) if not name or name == NEVER else columns[name][:, 0].copy()
            if not np.isfinite(values).all():
                raise UserError(f"{name} is not finite in row {int(np.argmin(np.isfinite(values)))}")
            if name == spec.cost and (values < 0).any():
                raise UserError(f"{name} is negative in row {int(np.argmax(values < 0))}; a cost is at least 0")
            if spec.belongs_to == "same":
                values[0] = 0.0
                return values
            # The last row has no image after it: what its action led to counts with the row itself.
            moved = np.concatenate([[0.0], values[:-1]])
            moved[-1] = fold(moved[-1], values[-1])
            return moved

        cost = arriving(spec.cost, max)
        reward = arriving(spec.reward, lambda a, b: a + b)
        success = arriving(spec.success, max) > 0.5
        terminal = success if spec.terminal is None else arriving(spec.terminal, max) > 0.5
        if success.any():
            reward[int(np.argmax(success))] += spec.success_reward
        return [
            StepValues(
                episode,
                row == 0,
                float(reward[row]),
                float(cost[row]),
                bool(terminal[row]),
                row == rows - 1,
                bool(success[row]),
                math.nan,
            )
            for row in range(rows)
        ]

    return judge, needed


def judge_by_rules(
    config: FeedbackConfig, measurements: Mapping[str, Measurement], unobserved: tuple[str, ...], data_set: DataSet
) -> tuple[Judge, set[str]]:
    """Return the judge that applies rules, and the features it needs.

    UserError when a rule has no measurement, and is not named as unobserved either: what cannot be judged is not safe.
    """
    kept = tuple(rule for rule in config.rules if rule.topic not in unobserved)
    idle = sorted(set(unobserved) - {rule.topic for rule in config.rules})
    if idle:
        raise UserError(f"unobserved: no rule is on {', '.join(idle)}")
    if not kept:
        raise UserError("unobserved: no rule is left to judge the episodes by")
    found = [_measurement(rule, measurements) for rule in kept]
    holds = [_condition(rule, measured, data_set) for rule, measured in zip(kept, found, strict=True)]
    rules = config.model_copy(update={"rules": kept})

    def judge(columns: Columns, episode: int) -> list[StepValues]:
        feedback, values = EpisodeFeedback(rules), list[StepValues]()
        times = columns["timestamp"][:, 0]
        for row, now in enumerate(times.tolist()):
            for index, condition in enumerate(holds):
                held, distance = condition(columns, row)
                feedback.observe(index, held, now, distance)
            if row == 0:
                refused = feedback.start(now, episode)
                if refused:
                    raise UserError(refused)
            if row == len(times) - 1:
                feedback.stop()
            step = feedback.frame(now, now)
            if step is None:
                raise UserError(f"row {row} is not later than the one before")
            values.append(step)
            if step.is_last:
                break
        return values

    return judge, {measured.feature for measured in found}


def _measurement(rule: AnyRule, measurements: Mapping[str, Measurement]) -> Measurement:
    key = f"{rule.topic}.{rule.button}" if isinstance(rule, ButtonRule) else rule.topic
    kind = _KINDS.get(type(rule))
    if kind is None:
        raise UserError(
            f"the {rule.kind} rule on {rule.topic} cannot be judged from a LeRobotDataset; "
            "if nothing of it may count, write its topic under unobserved"
        )
    measured = measurements.get(key)
    if measured is None or measured.kind != kind:
        raise UserError(
            f"the {rule.kind} rule on {rule.topic} needs measurements: {{{key}: {{kind: {kind}, ...}}}} in the "
            "mapping; if nothing of it may count, write its topic under unobserved"
        )
    return measured


def _condition(rule: AnyRule, measured: Measurement, data_set: DataSet) -> Condition:
    """Return the condition of a rule on the columns of a data set."""
    feature = data_set.feature(measured.feature)

    def reader(names: Any) -> Callable[[Columns, int], list[float]]:
        at = [feature.column(name) for name in names]
        return lambda columns, row: [float(columns[feature.key][row, column]) for column in at]

    if isinstance(measured, MappedPosition):
        assert isinstance(rule, GoalRule)
        goal, place, factor = rule, reader(measured.names), measured.factor

        def near(columns: Columns, row: int) -> tuple[bool, float]:
            distance = goal.distance([factor * x for x in place(columns, row)])
            if not math.isfinite(distance):
                raise UserError(f"the position in {feature.key} is not finite in row {row}")
            return distance <= goal.within_m, distance

        return near
    if isinstance(measured, MappedWrench):
        assert isinstance(rule, WrenchRule)
        wrench = rule
        if wrench.torque_nm is not None and measured.torque is None:
            raise UserError(f"the rule on {rule.topic} limits the torque: name the torque's columns in the mapping")
        force, torque = reader(measured.force), reader(measured.torque or ())
        return lambda columns, row: (wrench.holds(force(columns, row), torque(columns, row)), math.nan)
    if isinstance(measured, MappedEfforts):
        assert isinstance(rule, EffortRule)
        effort, joints, efforts = rule, tuple(measured.joints), reader(measured.joints.values())
        return lambda columns, row: (
            effort.holds(dict(zip(joints, efforts(columns, row), strict=True))),
            math.nan,
        )
    assert isinstance(measured, MappedFlag)
    pressed, above = reader((measured.name,)), measured.above
    # A flag that is not a number counts as pressed, for it cannot be judged.
    return lambda columns, row: (not pressed(columns, row)[0] <= above, math.nan)
