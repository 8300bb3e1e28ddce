"""The training step of sheeprl's DreamerV3 for `make bench-peers`: its own `train` on a batch of noise.

Everything that its configuration names is set to fosp's sizes. Data come as tensors, and metrics are switched off, so
that nothing counts but the step and the update of its target critic.
"""

from collections.abc import Callable
from functools import partial

import gymnasium
import hydra
import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from serve import count, serve, work
from sheeprl.algos.dreamer_v3.agent import build_agent
from sheeprl.algos.dreamer_v3.dreamer_v3 import train
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.timer import timer
from sheeprl.utils.utils import dotdict
from torch.distributions import Distribution


def configuration(asked: dict, precision: str) -> dotdict:
    """Return its smallest DreamerV3 with fosp's sizes, batch and number of layers."""
    units, model = asked["units"], "algo.world_model"
    overrides = [
        "exp=dreamer_v3",
        "env=dummy",
        "algo=dreamer_v3_XS",
        "metric.log_level=0",
        f"fabric.precision={precision}",
        f"num_threads={asked['threads']}",
        f"algo.per_rank_batch_size={asked['rows']}",
        f"algo.per_rank_sequence_length={asked['length']}",
        f"algo.horizon={asked['horizon']}",
        f"algo.dense_units={units}",
        f"algo.mlp_layers={asked['head_layers']}",
        f"{model}.stochastic_size={asked['variables']}",
        f"{model}.discrete_size={asked['classes']}",
        f"{model}.encoder.cnn_channels_multiplier={asked['cnn_depth']}",
        f"{model}.recurrent_model.recurrent_state_size={asked['recurrent']}",
        f"{model}.transition_model.hidden_size={units}",
        f"{model}.representation_model.hidden_size={units}",
        f"algo.actor.mlp_layers={asked['actor_layers']}",
        f"algo.actor.dense_units={asked['actor_units']}",
        f"algo.critic.mlp_layers={asked['critic_layers']}",
        f"algo.compile.enabled={str(asked['compile']).lower()}",
        "algo.compile.mode=default",
    ]
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        composed = compose("config", overrides)
    return dotdict(OmegaConf.to_container(composed, resolve=True))


def batch(asked: dict, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return a batch of noise as its buffer hands one out: (length, rows, ...) float32."""
    shape, side = (asked["length"], asked["rows"]), asked["side"]
    flags = {name: torch.zeros(*shape, 1) for name in ("terminated", "truncated", "is_first")}
    return {
        "rgb": torch.from_numpy(rng.integers(0, 256, (*shape, 3, side, side), np.uint8)).float(),
        "actions": torch.from_numpy(rng.uniform(-1, 1, (*shape, asked["action"])).astype(np.float32)),
        "rewards": torch.from_numpy(rng.normal(0, 0.1, (*shape, 1)).astype(np.float32)),
        **flags,
    }


def agent(asked: dict, precision: str) -> tuple[dict[str, torch.nn.Module], Callable[[], None]]:
    """Return its networks, and a function that makes one step."""
    cfg = configuration(asked, precision)
    torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    fabric = hydra.utils.instantiate(cfg.fabric, callbacks=None, _convert_="all")
    fabric.launch()
    space = gymnasium.spaces.Dict({"rgb": gymnasium.spaces.Box(0, 255, (3, asked["side"], asked["side"]), np.uint8)})
    actions = (asked["action"],)
    world_model, actor, critic, target, _ = build_agent(fabric, actions, True, cfg, space)
    optimisers = fabric.setup_optimizers(
        *(
            hydra.utils.instantiate(part.optimizer, params=network.parameters(), _convert_="all")
            for part, network in (
                (cfg.algo.world_model, world_model),
                (cfg.algo.actor, actor),
                (cfg.algo.critic, critic),
            )
        )
    )
    scale = cfg.algo.actor.moments
    moments = Moments(scale.decay, scale.max, scale.percentile.low, scale.percentile.high)
    data, tau = batch(asked, np.random.default_rng(0)), cfg.algo.critic.tau

    def step() -> None:
        for own, followed in zip(critic.module.parameters(), target.parameters(), strict=True):
            followed.data.copy_(tau * own.data + (1 - tau) * followed.data)
        train(fabric, world_model, actor, critic, target, *optimisers, dict(data), None, cfg, True, actions, moments)

    return {"world model": world_model, "critics": critic, "actor": actor}, step


asked = work()
Distribution.set_default_validate_args(False)
MetricAggregator.disabled = timer.disabled = True
made = {f"sheeprl ({name})": agent(asked, kind) for name, kind in (("fp32", "32-true"), ("bf16", "bf16-mixed"))}
networks = {name: parts for name, (parts, _) in made.items()}
serve(
    "sheeprl",
    {which: count(network) for which, network in next(iter(networks.values())).items()},
    {name: partial(step) for name, (_, step) in made.items()},
    networks,
)
