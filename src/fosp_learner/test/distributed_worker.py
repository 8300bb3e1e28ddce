"""Program of each process in the test of training in several processes: `OUT BAGS ROBOT`."""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fosp_core.robot.config import read_robot
from fosp_learner import config as learner_config
from fosp_learner.config import LearnerConfig, NetworkConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.distributed import processes
from fosp_learner.pretrain import pretrain
from fosp_learner.training.checkpoint import network_tensors
from fosp_learner.training.trainer import Trainer

TINY = NetworkConfig(recurrent=8, variables=4, classes=4, cnn_depth=2, units=8, keypoints=4, keypoint_values=2)


def episodes() -> Dataset:
    """Episodes of different lengths, so that the processes differ in how many of their transitions are valid."""
    made = []
    for seed in range(6):
        rng, length = np.random.default_rng(seed), 3 + 4 * (seed % 3)
        cost, terminal = np.zeros(length, np.float32), np.zeros(length, np.bool_)
        cost[-1], terminal[-1] = float(seed % 2), not seed % 2
        made.append(
            Episode(
                name=f"episode_{seed}",
                images=rng.integers(0, 256, (length, 1, 32, 32, 3), np.uint8),
                action=rng.uniform(-1, 1, (length, 3)).astype(np.float32),
                reward=rng.normal(0, 1, length).astype(np.float32),
                cost=cost,
                is_terminal=terminal,
                success=not seed % 2,
            )
        )
    return from_episodes(made)


def settings() -> LearnerConfig:
    """Two updates of each phase, in float32."""
    return LearnerConfig.model_validate(
        {
            "steps": 2,
            "batch_size": 4,
            "sequence_length": 6,
            "bf16": False,
            "learning_rate_warmup": 0,
            "cloning": {"share": 1.0, "batch_size": 6},
            "refinement": {"share": 1.0, "batch_size": 4},
            "extraction": {"memory": 5, "share": 1.0, "batch_size": 4, "sequence_length": 9},
        }
    )


def trained(count: int = 8) -> dict[str, torch.Tensor]:
    """Gradients of every update as `STEP.NAME`, and in the end the networks as `net.NAME`."""
    learner_config.SIZES["nano"] = TINY
    trainer = Trainer(settings(), episodes())
    found = {}
    named = [("world_model", trainer.world_model), ("behaviour", trainer.behaviour)]
    for step in range(count):
        trainer.train_step()
        for prefix, net in named:
            for name, parameter in net.named_parameters():
                if parameter.grad is not None:
                    found[f"{step}.{prefix}.{name}"] = parameter.grad.clone()
                    parameter.grad = None
    return found | {f"net.{name}": tensor.clone() for name, tensor in network_tensors(trainer).items()}


def main() -> None:
    out, bags, robot = map(Path, sys.argv[1:])
    with processes("cpu") as process:
        tensors = {name: x.contiguous() for name, x in trained().items()}
        save_file(tensors, out / f"rank_{process.rank}_of_{process.count}.safetensors")
        short = settings().model_copy(update={"validation_share": 0.5})
        manifest = pretrain([bags], out / "bundle", [read_robot(robot)], short, runs=out / "runs", device="cpu")
        (out / f"wrote_{process.rank}").write_text(manifest.id if manifest else "")


if __name__ == "__main__":
    main()
