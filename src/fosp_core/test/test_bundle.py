import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import (
    GOLDEN,
    MANIFEST,
    content_id,
    load_bundle,
    read_manifest,
    verify_bundle,
    write_bundle,
)
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec, read_yaml

ROBOTS = Path(__file__).parents[3] / "config/robots"
ARM = read_robot(ROBOTS / "sim_arm.yaml")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(directory, ARM)
    return directory


@pytest.fixture
def bundle(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def refused(directory: Path, said: str, robot: RobotConfig | None = None) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_bundle(directory, robot)
    assert "\n" not in str(error.value)


def edit_manifest(directory: Path, resign: bool = True, **changes) -> None:
    """Change the manifest; with `resign`, give it the id of its new content, as a careful forger would."""
    path = directory / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    if resign:
        manifest = read_manifest(directory)
        path.write_text(json.dumps({**json.loads(path.read_text()), "id": content_id(manifest)}))


def test_a_bundle_loads_and_runs(bundle):
    loaded = load_bundle(bundle, ARM)
    latent = loaded.manifest.latent
    out = loaded.critic.run(
        deter=np.zeros((1, latent.deter), np.float32),
        stoch=np.zeros((1, latent.stoch), np.float32),
        action=np.zeros((1, 5, 3), np.float32),
    )
    assert out["q_h"].shape == (1, 5)
    assert loaded.provider == "CPU"


def test_the_same_content_gives_the_same_id_and_other_content_another(tmp_path):
    first, second = (write_tiny_bundle(tmp_path / name, ARM).id for name in "ab")
    other = write_bundle(
        tmp_path / "c",
        read_manifest(tmp_path / "a").model_copy(update={"task": "another"}),
        {name: tmp_path / "a" / name for name in read_manifest(tmp_path / "a").files},
    )
    assert first == second != other.id


@pytest.mark.parametrize("name", ["encoder.onnx", "policy.onnx", "critic.onnx", GOLDEN])
def test_one_flipped_bit_is_refused(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refused(bundle, f"{name} is damaged")


@pytest.mark.parametrize("name", ["encoder.onnx", GOLDEN])
def test_a_missing_file_is_refused(bundle, name):
    (bundle / name).unlink()
    refused(bundle, f"{name} is missing")


def test_a_truncated_manifest_is_refused(bundle):
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text[: len(text) // 2])
    refused(bundle, "not valid JSON")


def test_a_changed_manifest_is_refused(bundle):
    edit_manifest(bundle, resign=False, kappa=0.5)
    refused(bundle, "damaged")


def test_an_unknown_format_version_is_refused(bundle):
    edit_manifest(bundle, resign=False, format_version=2)
    refused(bundle, "format version 2, this release reads 1")


def test_a_manifest_without_calibration_is_refused(bundle):
    content = json.loads((bundle / MANIFEST).read_text())
    del content["calibration"]
    (bundle / MANIFEST).write_text(json.dumps(content))
    refused(bundle, "calibration")


def test_a_threshold_of_zero_is_refused(bundle):
    calibration = json.loads((bundle / MANIFEST).read_text())["calibration"]
    edit_manifest(bundle, resign=False, calibration={**calibration, "eps": 0.0})
    refused(bundle, "calibration.eps: .*greater than 0")


def test_a_file_outside_of_the_folder_is_refused(bundle, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    edit_manifest(bundle, resign=False, files={**read_manifest(bundle).files, "../secret": "0" * 64})
    refused(bundle, "illegal file name")


def test_weights_that_do_not_give_the_golden_outputs_are_refused(bundle):
    model = onnx.load(bundle / "critic.onnx")
    for initializer in model.graph.initializer:
        array = onnx.numpy_helper.to_array(initializer)
        if array.dtype == np.float32:
            initializer.CopyFrom(onnx.numpy_helper.from_array(array + np.float32(0.25), initializer.name))
    onnx.save(model, bundle / "critic.onnx")
    files = {name: bundle / name for name in read_manifest(bundle).files}
    forged = bundle.parent / "forged"
    write_bundle(forged, read_manifest(bundle), files)
    verify_bundle(forged)
    refused(forged, "critic fails its self-test")


def test_networks_of_another_signature_are_refused(bundle):
    files = {name: bundle / name for name in read_manifest(bundle).files}
    swapped = bundle.parent / "swapped"
    write_bundle(swapped, read_manifest(bundle), {**files, "policy.onnx": bundle / "critic.onnx"})
    refused(swapped, "policy.onnx: expected inputs")


def test_a_file_that_is_no_network_is_refused(bundle):
    files = {name: bundle / name for name in read_manifest(bundle).files}
    broken = bundle.parent / "broken"
    write_bundle(broken, read_manifest(bundle), {**files, "policy.onnx": b"not onnx"})
    refused(broken, "not a model that ONNX Runtime can load")


def test_a_bundle_for_another_robot_is_refused(bundle):
    refused(bundle, "bundle is for robot 'sim_arm', not 'sim_base'", read_robot(ROBOTS / "sim_base.yaml"))


def test_another_action_scale_or_frame_is_refused(bundle):
    robot = read_yaml(ROBOTS / "sim_arm.yaml")
    robot["action"]["axes"][0]["scale"] = 0.1
    refused(bundle, "scale of linear.x: bundle 0.25 m/s, robot 0.1 m/s", parse_spec(RobotConfig, robot, "x"))
    robot = read_yaml(ROBOTS / "sim_arm.yaml")
    robot["action"]["frame_id"] = "world"
    refused(bundle, "action frame: bundle 'base_link', robot 'world'", parse_spec(RobotConfig, robot, "x"))


def test_writing_over_something_is_refused_and_leaves_it_alone(bundle):
    before = sorted(p.name for p in bundle.iterdir())
    with pytest.raises(UserError, match="exists already"):
        write_tiny_bundle(bundle, ARM)
    assert sorted(p.name for p in bundle.iterdir()) == before


def test_a_failed_write_leaves_nothing_behind(tmp_path, original):
    files = {name: original / name for name in read_manifest(original).files}
    with pytest.raises(UserError):
        write_bundle(tmp_path / "new", read_manifest(original), {**files, "../out": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    refused(tmp_path / "none", "no such bundle folder")
    refused(tmp_path, "is this a bundle")


def test_an_unavailable_provider_is_told(bundle):
    with pytest.raises(UserError, match="install onnxruntime-gpu"):
        load_bundle(bundle, provider="cuda")


def test_a_manifest_nested_too_deeply_is_refused(bundle):
    (bundle / MANIFEST).write_text("[" * 100_000)
    refused(bundle, "not valid JSON")


def test_a_manifest_that_is_no_file_is_refused(bundle):
    (bundle / MANIFEST).unlink()
    os.mkfifo(bundle / MANIFEST)
    refused(bundle, "not a file")


def test_a_link_out_of_the_folder_is_refused_file_or_directory(bundle, tmp_path):
    (bundle / GOLDEN).rename(tmp_path / GOLDEN)
    (bundle / GOLDEN).symlink_to(tmp_path / GOLDEN)
    refused(bundle, f"{GOLDEN} is a link")
    (bundle / GOLDEN).unlink()
    (tmp_path / GOLDEN).rename(bundle / GOLDEN)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a").write_bytes(b"")
    (bundle / "training").symlink_to(tmp_path / "weights")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    edit_manifest(bundle, files={**read_manifest(bundle).files, "training/a": empty})
    refused(bundle, "training/a is a link")


def test_golden_outputs_that_unpack_to_more_than_memory_holds_are_refused(bundle):
    with zipfile.ZipFile(bundle / "bomb", "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as array:
        for _ in range(300):
            array.write(bytes(1 << 20))
    files = {name: bundle / name for name in read_manifest(bundle).files}
    bomb = bundle.parent / "bomb"
    write_bundle(bomb, read_manifest(bundle), {**files, GOLDEN: bundle / "bomb"})
    refused(bomb, "unpacks to more than")


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname"])
def test_weights_outside_of_the_folder_are_not_read(bundle, tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(1 << 16))
    model = onnx.load(bundle / "critic.onnx")
    for initializer in model.graph.initializer:
        if list(initializer.dims) == []:
            continue
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        initializer.external_data.add(key="location", value=location)
    forged = bundle.parent / "forged"
    files = {name: bundle / name for name in read_manifest(bundle).files}
    write_bundle(forged, read_manifest(bundle), {**files, "critic.onnx": model.SerializeToString()})
    refused(forged, "not a model that ONNX Runtime can load")
