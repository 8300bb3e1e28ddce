"""Gives an existing bundle the network that the safety monitor looks ahead with, from the weights it was made of."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from fosp_core.bundle.bundle import DYNAMICS, GOLDEN, golden_bytes, holds_dynamics, verify_bundle, write_bundle
from fosp_core.errors import UserError
from fosp_core.specs import Manifest
from fosp_learner.bundling.export import export_dynamics
from fosp_learner.bundling.training_weights import read_weights, require_same_networks
from fosp_learner.finetuning.config import FinetuneConfig, learner_config
from fosp_learner.finetuning.fine_tuner import fill
from fosp_learner.finetuning.gate import Networks
from fosp_learner.model.world_model import WorldModel
from fosp_learner.training.behaviour import Behaviour


def add_dynamics(bundle: Path, out: Path, checkpoint: Path | None = None) -> Manifest:
    """Write the bundle anew into `out`, with dynamics.onnx; all other networks stay what they are, byte for byte.

    The weights are the bundle's own, or those of the `checkpoint` that it was exported from. UserError when there are
    none, when they are others than the bundle runs, or when it holds dynamics already.
    """
    manifest = verify_bundle(bundle)
    if holds_dynamics(manifest):
        raise UserError(f"{bundle}: holds {DYNAMICS}.onnx already")
    config = learner_config(manifest, FinetuneConfig())
    model = WorldModel(config.network, config.world_model, manifest.observation.shape, manifest.action.size)
    behaviour = Behaviour(config, manifest.action.size)
    networks = Networks(model, behaviour, copy.deepcopy(behaviour.actor), manifest.kappa)
    fill(networks, read_weights(bundle, checkpoint), bundle)
    offline, online, critics = networks.offline_actor, behaviour.actor, behaviour.critics
    require_same_networks(bundle, model, offline, online, critics, checkpoint or bundle)
    content, arrays = export_dynamics(model, online, critics)
    with np.load(bundle / GOLDEN, allow_pickle=False) as golden:
        merged = golden_bytes({**{name: golden[name] for name in golden.files}, **arrays})
    files: dict[str, Path | bytes] = {name: bundle / name for name in manifest.files}
    files |= {f"{DYNAMICS}.onnx": content, GOLDEN: merged}
    made_of = manifest.model_copy(update={"training": {**manifest.training, "dynamics_added_to": manifest.id}})
    return write_bundle(out, made_of, files)
