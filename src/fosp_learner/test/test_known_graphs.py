"""A graph that was exported before, filled with other weights, is what a new export would be."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fosp_learner.bundling.export import NAMES, export_networks, learn_graphs
from fosp_learner.bundling.known_graphs import KnownGraphs
from fosp_learner.config import LearnerConfig
from fosp_learner.model.actor import Actor
from fosp_learner.model.critics import Critics
from fosp_learner.model.world_model import WorldModel

Networks = tuple[WorldModel, Actor, Actor, Critics]


@torch.no_grad()
def shaken(networks: Networks, seed: int) -> Networks:
    """Return copies with other weights, as another bundle has them."""
    generator = torch.Generator().manual_seed(seed)
    copies = copy.deepcopy(networks)
    for network in copies:
        for weight in network.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return copies


@pytest.fixture(scope="module")
def networks() -> Networks:
    torch.manual_seed(0)
    config = LearnerConfig()
    world_model = WorldModel(config.network, config.world_model, (1, 64, 64, 3), 2)
    actors = (Actor(config.network, config.actor, 2) for _ in range(2))
    return shaken((world_model, *actors, Critics(config.network, config.critic, 2)), 1)


@pytest.fixture(scope="module")
def exported(networks: Networks) -> dict[str, bytes]:
    return export_networks(*networks)


def known_of(files: dict[str, bytes], networks: Networks) -> KnownGraphs:
    known = KnownGraphs()
    learn_graphs(known, {name: files[f"{name}.onnx"] for name in NAMES}, *networks)
    return known


def constants(content: bytes) -> dict[str, np.ndarray]:
    return {x.name: numpy_helper.to_array(x) for x in onnx.load_from_string(content).graph.initializer}


def test_a_known_graph_with_other_weights_is_the_graph_that_an_export_gives(
    networks: Networks, exported: dict[str, bytes]
) -> None:
    others = shaken(networks, 2)
    filled = export_networks(*others, known_of(exported, networks))
    anew = export_networks(*others)
    assert filled["golden.npz"] == anew["golden.npz"]
    for name in NAMES:
        got, wanted = constants(filled[f"{name}.onnx"]), constants(anew[f"{name}.onnx"])
        assert got.keys() == wanted.keys()
        assert all(np.array_equal(got[key], wanted[key]) for key in wanted)


def test_two_weights_that_were_equal_are_not_taken_for_one(networks: Networks) -> None:
    model, offline, _, critics = networks
    equal = model, offline, copy.deepcopy(offline), critics
    known = known_of(export_networks(*equal), equal)
    assert known.filled("policy", nn.Identity()) is None


def test_a_graph_with_weights_that_nothing_is_known_of_is_not_used(
    networks: Networks, exported: dict[str, bytes]
) -> None:
    assert known_of(exported, shaken(networks, 3)).filled("critic", nn.Identity()) is None


def test_a_network_that_is_not_known_is_exported_and_known_from_then_on(networks: Networks) -> None:
    known = KnownGraphs()
    first = export_networks(*networks, known)
    assert all(known._known[name].content == first[f"{name}.onnx"] for name in NAMES)
