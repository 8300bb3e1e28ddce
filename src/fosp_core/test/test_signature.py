import base64
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import load_bundle, sign_bundle, verify_bundle
from fosp_core.bundle.signature import KEY_PREFIX, SIGNATURE, generate_key, read_private_key
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import parse_spec, read_yaml

ARM_FILE = Path(__file__).parents[3] / "config/robots/sim_arm.yaml"
ARM = read_robot(ARM_FILE)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a key, its public text, and a bundle signed with it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "public").write_text(generate_key(folder / "key.pem"))
    write_tiny_bundle(folder / "bundle", ARM)
    sign_bundle(folder / "bundle", folder / "key.pem")
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "work"))


def robot_that_trusts(*keys: str) -> RobotConfig:
    return parse_spec(RobotConfig, {**read_yaml(ARM_FILE), "bundle_keys": list(keys)}, "robot.yaml")


def trusting(folder: Path) -> RobotConfig:
    return robot_that_trusts((folder / "public").read_text())


def refused(directory: Path, robot: RobotConfig, said: str) -> None:
    for load in (verify_bundle, load_bundle):
        with pytest.raises(UserError, match=said) as error:
            load(directory, robot)
        assert "\n" not in str(error.value)


def edit_signature(folder: Path, **changes: object) -> None:
    path = folder / "bundle" / SIGNATURE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_robot_loads_a_bundle_that_a_trusted_key_signed(folder):
    assert load_bundle(folder / "bundle", trusting(folder)).manifest.robot == "sim_arm"
    other = generate_key(folder / "other.pem")
    verify_bundle(folder / "bundle", robot_that_trusts(other, (folder / "public").read_text()))


def test_a_robot_without_keys_loads_signed_and_unsigned_bundles(folder):
    load_bundle(folder / "bundle", ARM)
    (folder / "bundle" / SIGNATURE).unlink()
    load_bundle(folder / "bundle", ARM)


def test_a_bundle_without_signature_is_refused(folder):
    (folder / "bundle" / SIGNATURE).unlink()
    refused(folder / "bundle", trusting(folder), "is not signed.*run: fosp bundle sign")


def test_another_key_is_refused_even_when_it_claims_to_be_the_trusted_one(folder):
    generate_key(folder / "other.pem")
    sign_bundle(folder / "bundle", folder / "other.pem")
    refused(folder / "bundle", trusting(folder), "which this robot does not trust")
    edit_signature(folder, public_key=(folder / "public").read_text())
    refused(folder / "bundle", trusting(folder), "not of this content")


@pytest.mark.parametrize("bit", [0, 100, 511])
def test_a_flipped_bit_of_the_signature_is_refused(folder, bit):
    signature = bytearray(base64.b64decode(json.loads((folder / "bundle" / SIGNATURE).read_text())["signature"]))
    signature[bit // 8] ^= 1 << bit % 8
    edit_signature(folder, signature=base64.b64encode(signature).decode())
    refused(folder / "bundle", trusting(folder), "not of this content")


def test_a_flipped_bit_of_a_network_is_refused(folder):
    path = folder / "bundle" / "policy.onnx"
    content = bytearray(path.read_bytes())
    content[200] ^= 4
    path.write_bytes(content)
    refused(folder / "bundle", trusting(folder), "policy.onnx is damaged")


def test_the_signature_of_another_bundle_is_refused(folder):
    write_tiny_bundle(folder / "another", ARM, seed=1)
    shutil.copy(folder / "bundle" / SIGNATURE, folder / "another" / SIGNATURE)
    refused(folder / "another", trusting(folder), "not of this content")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 2000, b'{"public_key": "x", "signature": "!"}', b"\xff", b"x" * 5000],
    ids=["nothing", "no keys", "nested", "no base64", "no text", "too long"],
)
def test_what_is_no_signature_is_refused_in_one_line(folder, content):
    (folder / "bundle" / SIGNATURE).write_bytes(content)
    refused(folder / "bundle", trusting(folder), SIGNATURE)


def test_a_signature_that_is_a_link_is_refused(folder):
    path = folder / "bundle" / SIGNATURE
    path.rename(folder / "elsewhere.json")
    path.symlink_to(folder / "elsewhere.json")
    refused(folder / "bundle", trusting(folder), "is not signed")


def test_a_private_key_is_for_its_owner_alone_and_never_overwritten(folder):
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    with pytest.raises(UserError, match="exists already"):
        generate_key(folder / "key.pem")
    os.chmod(folder / "key.pem", 0o640)
    with pytest.raises(UserError, match="chmod 600"):
        sign_bundle(folder / "bundle", folder / "key.pem")


def test_what_is_no_private_key_is_refused_in_one_line(folder):
    (folder / "wrong.pem").write_text("no key")
    os.chmod(folder / "wrong.pem", 0o600)
    with pytest.raises(UserError, match="no unencrypted private key"):
        read_private_key(folder / "wrong.pem")
    with pytest.raises(UserError, match="keygen"):
        read_private_key(folder / "absent.pem")


def test_a_damaged_bundle_is_not_signed(folder):
    (folder / "bundle" / "critic.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"critic\.onnx is damaged"):
        sign_bundle(folder / "bundle", folder / "key.pem")


@pytest.mark.parametrize("key", ["", "ed25519:abc", KEY_PREFIX + "A" * 42 + "==", "rsa:" + "A" * 43 + "="])
def test_what_is_no_public_key_is_refused_with_the_robot_file(key):
    with pytest.raises(UserError, match=r"robot\.yaml: bundle_keys\.0"):
        robot_that_trusts(key)
