"""The training step of dreamerv3-torch for `make bench-peers`: its world model's and its behaviour's `_train` in turn.

The checkout is the folder that the environment variable DREAMERV3_TORCH names. Its configuration is its own, with
fosp's sizes. Images come as uint8, as from its replay buffer.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from serve import count, serve, work

checkout = Path(os.environ["DREAMERV3_TORCH"])
sys.path.insert(0, str(checkout))
import models  # noqa: E402


def numbers(value: Any) -> Any:
    """Read numbers such as 1e-8, which PyYAML leaves as text."""
    if isinstance(value, dict):
        return {name: numbers(part) for name, part in value.items()}
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def configuration(asked: dict) -> SimpleNamespace:
    """Return its defaults with fosp's sizes and number of layers. Its actor has as many units as all else."""
    own = numbers(yaml.safe_load((checkout / "configs.yaml").read_text())["defaults"])
    own |= {
        "device": "cpu",
        "num_actions": asked["action"],
        "batch_size": asked["rows"],
        "batch_length": asked["length"],
        "imag_horizon": asked["horizon"],
        "dyn_hidden": asked["units"],
        "dyn_deter": asked["recurrent"],
        "dyn_stoch": asked["variables"],
        "dyn_discrete": asked["classes"],
        "units": asked["units"],
    }
    for part in ("encoder", "decoder"):
        own[part]["cnn_depth"] = asked["cnn_depth"]
    for part, layers in (
        ("reward_head", "head_layers"),
        ("cont_head", "head_layers"),
        ("actor", "actor_layers"),
        ("critic", "critic_layers"),
    ):
        own[part]["layers"] = asked[layers]
    return SimpleNamespace(**own)


def batch(asked: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a batch of noise as its replay buffer hands one out: (rows, length, ...)."""
    shape, side = (asked["rows"], asked["length"]), asked["side"]
    first = np.zeros(shape, np.float32)
    first[:, 0] = 1
    return {
        "image": rng.integers(0, 256, (*shape, side, side, 3), np.uint8),
        "action": rng.uniform(-1, 1, (*shape, asked["action"])).astype(np.float32),
        "reward": rng.normal(0, 0.1, shape).astype(np.float32),
        "discount": np.ones(shape, np.float32),
        "is_first": first,
        "is_terminal": np.zeros(shape, np.float32),
    }


asked = work()
config = configuration(asked)
image = np.zeros((asked["side"], asked["side"], 3), np.uint8)
model = models.WorldModel(SimpleNamespace(spaces={"image": image}), None, 0, config)
behaviour = models.ImagBehavior(config, model)
data = batch(asked, np.random.default_rng(0))


def reward(features: Any, state: Any, action: Any) -> Any:
    """Return the imagined reward as its agent does without exploration."""
    return model.heads["reward"](model.dynamics.get_feat(state)).mode()


def step() -> None:
    """Make one step of all networks."""
    latents, _, _ = model._train(data)
    behaviour._train(latents, reward)


networks = {"world model": model, "critics": behaviour.value, "actor": behaviour.actor}
serve(
    "dreamerv3-torch",
    {which: count(network) for which, network in networks.items()},
    {"dreamerv3-torch (fp32)": step},
    {"dreamerv3-torch (fp32)": networks},
)
