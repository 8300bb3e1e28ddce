"""Fine-tuning of one bundle: world model, critics and online actor learn on, the offline actor stays (PEX, RLPD).

Batches mix the data that the bundle was trained on with the robot's experience since. Files, bags and time are the
business of online_learner.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fosp_core.errors import UserError
from fosp_core.specs import Manifest
from fosp_learner.bundling.training_weights import OFFLINE_ACTOR
from fosp_learner.data.batch import Batch
from fosp_learner.data.dataset import Dataset
from fosp_learner.data.samplers import SequenceSampler
from fosp_learner.finetuning.config import FinetuneConfig, learner_config
from fosp_learner.finetuning.gate import Networks
from fosp_learner.finetuning.held_risk import hold_risk, tells_risk
from fosp_learner.finetuning.settling import Progress, settle, sources
from fosp_learner.training.checkpoint import load_networks, network_tensors
from fosp_learner.training.critic_gradient import LEAST_HEADS
from fosp_learner.training.filtering import KnownEmbeddings
from fosp_learner.training.phases import make_optimiser
from fosp_learner.training.trainer import Trainer


class MixedSampler:
    """Draws sequences of two data sets: `share` of a batch from the first, the rest from the second, which may grow.

    While there is only one of them, all sequences come from it.
    """

    def __init__(self, offline: Dataset | None, length: int, seed: int, image_shift: int, share: float) -> None:
        self._length, self._image_shift, self._share = length, image_shift, share
        self._offline = None if offline is None else SequenceSampler(offline, length, seed, image_shift)
        self._online: SequenceSampler | None = None
        self._online_state: dict[str, object] = dict(np.random.default_rng(seed + 1).bit_generator.state)

    def experience(self, online: Dataset | None) -> None:
        """Set the experience by now; its random generator goes on where it was."""
        if self._online is not None:
            self._online_state = self._online.state
        self._online = None
        if online is not None:
            self._online = SequenceSampler(online, self._length, 0, self._image_shift)
            self._online.state = self._online_state

    @property
    def tells_risk(self) -> bool:
        """True if each data set that batches are drawn from holds a violation."""
        return all(tells_risk(sampler.episodes) for sampler in (self._offline, self._online) if sampler is not None)

    @property
    def state(self) -> dict[str, object]:
        """State of both random generators, ready for JSON."""
        online = self._online_state if self._online is None else self._online.state
        return {"offline": None if self._offline is None else self._offline.state, "online": online}

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        if self._offline is not None:
            self._offline.state = value["offline"]
        self._online_state = value["online"]
        if self._online is not None:
            self._online.state = value["online"]

    def batch(self, size: int, part: slice = slice(None)) -> Batch:
        """Draw `size` sequences and return those of `part`."""
        if self._offline is None or self._online is None:
            sampler = self._offline or self._online
            assert sampler is not None, "nothing to train on"
            return sampler.batch(size, part)
        count = min(max(round(self._share * size), 0), size)
        drawn = [(self._offline, count), (self._online, size - count)]
        batches = [sampler.batch(some) for sampler, some in drawn if some]
        return Batch(**{name: torch.cat([getattr(b, name) for b in batches])[part] for name in vars(batches[0])})


class FineTuner(Trainer):
    """Trainer that begins with the networks of a bundle, and whose actor is the online one."""

    sampler: MixedSampler

    def __init__(
        self,
        manifest: Manifest,
        weights: dict[str, Tensor],
        source: Path,
        settings: FinetuneConfig,
        offline: Dataset | None,
        shapes_of: Dataset,
    ) -> None:
        """Take `weights`, which come from `source`; UserError when they do not fit.

        `shapes_of` is any data of the right shapes.
        """
        config = learner_config(manifest, settings)
        if settings.objective == "critic_gradient" and config.critic.heads < LEAST_HEADS:
            raise UserError(
                f"bundle {manifest.id[:12]}: objective critic_gradient needs critics of {LEAST_HEADS} heads or more, "
                f"found {config.critic.heads}: train the bundle with critic.heads"
            )
        super().__init__(config, shapes_of)
        self.settings, self.kappa, self._offline = settings, manifest.kappa, offline
        self._eps = manifest.calibration.eps
        self._embeddings = KnownEmbeddings()
        load_networks(self, {n: t for n, t in weights.items() if not n.startswith(OFFLINE_ACTOR)}, source)
        self.offline_actor = copy.deepcopy(self.behaviour.actor).requires_grad_(False)
        frozen = {n.removeprefix(OFFLINE_ACTOR): t for n, t in weights.items() if n.startswith(OFFLINE_ACTOR)}
        if frozen:
            self.offline_actor.load_state_dict(frozen, strict=True)
        if settings.freeze_image_encoder:
            self.world_model.encoder.requires_grad_(False)
            if self.world_model.memory is not None:
                self.world_model.memory.requires_grad_(False)
            self.optimisers["world_model"] = make_optimiser(self.world_model, config.world_model.learning_rate)
        shift = config.world_model.image_shift
        self.sampler = MixedSampler(offline, config.sequence_length, settings.seed, shift, settings.offline_share)

    def train_step(self) -> dict[str, float]:
        """Make one update, as the trainer does; the risk stands still while a part of the batch holds no violation.

        So does an actor that clones, whose episodes settling chooses, and one that follows the critics' gradient.
        """
        hold_risk(self.behaviour.critics, held=not self.sampler.tells_risk)
        self.behaviour.actor.requires_grad_(self.settings.objective == "advantages")
        figures = super().train_step()
        self.behaviour.actor.requires_grad_(True)
        return figures

    def settle(
        self,
        experience: Dataset | None,
        stop: Callable[[], bool] = lambda: False,
        progress: Progress = lambda phase, done, total: None,
        ended: Dataset | None = None,
    ) -> bool:
        """End a round as settling.py says; return False, with nothing changed, when `stop` returned true.

        `ended` is all of the experience, if `experience` holds outcomes alone.
        """
        config, cloning = self.settings.settling, self.settings.objective == "cloning"
        if cloning:
            config = config.model_copy(update={"ascent": 0.0})
        rng = np.random.default_rng((self.settings.seed, self.step))
        parts = sources(self._offline, experience, self.settings.offline_share, config, rng, cloning, ended)
        settled = settle(
            self.world_model,
            self.behaviour,
            self._eps,
            parts,
            config,
            rng,
            stop,
            self._embeddings,
            progress,
            self.settings.correction_weight,
            self.settings.objective == "critic_gradient",
        )
        if settled is not None:
            self.behaviour.load_state_dict(settled.state_dict())
        return settled is not None

    @property
    def networks(self) -> Networks:
        """The networks as they are now, which go on changing."""
        return Networks(self.world_model, self.behaviour, self.offline_actor, self.kappa)

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors that a later fine-tuning needs to go on from here."""
        frozen = {f"{OFFLINE_ACTOR}{name}": tensor for name, tensor in self.offline_actor.state_dict().items()}
        return {**network_tensors(self), **frozen}


def snapshot(networks: Networks) -> Networks:
    """Return a copy that no longer changes."""
    return Networks(
        copy.deepcopy(networks.world_model).requires_grad_(False),
        copy.deepcopy(networks.behaviour).requires_grad_(False),
        copy.deepcopy(networks.offline_actor),
        networks.kappa,
    )


def fill(networks: Networks, weights: dict[str, Tensor], source: Path) -> Networks:
    """Set the weights of a snapshot to those of a bundle and return it; UserError when they do not fit."""
    load_networks(networks, {n: t for n, t in weights.items() if not n.startswith(OFFLINE_ACTOR)}, source)
    frozen = {n.removeprefix(OFFLINE_ACTOR): t for n, t in weights.items() if n.startswith(OFFLINE_ACTOR)}
    networks.offline_actor.load_state_dict(frozen or networks.behaviour.actor.state_dict(), strict=True)
    return networks
