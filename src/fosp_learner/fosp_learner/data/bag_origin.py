"""Where bags come from: robot and task, as the recorder noted them or as their topics tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_learner.data.bags import bag_metadata, bag_topics


def choose_robot(bags: Sequence[Path], robots: Sequence[RobotConfig]) -> RobotConfig:
    """The robot that the first bag names, or the one whose command topic it holds; UserError for none or several."""
    named = [robot for robot in robots if robot.name == bag_metadata(bags[0]).get("robot")]
    if len(named) == 1:
        return named[0]
    topics = bag_topics(bags[0])
    fitting = [
        robot
        for robot in robots
        if any(t == robot.command_topic or t.endswith("/" + robot.command_topic) for t in topics)
    ]
    if len(fitting) != 1:
        found = "several robots fit" if fitting else "no robot's command topic is there"
        names = ", ".join(f"{robot.name} ({robot.command_topic})" for robot in fitting or robots)
        raise UserError(f"{bags[0]}: {found}: {names}; say which with --robot")
    return fitting[0]


def task_of(bags: Sequence[Path]) -> str:
    """Task that the recorder noted in the bags, "unnamed" if none did; UserError when they differ."""
    tasks = {bag_metadata(bag).get("task", "") for bag in bags} - {""}
    if len(tasks) > 1:
        raise UserError(f"bags of different tasks ({', '.join(sorted(tasks))}) cannot be trained on together")
    return tasks.pop() if tasks else "unnamed"
