"""The stack as data: which processes, in which order, with which parameters; and what is refused before any starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import write_tiny_bundle

from fosp_bringup.environment import environment, settings
from fosp_bringup.neighbours import MANAGER
from fosp_bringup.paths import robot_path, share
from fosp_bringup.stack import MONITOR, Stack, StackProcess, camera_processes, stack
from fosp_bringup.stack_options import HAZARD_SPEED, StackOptions, parse_options
from fosp_core.bundle.bundle import read_manifest
from fosp_core.errors import UserError
from fosp_core.processes import TRAINING_ALLOCATOR
from fosp_core.robot.config import read_robot
from fosp_safety_monitor.parameters import SHADOW_PHRASE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder, read_robot(robot_path("sim_arm")))
    return folder


def described_by(**options: Any) -> Stack:
    return stack(StackOptions(**options))


def simulated(bundle: Path, **options: Any) -> Stack:
    return described_by(bundle=bundle, simulator="mujoco", scenario="safe_reach", **options)


def names(described: Stack) -> list[str]:
    return [process.name for process in described.processes]


def parameters(described: Stack, name: str) -> Mapping[str, Any]:
    return next(process.parameters for process in described.processes if process.name == name)


def test_the_monitor_is_the_last_node_that_is_brought_up(bundle: Path, tmp_path: Path) -> None:
    described = simulated(bundle, recorder=tmp_path)
    assert names(described) == ["sim_node", "encoder_node", "policy_node", "recorder_node", MONITOR, MANAGER]
    assert parameters(described, MANAGER)["nodes"] == ["encoder_node", "policy_node", "recorder_node", MONITOR]


def test_an_arm_with_limits_of_joints_is_refused_without_pinocchio(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    limited = robot_path("sim_arm").with_name("sim_arm.joints.yaml")
    with pytest.raises(UserError, match=r"needs Pinocchio .*: pip install .*requirements/arm\.txt$"):
        simulated(bundle, robot=str(limited))


def test_every_model_node_gets_the_same_bundle_and_robot(bundle: Path) -> None:
    described = simulated(bundle)
    given = [parameters(described, name) for name in ("encoder_node", "policy_node", MONITOR)]
    assert given[0] == given[1] == {name: value for name, value in given[2].items() if name != "engage"}
    assert given[0] == {"bundle": str(bundle), "robot": str(robot_path("sim_arm"))}


def test_a_robot_with_a_driver_has_neither_simulator_nor_camera_node(bundle: Path) -> None:
    assert names(described_by(bundle=bundle, robot="sim_arm")) == ["encoder_node", "policy_node", MONITOR, MANAGER]


def test_images_of_a_folder_stand_for_a_camera(bundle: Path, tmp_path: Path) -> None:
    described = described_by(bundle=bundle, robot="sim_arm", camera="file", camera_path=tmp_path)
    assert names(described)[0] == "camera_node"
    assert parameters(described, "camera_node")["source"] == "folder"
    (tmp_path / "metadata.yaml").touch()
    described = described_by(bundle=bundle, robot="sim_arm", camera="file", camera_path=tmp_path)
    assert parameters(described, "camera_node")["source"] == "bag"


def test_a_recording_of_the_realsense_viewer_stands_for_a_camera_as_well(bundle: Path, tmp_path: Path) -> None:
    recording = tmp_path / "kitchen.db3"
    recording.touch()
    described = described_by(bundle=bundle, robot="sim_arm", camera="file", camera_path=recording)
    assert parameters(described, "camera_node")["source"] == "realsense"
    assert parameters(described, "camera_node")["path"] == str(recording)


def robot_with(tmp_path: Path, **changed: Any) -> str:
    """The simulated arm with other settings, as a file."""
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(robot_path("sim_arm").read_text()), **changed}))
    return str(path)


def test_a_realsense_is_opened_as_the_robot_file_says(bundle: Path, tmp_path: Path) -> None:
    cameras = [{"serial": "0123", "width": 1280, "height": 720, "depth": True, "exposure": 150}]
    robot = robot_with(tmp_path, cameras=cameras, camera_frame_rate_hz=60)
    described = described_by(bundle=bundle, robot=robot, camera="realsense")
    assert names(described)[0] == "camera_node"
    assert parameters(described, "camera_node") == {
        "source": "realsense",
        "camera_name": "camera",
        "rate_hz": 60.0,
        "width": 1280,
        "height": 720,
        "serial": "0123",
        "depth": True,
        "exposure": "150",
    }


def test_each_of_several_cameras_has_a_node_and_a_name_of_its_own(bundle: Path, tmp_path: Path) -> None:
    cameras = [{"serial": "0123"}, {"name": "wrist", "source": "opencv", "device": "/dev/video0"}]
    robot = robot_with(tmp_path, cameras=cameras)
    described = described_by(bundle=bundle, robot=robot, camera="realsense")
    assert names(described)[:2] == ["camera_node", "wrist_node"]
    assert {process.executable for process in described.processes[:2]} == {"camera_node"}
    assert parameters(described, "wrist_node")["device"] == "/dev/video0"
    assert parameters(described, MANAGER)["nodes"][:2] == ["camera_node", "wrist_node"]
    assert names(described_by(bundle=bundle, robot=robot, camera="opencv"))[:2] == ["camera_node", "wrist_node"]
    with pytest.raises(UserError, match="lists no camera with source opencv"):
        described_by(bundle=bundle, robot="sim_arm", camera="opencv")
    with pytest.raises(UserError, match="needs its serial"):
        described_by(bundle=bundle, robot=robot_with(tmp_path, cameras=[{}, {"name": "wrist"}]), camera="realsense")


def test_rules_give_a_robot_a_feedback_node(bundle: Path) -> None:
    described = described_by(bundle=bundle, robot="sim_arm", feedback="arm_reach")
    assert names(described) == ["encoder_node", "policy_node", "feedback_node", MONITOR, MANAGER]
    assert parameters(described, "feedback_node")["rules"] == str(share() / "config" / "feedback" / "arm_reach.yaml")
    assert parameters(described, "feedback_node")["robot"] == str(robot_path("sim_arm"))
    with pytest.raises(UserError, match="simulator publishes fosp/feedback itself"):
        simulated(bundle, feedback="arm_reach")
    with pytest.raises(UserError, match="no feedback 'nothing'; there are: arm_reach, base_goal"):
        described_by(bundle=bundle, robot="sim_arm", feedback="nothing")


def test_a_person_drives_without_a_bundle_through_a_monitor_of_the_same_name(tmp_path: Path) -> None:
    described = described_by(
        robot="ur5e", teleop="gamepad", feedback="arm_reach", camera="realsense", recorder=tmp_path
    )
    assert names(described) == ["camera_node", "teleop_node", "feedback_node", "recorder_node", MONITOR, MANAGER]
    assert parameters(described, MANAGER)["nodes"] == names(described)[:-1]
    guard = next(process for process in described.processes if process.name == MONITOR)
    assert (guard.executable, guard.module) == ("operator_guard_node", "fosp_safety_monitor.operator_guard_node")
    assert parameters(described, "teleop_node") == {
        "robot": str(robot_path("ur5e")),
        "mapping": str(share() / "config" / "teleop" / "gamepad.yaml"),
    }
    assert not described.respawns(guard)


def test_hazards_are_shown_slowly_in_episodes_that_end_at_a_violation_and_the_bags_say_so(tmp_path: Path) -> None:
    described = described_by(
        robot="ur5e", teleop="gamepad", feedback="arm_reach", recorder=tmp_path, hazards=True, scene="glass shelf"
    )
    guard = parameters(described, MONITOR)
    assert 0 < guard["speed_cap"] <= HAZARD_SPEED
    assert guard["in_episodes"] is True
    assert parameters(described, "feedback_node")["ends_at_cost"] is True
    noted = parameters(described, "recorder_node")
    assert (noted["scene"], noted["shows"]) == ("glass shelf", "hazards")
    assert parse_options({"hazards": "true", "teleop": "gamepad", "feedback": "a", "recorder": "b"}).hazards


def test_a_person_may_drive_the_simulated_robot() -> None:
    described = described_by(simulator="mujoco", scenario="safe_goal", teleop="gamepad", auto_reset=False)
    assert names(described) == ["sim_node", "teleop_node", MONITOR, MANAGER]
    with pytest.raises(UserError, match="no teleop 'wheel'; there are: gamepad, keyboard, spacemouse"):
        described_by(simulator="mujoco", scenario="safe_goal", teleop="wheel")


def test_a_person_takes_over_from_a_bundle_and_the_monitor_alone_commands(bundle: Path) -> None:
    described = simulated(bundle, teleop="gamepad", take_over=True, gate_operator=True)
    assert names(described) == ["sim_node", "encoder_node", "policy_node", "teleop_node", MONITOR, MANAGER]
    assert parameters(described, "teleop_node")["beside_policy"] is True
    assert parameters(described, MONITOR)["bundle"] == str(bundle)
    assert (parameters(described, MONITOR)["take_over"], parameters(described, MONITOR)["gate_operator"]) == (
        True,
        True,
    )
    assert "take_over" not in parameters(simulated(bundle), MONITOR), "nobody takes over who was not asked for"
    assert parameters(simulated(bundle, teleop="keyboard", take_over=True), "teleop_node")["mapping"].endswith(
        "keyboard.yaml"
    )
    with pytest.raises(UserError, match="gate_operator is for a person who takes over"):
        simulated(bundle, gate_operator=True)


def test_a_robot_goes_back_along_its_trail_where_policy_and_monitor_are_both_told_so(bundle: Path) -> None:
    described = simulated(bundle, retreat=True)
    assert parameters(described, "policy_node")["retreat"] is True
    assert parameters(described, MONITOR)["retreat"] is True
    plain = simulated(bundle)
    assert "retreat" not in {**parameters(plain, "policy_node"), **parameters(plain, MONITOR)}
    assert parse_options({"retreat": "true"}).retreat


def base_bundle(tmp_path: Path, robot: str) -> Path:
    write_tiny_bundle(tmp_path / robot, read_robot(robot_path(robot)))
    return tmp_path / robot


@pytest.mark.parametrize(("robot", "rate_hz"), [("diff_drive", 60.0), ("sim_base", 40.0)])
def test_a_base_with_a_realsense_drives_to_a_goal_by_its_own_robot_file(
    tmp_path: Path, robot: str, rate_hz: float
) -> None:
    bundle, rules = base_bundle(tmp_path, robot), share() / "config" / "feedback" / "base_goal.yaml"
    described = described_by(bundle=bundle, robot=robot, camera="realsense", feedback="base_goal", namespace="left")
    assert names(described) == ["camera_node", "encoder_node", "policy_node", "feedback_node", MONITOR, MANAGER]
    assert parameters(described, "camera_node") == {
        "source": "realsense",
        "camera_name": "camera",
        "rate_hz": rate_hz,
        "width": 640,
        "height": 480,
        "serial": "",
        "depth": False,
        "exposure": "auto",
    }
    assert parameters(described, "feedback_node") == {"rules": str(rules), "robot": str(robot_path(robot))}
    for name in ("encoder_node", "policy_node"):
        assert parameters(described, name) == {"bundle": str(bundle), "robot": str(robot_path(robot))}
    assert parameters(described, MONITOR) == {**parameters(described, "policy_node"), "speed_cap": 0.1}
    for process in described.processes:
        arguments = described.ros_arguments(process)
        remapped = [arguments[i + 1] for i, argument in enumerate(arguments) if argument == "-r"]
        assert remapped == [f"__node:={process.name}", "__ns:=/left"], "topics are named by the robot file alone"


def test_two_robots_side_by_side_share_neither_a_name_nor_an_enclave(tmp_path: Path) -> None:
    bundle = base_bundle(tmp_path, "diff_drive")
    sides = [described_by(bundle=bundle, robot="diff_drive", namespace=side) for side in ("left", "/right/")]
    told = [{tuple(side.ros_arguments(process)[1:7]) for process in side.processes} for side in sides]
    assert not told[0] & told[1]
    for side, name in zip(sides, ("left", "right"), strict=True):
        for process in side.processes:
            arguments = side.ros_arguments(process)
            assert f"__ns:=/{name}" in arguments
            assert arguments[arguments.index("--enclave") + 1] == f"/{name}/{process.name}"
        assert parameters(side, MANAGER)["nodes"] == ["encoder_node", "policy_node", MONITOR], "relative names"


def test_a_learner_learns_beside_the_robot_that_goes_on_without_it(bundle: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "finetune.yaml"
    config.write_text("{}")
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    described = simulated(bundle, learner=run, learner_config=config, offline=tuple(folders))
    assert parameters(described, "learner_node") == {
        "bundle": str(bundle),
        "robot": str(robot_path("sim_arm")),
        "run": str(run),
        "cache": str(Path("runs/cache").absolute()),
        "offline": [str(folder) for folder in folders],
        "config": str(config),
    }
    learner = next(process for process in described.processes if process.name == "learner_node")
    assert learner.dispensable
    assert described.respawns(learner), "also where nothing else is started anew"
    assert "learner_node" not in parameters(described, MANAGER)["nodes"]
    alone = parameters(simulated(bundle, learner=run), "learner_node")
    assert (alone["offline"], alone["config"]) == ([""], "")
    assert "learner_node" not in names(simulated(bundle))


def test_a_learners_mistakes_are_found_before_anything_starts(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent: no such folder of bags \(offline\)"):
        simulated(bundle, learner=tmp_path / "run", offline=(tmp_path / "absent",))
    with pytest.raises(UserError, match=r"absent\.yaml"):
        simulated(bundle, learner=tmp_path / "run", learner_config=tmp_path / "absent.yaml")


def test_only_the_policy_explores_and_only_where_it_is_asked_to(bundle: Path) -> None:
    described = simulated(bundle, exploring=True)
    assert parameters(described, "policy_node")["exploring"] is True
    assert not [p.name for p in described.processes if p.name != "policy_node" and "exploring" in p.parameters]
    assert "exploring" not in parameters(simulated(bundle), "policy_node")


def test_on_simulated_time_the_simulator_makes_it_and_all_others_read_it(bundle: Path) -> None:
    described = simulated(bundle, use_sim_time=True)
    assert parameters(described, "sim_node")["publish_clock"] is True
    readers = {p.name for p in described.processes if p.parameters.get("use_sim_time")}
    assert readers == set(names(described)) - {"sim_node"}


def test_gazebo_takes_the_place_of_mujoco_and_the_clock_is_its_own(bundle: Path) -> None:
    mujoco, gazebo = simulated(bundle), described_by(bundle=bundle, simulator="gazebo", scenario="safe_reach")
    ours = [name for name in names(mujoco) if name != "sim_node"]
    assert names(gazebo) == ["gazebo_server", "gazebo_bridge", "gazebo_node", *ours]
    readers = {p.name for p in gazebo.processes if p.parameters.get("use_sim_time")}
    assert readers == {*ours, "gazebo_node"}
    assert {p.name for p in gazebo.processes if p.is_robot} == {"gazebo_server", "gazebo_bridge", "gazebo_node"}
    assert "gui" not in parameters(gazebo, "gazebo_server")
    shown = described_by(bundle=bundle, simulator="gazebo", scenario="safe_reach", gui=True)
    assert parameters(shown, "gazebo_server")["gui"] is True


def test_bags_of_a_simulated_robot_say_which_task_they_show(bundle: Path, tmp_path: Path) -> None:
    assert parameters(simulated(bundle, recorder=tmp_path), "recorder_node")["task"] == "safe_reach"
    assert "task" not in parameters(described_by(bundle=bundle, robot="sim_arm", recorder=tmp_path), "recorder_node")


def test_bags_name_the_decision_period_of_the_bundle_or_of_the_world_in_which_a_person_drives(
    bundle: Path, tmp_path: Path
) -> None:
    recorded = parameters(described_by(bundle=bundle, robot="sim_arm", recorder=tmp_path), "recorder_node")
    assert recorded["decision_period_s"] == "0.05"
    for scenario, period in (("point_goal1", "0.08"), ("safe_goal", None)):
        driven = described_by(simulator="mujoco", scenario=scenario, teleop="keyboard", recorder=tmp_path)
        assert parameters(driven, "recorder_node").get("decision_period_s") == period


def test_with_respawn_every_node_but_the_monitor_may_start_anew(bundle: Path) -> None:
    described = simulated(bundle, use_respawn=True)
    assert {p.name for p in described.processes if described.respawns(p)} == {"encoder_node", "policy_node"}
    assert parameters(described, MANAGER)["respawn"] is True
    assert not any(simulated(bundle).respawns(process) for process in described.processes)


def test_arguments_carry_name_namespace_parameters_and_last_the_parameter_file(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    process = StackProcess("a_node", "a", "a.node", {"path": "/x y", "flag": True, "rate": 2.5, "names": ["b", "c"]})
    arguments = Stack((process,), namespace="/left", log_level="warn", params_file=file).ros_arguments(process)
    assert arguments[0] == "--ros-args"
    assert {"__node:=a_node", "__ns:=/left", 'path:="/x y"', "flag:=true", "rate:=2.5", 'names:=["b", "c"]'} < set(
        arguments
    )
    assert arguments[-2:] == ["--params-file", str(file)]


def test_a_recording_that_stands_for_the_camera_may_begin_again(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    robot = read_robot(robot_path("sim_arm"))
    (once,) = camera_processes("file", tmp_path / "images", robot)
    (again,) = camera_processes("file", tmp_path / "images", robot, loop=True)
    assert "loop" not in once.parameters
    assert again.parameters == {**once.parameters, "loop": True}
    assert parse_options({"camera_loop": "true", "robot": "none", "camera_path": "none"}) == StackOptions(
        camera_loop=True
    )


def test_the_profile_of_the_transports_exists() -> None:
    assert Path(settings()["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()


def test_the_environment_of_the_caller_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    assert environment()["FASTDDS_BUILTIN_TRANSPORTS"] == settings()["FASTDDS_BUILTIN_TRANSPORTS"]
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    assert environment()["FASTDDS_BUILTIN_TRANSPORTS"] == "LARGE_DATA"


def test_a_node_does_not_inherit_the_allocator_of_a_command_that_trains(monkeypatch):
    for name, value in TRAINING_ALLOCATOR.items():
        monkeypatch.setenv(name, value)
    assert not set(TRAINING_ALLOCATOR) & set(environment())
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    assert environment()["MALLOC_TRIM_THRESHOLD_"] == "1000", "what a user chose stays"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robot": "sim_arm", "simulator": "isaac"}, "simulator must be one of mujoco, gazebo, none"),
        ({"robot": "sim_arm", "camera": "webcam"}, "camera must be one of"),
        ({"robot": "sim_arm", "camera": "simulated"}, "does not go with simulator 'none'"),
        ({"robot": "sim_arm", "camera": "file"}, "needs camera_path"),
        ({"robot": "sim_arm", "log_level": "loud"}, "log_level must be one of"),
        ({"robot": "nobody"}, "no robot 'nobody'"),
        ({}, "robot must be given"),
        ({"simulator": "mujoco"}, "needs a scenario"),
        ({"simulator": "gazebo", "scenario": "safe_reach_moving_obstacles"}, "simulated by MuJoCo only"),
        ({"simulator": "mujoco", "scenario": "nowhere"}, "no scenario 'nowhere'"),
        ({"simulator": "mujoco", "scenario": "safe_reach", "gui": True}, "the window of Gazebo"),
        ({"robot": "sim_base"}, "bundle is for robot 'sim_arm'"),
        ({"robot": "ur5e", "hazards": True, "feedback": "arm_reach"}, "a person who drives alone and records"),
        ({"robot": "sim_arm", "params_file": Path("absent.yaml")}, "absent.yaml"),
    ],
)
def test_wrong_input_is_one_line_before_anything_starts(bundle: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        described_by(bundle=bundle, **options)
    assert "\n" not in str(error.value)


def test_launch_arguments_are_the_options_that_their_text_describes() -> None:
    given = {
        "robot": "sim_arm",
        "bundle": "models/a",
        "simulator": "none",
        "camera": "none",
        "black_box": "~/boxes",
        "feedback": "",
        "offline": "runs/a:runs/b",
        "use_respawn": "True",
        "autostart": "false",
    }
    assert parse_options(given) == StackOptions(
        robot="sim_arm",
        bundle=Path("models/a"),
        black_box=Path.home() / "boxes",
        offline=(Path("runs/a"), Path("runs/b")),
        use_respawn=True,
        autostart=False,
    )
    assert parse_options({"black_box": "none", "namespace": "none"}) == StackOptions(namespace="none")
    with pytest.raises(UserError, match="exploring must be true or false, got 'yes'"):
        parse_options({"exploring": "yes"})
    with pytest.raises(UserError, match=r"camera must be one of simulated, .*, none, got 'webcam'"):
        parse_options({"camera": "webcam"})


def test_a_missing_bundle_is_refused() -> None:
    with pytest.raises(UserError, match="bundle must be given"):
        described_by(robot="sim_arm")
    with pytest.raises(UserError, match="no such bundle folder"):
        described_by(robot="sim_arm", bundle=Path("absent"))


@pytest.mark.parametrize("said", ["true", "yes", "i_accept"])
def test_shadow_mode_is_refused_unless_the_whole_phrase_is_said(bundle: Path, said: str) -> None:
    with pytest.raises(UserError, match=f"to mean it, say '{SHADOW_PHRASE}'"):
        described_by(bundle=bundle, robot="sim_arm", shadow=said)
    assert "shadow" not in parameters(described_by(bundle=bundle, robot="sim_arm"), MONITOR)
    assert (
        parameters(described_by(bundle=bundle, robot="sim_arm", shadow=SHADOW_PHRASE), MONITOR)["shadow"]
        == SHADOW_PHRASE
    )


SHADOW = {"ros__parameters": {"shadow": SHADOW_PHRASE}}


@pytest.mark.parametrize(
    "content",
    [
        {MONITOR: SHADOW},
        {f"/{MONITOR}": SHADOW},
        {f"/left/{MONITOR}": SHADOW},
        {"left": {MONITOR: SHADOW}},
        {"/**": SHADOW},
        {f"/**/{MONITOR}": SHADOW},
        {"/left/*": SHADOW},
        {"/left": {"*": SHADOW}},
    ],
)
def test_a_parameter_file_cannot_switch_shadow_mode_on_by_itself(
    bundle: Path, tmp_path: Path, content: dict[str, Any]
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": {"provider": "cpu"}}, **content}))
    with pytest.raises(UserError, match=r"parameters.yaml: shadow under .* would switch the .* gate off") as error:
        described_by(bundle=bundle, robot="sim_arm", params_file=file)
    assert "\n" not in str(error.value)
    if "/**" not in content:  # of all nodes the monitor alone has the parameter
        assert described_by(bundle=bundle, robot="sim_arm", params_file=file, shadow=SHADOW_PHRASE).params_file == file


@pytest.mark.parametrize(
    "content",
    [
        {MONITOR: {"ros__parameters": {"shadow": "", "release_s": 0.3}}},
        {"lamp_node": {"ros__parameters": {"shadow": "soft"}}, MONITOR: {"ros__parameters": {"release_s": 0.3}}},
        {"/**": None},
    ],
)
def test_a_parameter_file_that_leaves_the_gate_alone_is_taken(bundle: Path, tmp_path: Path, content: Any) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump(content))
    assert described_by(bundle=bundle, robot="sim_arm", params_file=file).params_file == file


def test_the_black_box_is_a_process_that_the_manager_does_not_wait_for(bundle: Path, tmp_path: Path) -> None:
    described = simulated(bundle, black_box=tmp_path)
    assert "black_box_node" in names(described)
    assert "black_box_node" not in parameters(described, MANAGER)["nodes"]
    assert parameters(described, "black_box_node")["image_topics"] == ["camera/color/image_raw"]
    driven = described_by(robot=robot_with(tmp_path, cameras=[{"name": "wrist"}]), teleop="gamepad", black_box=tmp_path)
    assert parameters(driven, "black_box_node")["image_topics"] == ["wrist/color/image_raw"]


# -- consent -------------------------------------------------------------------------------------------
def test_in_simulation_the_monitor_waits_for_a_bundle_that_decides_slowly_and_on_a_robot_it_does_not(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = read_manifest(bundle).model_copy(update={"decision_period_s": 0.16})
    assert "proposal_timeout_s" not in parameters(simulated(bundle), MONITOR)
    monkeypatch.setattr("fosp_bringup.stack.read_manifest", lambda path: slow)
    assert parameters(simulated(bundle), MONITOR)["proposal_timeout_s"] == pytest.approx(0.32)


def test_a_simulated_robot_engages_by_itself_and_a_real_one_never(bundle: Path, tmp_path: Path) -> None:
    assert parameters(simulated(bundle), MONITOR)["engage"] == "by_itself"
    real = parameters(described_by(bundle=bundle, robot="sim_arm"), MONITOR)
    assert not {"engage", "episodes"} & set(real)
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({MONITOR: {"ros__parameters": {"engage": "by_itself"}}}))
    with pytest.raises(UserError, match="without an operator's consent"):
        described_by(bundle=bundle, robot="sim_arm", params_file=file)
    assert simulated(bundle, params_file=file).params_file == file


def test_a_robot_without_feedback_is_told_so_in_words(bundle: Path) -> None:
    described = described_by(bundle=bundle, robot="sim_arm", episodes="not_used")
    assert parameters(described, MONITOR)["episodes"] == "not_used"
    with pytest.raises(UserError, match="episodes must be one of required, not_used, got 'no'"):
        described_by(bundle=bundle, robot="sim_arm", episodes="no")


def test_a_real_robot_needs_no_simulator(tmp_path: Path) -> None:
    """A robot's computer may lack fosp_sim; `launch` may be missing, too, where ROS is not from apt."""
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_path("ur5e")))
    code = f"""
import importlib.util, sys
from pathlib import Path
sys.modules["fosp_sim"] = None
from fosp_bringup.stack import stack
from fosp_bringup.stack_options import StackOptions
real = stack(StackOptions(robot="ur5e", bundle=Path({str(tmp_path / "bundle")!r}), feedback="arm_reach"))
driven = stack(StackOptions(robot="diff_drive", teleop="gamepad", feedback="base_goal"))
if importlib.util.find_spec("launch_ros") is not None:
    import fosp_bringup.launch_description
print(len(real.processes), len(driven.processes))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "4"]


URDF = '<robot name="r"><link name="base_link"/></robot>'


def test_the_urdf_of_a_robot_file_is_published_and_a_simulator_or_a_driver_publishes_its_own(
    bundle: Path, tmp_path: Path
) -> None:
    arm = yaml.safe_load(robot_path("sim_arm").read_text())
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({**arm, "urdf": "robot.urdf"}))
    with pytest.raises(UserError, match=r"robot\.urdf: No such file"):
        described_by(bundle=bundle, robot=str(file))
    (tmp_path / "robot.urdf").write_text(URDF)
    described = described_by(bundle=bundle, robot=str(file))
    (node,) = [process for process in described.processes if process.name == "robot_description_node"]
    assert (node.dispensable, node.managed, node.parameters) == (True, False, {"robot": str(file)})
    assert "robot_description_node" in names(described_by(robot=str(file), teleop="gamepad"))
    assert "robot_description_node" not in names(simulated(bundle, robot=str(file)))
    assert "robot_description_node" not in names(described_by(bundle=bundle, robot="sim_arm"))


def test_a_simulated_graph_stays_on_this_machine_unless_it_is_told_otherwise_and_a_robots_never_does(
    bundle: Path,
) -> None:
    assert simulated(bundle).stays_here
    assert not simulated(bundle, network=True).stays_here
    assert not described_by(bundle=bundle, robot="sim_arm").stays_here
    variables = [environment(here)["FASTDDS_DEFAULT_PROFILES_FILE"] for here in (True, False)]
    assert len(set(variables)) == 2, "the processes get other settings for it"
