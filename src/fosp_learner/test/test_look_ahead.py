from collections.abc import Callable
from pathlib import Path

import pytest

from fosp_core.bundle.bundle import load_bundle, verify_bundle, write_bundle
from fosp_core.errors import UserError
from fosp_core.specs import ObservationSpec, RobotConfig
from fosp_learner import config as learner_config
from fosp_learner.bundling.training_weights import WEIGHTS, weights_bytes
from fosp_learner.config import CloningConfig, LearnerConfig, NetworkConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.look_ahead import add_dynamics
from fosp_learner.pretrain import assemble, provenance
from fosp_learner.training.checkpoint import network_tensors
from fosp_learner.training.trainer import Trainer

TINY = NetworkConfig(deter=8, variables=4, classes=4, cnn_depth=2, units=8, keypoints=4, keypoint_values=2)


@pytest.fixture
def bundle(tmp_path: Path, robot: RobotConfig, make_episode: Callable[..., Episode], monkeypatch: pytest.MonkeyPatch):
    """Of tiny networks, with its weights, without dynamics."""
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    data = from_episodes([make_episode(9, i, violates=i % 2 == 0, size=64) for i in range(6)])
    trainer = Trainer(LearnerConfig(steps=4, cloning=CloningConfig(share=0.0), batch_size=2, sequence_length=5), data)
    training = provenance(trainer, data, "test")
    manifest, files = assemble(trainer, data, robot, "safe_reach", ObservationSpec(), training)
    files[WEIGHTS] = weights_bytes(network_tensors(trainer))
    write_bundle(tmp_path / "old", manifest, files)
    return tmp_path / "old"


def test_a_bundle_without_gets_dynamics_and_keeps_its_other_networks(bundle: Path, tmp_path: Path):
    made = add_dynamics(bundle, tmp_path / "new")
    assert load_bundle(tmp_path / "new", look_ahead=True).manifest.id == made.id
    old = verify_bundle(bundle)
    kept = set(old.files) - {"golden.npz"}
    assert {name: made.files[name] for name in kept} == {name: old.files[name] for name in kept}
    assert made.training["dynamics_added_to"] == old.id
    with pytest.raises(UserError, match=r"holds dynamics\.onnx already"):
        add_dynamics(tmp_path / "new", tmp_path / "again")
