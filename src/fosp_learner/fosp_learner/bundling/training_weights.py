"""Training weights of a bundle, from which fine-tuning goes on, and the check that they belong to it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from fosp_core.bundle.bundle import GOLDEN, GOLDEN_TOLERANCE
from fosp_core.bundle.onnx_session import largest_difference
from fosp_core.errors import UserError
from fosp_learner.bundling.export import names_of, network_graphs
from fosp_learner.model.actor import Actor
from fosp_learner.model.critics import Critics
from fosp_learner.model.success import SuccessCritic
from fosp_learner.model.world_model import WorldModel

WEIGHTS = "training/networks.safetensors"
CHECKPOINT = "state.safetensors"
OFFLINE_ACTOR = "offline_actor."


def weights_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of training/networks.safetensors."""
    return to_bytes({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()})


def read_weights(bundle: Path, checkpoint: Path | None = None) -> dict[str, Tensor]:
    """Return the tensors by name, of the bundle or of the checkpoint it was exported from; UserError without any."""
    path = bundle / WEIGHTS if checkpoint is None else checkpoint / CHECKPOINT
    if not path.is_file():
        if checkpoint is not None:
            raise UserError(f"{checkpoint}: no checkpoint here; expected {CHECKPOINT}")
        raise UserError(
            f"{bundle}: holds no training weights ({WEIGHTS}); give the checkpoint it was exported from with "
            "--weights runs/pretrain/NAME/checkpoint, or train it with this release"
        )
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())[:120]})") from None
    if checkpoint is None:
        return tensors
    return {name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")}


@torch.no_grad()
def require_same_networks(
    bundle: Path,
    model: WorldModel,
    offline: Actor,
    online: Actor,
    critics: Critics,
    source: Path,
    success: SuccessCritic | None = None,
) -> None:
    """Raise UserError unless the networks give the golden outputs of the bundle, and so are those that it runs."""
    try:
        with np.load(bundle / GOLDEN, allow_pickle=False) as archive:
            golden = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{bundle / GOLDEN}: not readable ({error})") from None
    for name, graph in network_graphs(model, offline, online, critics, success).items():
        inputs, outputs = names_of(name, graph)
        given = graph(*(torch.from_numpy(golden[f"{name}.in.{key}"]) for key in inputs))
        got = dict(zip(outputs, (x.numpy() for x in given), strict=True))
        # A bundle of an earlier release lacks outputs that its networks could give.
        expected = {key: golden[f"{name}.out.{key}"] for key in outputs if f"{name}.out.{key}" in golden}
        difference, where = largest_difference(got, expected)
        if not difference <= GOLDEN_TOLERANCE:
            raise UserError(
                f"{source}: not the weights of {bundle}: its {name} gives another '{where}' (off by {difference:.2g})"
            )
