"""The training steps of fosp for `make bench-peers`; run in fosp's own environment."""

from serve import count, serve, work

from fosp_cli.bench.training import random_data, step_config
from fosp_learner.config import ImaginationConfig
from fosp_learner.training.trainer import Trainer


def trainer(asked: dict, bf16: bool, as_peer: bool) -> Trainer:
    """Return a trainer of full updates: as they are, or with all that a step of DreamerV3 does.

    The latter decodes every row instead of a quarter of them, and imagines from every latent, with the actor's gradient
    through the model (the ablation `actor.objective: backprop`). All else that fosp trains stays.
    """
    rollouts = ImaginationConfig(weight=1.0, starts=None, horizon=asked["horizon"]) if as_peer else ImaginationConfig()
    config = step_config(asked["size"], bf16, rollouts)
    assert (config.batch_size, config.sequence_length) == (asked["rows"], asked["length"])
    if as_peer:
        whole = config.world_model.model_copy(update={"decoded_share": 1.0})
        backprop = config.actor.model_copy(update={"objective": "backprop"})
        config = config.model_copy(update={"world_model": whole, "actor": backprop})
    return Trainer(config, random_data())


asked = work()
trainers = {
    f"fosp, {name} ({precision})": trainer(asked, precision == "bf16", as_peer)
    for name, as_peer in (("as trained", False), ("as DreamerV3", True))
    for precision in ("fp32", "bf16")
}
networks = {
    name: {"world model": t.world_model, "critics": t.behaviour.critics, "actor": t.behaviour.actor}
    for name, t in trainers.items()
}
first = next(iter(networks.values()))
serve(
    "fosp",
    {which: count(network) for which, network in first.items()},
    {name: lambda t=t: t.train_step() for name, t in trainers.items()},
    networks,
)
