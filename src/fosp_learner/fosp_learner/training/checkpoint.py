"""Checkpoints: safetensors for tensors and JSON for the rest, without pickle, replaced in one rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fosp_core.errors import UserError
from fosp_learner.config import LearnerConfig
from fosp_learner.training.trainer import Trainer


class HasNetworks(Protocol):
    """A trainer, or a copy of its networks."""

    @property
    def world_model(self) -> nn.Module: ...

    @property
    def behaviour(self) -> nn.Module: ...


_TENSORS = "state.safetensors"
_JSON = "state.json"
_FREE = ("steps", "checkpoint_every", "bf16")
"""Settings that may be others in a resumed run."""


def save_checkpoint(trainer: Trainer, data_key: str, directory: Path) -> None:
    """Write everything that training needs to go on exactly; an interruption leaves the old checkpoint whole.

    UserError when the disk refuses.
    """
    tensors = {f"net.{name}": tensor for name, tensor in network_tensors(trainer).items()}
    for optimiser, adam in trainer.optimisers.items():
        for index, state in adam.state_dict()["state"].items():
            tensors |= {f"adam.{optimiser}.{index}.{key}": value for key, value in state.items()}
    tensors["generator"] = torch.get_rng_state()
    content = {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "data": data_key,
        "config": trainer.config.model_dump(mode="json"),
        "sampler": trainer.sampler.state,
        "precision": trainer.precision.state,
    }
    staging: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, staging / _TENSORS)
        (staging / _JSON).write_text(json.dumps(content, indent=2))
        _replace(staging, directory)
    except (OSError, SafetensorError) as error:
        detail = " ".join(str(error).split())[:160]
        raise UserError(
            f"{directory}: the checkpoint cannot be written ({detail}); free some space, then go on with --resume"
        ) from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def load_checkpoint(trainer: Trainer, data_key: str, directory: Path) -> None:
    """Set `trainer` to the state of the checkpoint; UserError when that belongs to other data or settings."""
    content = read_checkpoint(directory)
    if content["data"] != data_key:
        raise UserError(f"{directory}: the checkpoint was trained on other bags; begin anew with --overwrite")
    _require_same(trainer.config, content, directory)
    try:
        tensors = load_file(directory / _TENSORS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{directory}: damaged checkpoint ({error}); begin anew with --overwrite") from None
    load_networks(trainer, {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}, directory)
    for optimiser, adam in trainer.optimisers.items():
        _load_adam(adam, f"adam.{optimiser}.", tensors)
    trainer.step, trainer.seconds = int(content["step"]), float(content["seconds"])
    trainer.sampler.state = content["sampler"]
    trainer.precision.state = content.get("precision", {})
    torch.set_rng_state(tensors["generator"])


def read_checkpoint(directory: Path) -> dict[str, Any]:
    """Return the JSON part; UserError when there is none."""
    restore_checkpoint(directory)
    try:
        content: dict[str, Any] = json.loads((directory / _JSON).read_text())
    except OSError:
        raise UserError(f"{directory}: no checkpoint to resume; train without --resume") from None
    except ValueError:
        raise UserError(f"{directory}: damaged checkpoint; begin anew with --overwrite") from None
    return content


def network_tensors(trainer: HasNetworks) -> dict[str, Tensor]:
    """Return the weights and buffers of all networks by name."""
    return {
        **{f"world_model.{name}": tensor for name, tensor in trainer.world_model.state_dict().items()},
        **{f"behaviour.{name}": tensor for name, tensor in trainer.behaviour.state_dict().items()},
    }


def load_networks(trainer: HasNetworks, tensors: dict[str, Tensor], source: Path) -> None:
    """Set all weights and buffers; UserError when one is missing, unknown or of another shape."""
    for prefix, net in (("world_model.", trainer.world_model), ("behaviour.", trainer.behaviour)):
        part = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        part = _upgraded(part, net.state_dict())
        try:
            net.load_state_dict(part, strict=True)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:160]
            raise UserError(f"{source}: weights do not fit these networks ({detail})") from None


def _upgraded(part: dict[str, Tensor], net: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an older release with what it did not have yet, untrained.

    Its prediction guessed the embedding from (h, z) alone; an untrained `WorldModel.embed_change` expects no change.
    The success critic is trained after everything else, so that a run that ended without one has only that left to do.
    """
    fresh = {name: tensor for name, tensor in net.items() if name.startswith("success.")}
    if not fresh or not any(name.startswith("success.") for name in part):
        part = {name: tensor for name, tensor in part.items() if not name.startswith("success.")} | fresh
    older = {name for name in part if name.startswith("imagined_embed.")}
    if not older:
        return part
    new = {name: tensor for name, tensor in net.items() if name.startswith("embed_change.")}
    new |= {name: torch.zeros_like(tensor) for name, tensor in new.items() if ".output." in name}
    return {name: tensor for name, tensor in part.items() if name not in older} | new


def _load_adam(adam: torch.optim.Adam, prefix: str, tensors: dict[str, Tensor]) -> None:
    parameters: list[Tensor] = adam.param_groups[0]["params"]
    saved: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # The fused update walks through memory, so moments must lie there as the weights do (channels_last).
                tensor = torch.empty_like(parameter).copy_(tensor)
            saved.setdefault(int(index), {})[key] = tensor
    adam.load_state_dict({"state": saved, "param_groups": adam.state_dict()["param_groups"]})


def _require_same(config: LearnerConfig, content: dict[str, Any], directory: Path) -> None:
    """Raise UserError when a setting that decides what is learnt differs from the saved one.

    Those of the last phase may be others until it begins.
    """
    saved: dict[str, Any] = content["config"]
    begun = int(content["step"]) > config.total_steps - config.phases[-1]
    free = _FREE if begun else (*_FREE, "success")
    try:
        then = LearnerConfig.model_validate(saved).model_dump(mode="json")  # settings that are newer have their default
    except ValueError:
        then = saved
    now = config.model_dump(mode="json")
    different = sorted(key for key in now if now[key] != then.get(key) and key not in free)
    if different:
        raise UserError(
            f"{directory}: the checkpoint was trained with another {different[0]}; begin anew with --overwrite"
        )


def restore_checkpoint(directory: Path) -> bool:
    """Return True if there is a checkpoint, which is put back if a process ended while it was being replaced."""
    old = _aside(directory)
    if not directory.exists() and (old / _JSON).is_file():
        with suppress(OSError):  # where it cannot be put back, there is none
            os.rename(old, directory)
    return directory.is_dir()


def _aside(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.old")


def _replace(staging: Path, directory: Path) -> None:
    """Replace `directory` by `staging`, once that is on the disk; the old one is moved aside until then."""
    for path in (*staging.iterdir(), staging):
        _sync(path)
    restore_checkpoint(directory)
    if not directory.exists():
        os.rename(staging, directory)
        return
    old = _aside(directory)
    shutil.rmtree(old, ignore_errors=True)
    os.rename(directory, old)
    try:
        os.rename(staging, directory)
    except OSError:
        restore_checkpoint(directory)
        raise
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
