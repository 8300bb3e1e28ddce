"""What a parameter file says in vain is refused or told, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_bringup.parameter_file import doubts, reaches
from fosp_core.errors import UserError

MODULES = {
    "policy_node": "fosp_policy.policy_node",
    "recorder_node": "fosp_recording.recorder_node",
    "safety_monitor_node": "fosp_safety_monitor.safety_monitor_node",
}


def doubts_of(tmp_path: Path, text: str, namespace: str = "") -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return doubts(path, MODULES, namespace)


@pytest.mark.parametrize(
    ("section", "node", "holds"),
    [
        ("/policy_node", "/policy_node", True),
        ("/policy_node", "/left/policy_node", False),
        ("/left/policy_node", "/left/policy_node", True),
        ("/**", "/policy_node", True),
        ("/**", "/left/policy_node", True),
        ("/left/**", "/left/policy_node", True),
        ("/left/**", "/policy_node", False),
        ("/left/*", "/left/policy_node", True),
        ("/*/policy_node", "/left/policy_node", True),
        ("/*/policy_node", "/policy_node", False),
        ("/**/policy_node", "/policy_node", True),
        ("/*", "/policy_node", True),
        ("/*", "/left/policy_node", False),
    ],
)
def test_patterns_reach_what_they_reach_in_rcl(section: str, node: str, holds: bool) -> None:
    """The expected values are those that rclpy 7.1 shows."""
    assert reaches(section, node) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("safety_monitor:\n  ros__parameters: {release_s: 1.0}\n", "no node '/safety_monitor'.*'safety_monitor_node'"),
        (
            "policy_node:\n  ros__parameters: {exporing: true}\n",
            "unknown parameter 'exporing' of /policy_node.*'exploring'",
        ),
        ("/**:\n  ros__parameters: {exploring: true}\n", "unknown parameter 'exploring' of /recorder_node"),
        ("recorder_node:\n  ros__parameters: {out: {folder: x}}\n", "unknown parameter 'out.folder'"),
        ("right:\n  policy_node:\n    ros__parameters: {exploring: true}\n", "nothing in it reaches a node"),
        ("lamp_node:\n  ros__parameters: {on: true}\n", "nothing in it reaches a node"),
        ("- policy_node\n", "expected node names"),
        ("policy_node:\n  ros__parameters: {exploring: true, exploring: false}\n", "stands twice"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        doubts_of(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "policy_node:\n  ros__parameters: {exploring: true}\n",
        "/policy_node:\n  ros__parameters: {exploring: true, use_sim_time: true}\n",
        "/**:\n  ros__parameters: {use_sim_time: true}\n",
        "/**/policy_node:\n  ros__parameters: {exploring: true}\n",
        "policy_node:\n  ros__parameters:\n    qos_overrides: {/odom: {subscription: {depth: 1}}}\n",
    ],
)
def test_what_has_its_effect_is_taken_without_a_word(tmp_path: Path, text: str) -> None:
    assert doubts_of(tmp_path, text) == []


def test_sections_of_a_fleet_and_of_other_programs_are_named(tmp_path: Path) -> None:
    text = "".join(
        f"{node}:\n  ros__parameters: {{exploring: true}}\n"
        for node in ("/left/policy_node", "/right/policy_node", "/left/learner_node", "lamp_node")
    )
    idle = ["/right/policy_node", "/left/learner_node", "/lamp_node"]
    lines = doubts_of(tmp_path, text, "left")
    assert [line.split("'")[1] for line in lines] == idle
    assert all("no node of this stack" in line for line in lines)


def test_a_file_without_parameters_is_named(tmp_path: Path) -> None:
    assert doubts_of(tmp_path, "/**:\n")[0].endswith("has no section ros__parameters")
    assert doubts_of(tmp_path, "")[0].endswith("has no section ros__parameters")
