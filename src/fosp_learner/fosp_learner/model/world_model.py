"""Recurrent state-space model (DreamerV3): images and executed actions -> latent state, and back.

    h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1})    posterior z_t ~ q(h_t, enc(o_t))    prior z_t ~ p(h_t)

Row t of a sequence holds image t and the action executed on the way to it (`action_prev`), 0 on a first row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fosp_learner import distributed
from fosp_learner.config import NetworkConfig, WorldModelConfig
from fosp_learner.data.batch import Batch
from fosp_learner.model.losses import balanced_kl, binary_nll, categorical_kl, scaled_means, two_hot_nll
from fosp_learner.model.networks import (
    ConvDecoder,
    ConvEncoder,
    ImageMemory,
    KeypointEncoder,
    Norm,
    Perceptron,
    RecurrentCell,
    ScalarHead,
    TwoHotHead,
    patches,
    scaled_gradient,
    unpatched,
)


@dataclass(frozen=True)
class Latents:
    """Filtered states of a batch."""

    deter: Tensor
    """(B, T, D) float32."""
    stoch: Tensor
    """(B, T, S) float32, flattened one-hot, with straight-through gradients."""
    posterior: Tensor
    """(B, T, V, K) log-probabilities."""
    prior: Tensor
    """(B, T, V, K) log-probabilities."""
    embed: Tensor
    """(B, T, E) image embedding."""
    memory: Tensor
    """(B, T, M) of the image embeddings until then."""

    @property
    def state(self) -> Tensor:
        """(h, z): (B, T, D + S). What the model predicts, and decodes from."""
        return torch.cat([self.deter, self.stoch], -1)

    @property
    def feature(self) -> Tensor:
        """(m, h, e, z): (B, T, M + D + E + S). What critics and actors see."""
        return torch.cat([self.memory, self.deter, self.embed, self.stoch], -1)


class RecurrentStateSpaceModel(nn.Module):
    """Latent dynamics. Embedding and action projections and the prior are computed outside of the time loop."""

    def __init__(self, net: NetworkConfig, action: int, unimix: float) -> None:
        super().__init__()
        self.variables, self.classes, self.unimix = net.variables, net.classes, unimix
        self.from_stoch = nn.Linear(net.stoch, net.units, bias=False)
        self.from_action = nn.Linear(action, net.units, bias=False)
        self.input_norm = Norm(net.units)
        self.cell = RecurrentCell(net.units, net.deter)
        self.from_deter = nn.Linear(net.deter, net.units, bias=False)
        self.from_embed = nn.Linear(net.embed, net.units, bias=False)
        self.posterior_norm = Norm(net.units)
        self.posterior_logits = nn.Linear(net.units, net.stoch)
        self.prior_net = Perceptron(net.deter, net.units, 1, net.stoch)
        self.initial = nn.Parameter(torch.zeros(net.deter))

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Flat logits (..., S) -> log-probabilities (..., V, K) with the uniform share mixed in."""
        logits = logits.float().reshape(*logits.shape[:-1], self.variables, self.classes)
        probabilities = torch.softmax(logits, -1)
        return torch.log((1 - self.unimix) * probabilities + self.unimix / self.classes)

    def sample(self, log_probabilities: Tensor, noise: Tensor) -> Tensor:
        """Straight-through one-hot by inverse CDF: (..., V, K) and uniform noise (..., V, 1) -> flat (..., S)."""
        probabilities = log_probabilities.exp()
        index = (probabilities.detach().cumsum(-1) < noise).sum(-1).clamp_max(self.classes - 1)
        one_hot = F.one_hot(index, self.classes).to(probabilities.dtype)
        return (one_hot + probabilities - probabilities.detach()).flatten(-2)

    def mode(self, log_probabilities: Tensor) -> Tensor:
        """One-hot of the most likely classes: (..., V, K) -> flat (..., S)."""
        return F.one_hot(log_probabilities.argmax(-1), self.classes).float().flatten(-2)

    def prior(self, deter: Tensor) -> Tensor:
        """(..., D) -> log-probabilities (..., V, K)."""
        return self.log_probabilities(self.prior_net(deter))

    def initial_state(self) -> tuple[Tensor, Tensor]:
        """Learned first state: deter (D,) and stoch (S,), the mode of its prior."""
        deter = torch.tanh(self.initial)
        return deter, self.mode(self.prior(deter.detach()))

    def advance(self, deter: Tensor, stoch: Tensor, action_projection: Tensor) -> Tensor:
        """h_t from the state before and the projected action (B, units)."""
        x = F.silu(self.input_norm(self.from_stoch(stoch) + action_projection))
        result: Tensor = self.cell(x, deter)
        return result

    def posterior(self, deter: Tensor, embed_projection: Tensor) -> Tensor:
        """Log-probabilities (B, V, K) from h_t (B, D) and the projected embedding (B, units)."""
        x = F.silu(self.posterior_norm(self.from_deter(deter) + embed_projection))
        return self.log_probabilities(self.posterior_logits(x))

    def observe(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences: embed (B, T, E), action_prev (B, T, A), is_first (B, T) -> Latents.

        With `sample` false the state is the mode of the posterior, as at run time.
        """
        batch, length = is_first.shape
        first = is_first.float()
        embed_projection = self.from_embed(embed).float()
        action_projection = self.from_action(action_prev * (1 - first).unsqueeze(-1)).float()
        # Drawn only where needed: filtering must not disturb the generator of a run that can be resumed.
        noise = distributed.uniform(batch, length, self.variables, 1, device=embed.device) if sample else None
        deter0, stoch0 = self.initial_state()
        deter = deter0.expand(batch, -1)
        stoch = stoch0.expand(batch, -1)
        deters, stochs, posteriors = [], [], []
        resets = is_first.any(0).tolist()
        for t in range(length):
            if resets[t]:
                mask = first[:, t : t + 1]
                deter = deter + mask * (deter0 - deter)
                stoch = stoch + mask * (stoch0 - stoch)
            deter = self.advance(deter, stoch, action_projection[:, t])
            posterior = self.posterior(deter, embed_projection[:, t])
            stoch = self.mode(posterior) if noise is None else self.sample(posterior, noise[:, t])
            deters.append(deter)
            stochs.append(stoch)
            posteriors.append(posterior)
        stacked, seen = torch.stack(deters, 1), embed.float()
        posteriors_, nothing = torch.stack(posteriors, 1), seen[..., :0]
        return Latents(stacked, torch.stack(stochs, 1), posteriors_, self.prior(stacked), seen, nothing)

    def imagine_step(self, deter: Tensor, stoch: Tensor, action: Tensor, sample: bool = True) -> tuple[Tensor, Tensor]:
        """Next state under the prior, or its mode: (B, D), (B, S), (B, A) -> (B, D), (B, S)."""
        deter = self.advance(deter, stoch, self.from_action(action))
        if not sample:
            return deter, self.mode(self.prior(deter))
        noise = distributed.uniform(*deter.shape[:-1], self.variables, 1, device=deter.device)
        return deter, self.sample(self.prior(deter), noise)


def drawn_rows(batch: int, length: int, share: float) -> Tensor:
    """Indices (n,) into batch * length rows: of each sequence about `share` of its rows, at least one, at random."""
    drawn = distributed.uniform(batch, length).argsort(1)[:, : max(1, round(share * length))]
    return (drawn + length * torch.arange(batch).unsqueeze(1)).flatten()


class WorldModel(nn.Module):
    """RSSM with image encoder and decoder and heads for reward, cost and continuation."""

    def __init__(
        self, net: NetworkConfig, config: WorldModelConfig, observation: tuple[int, int, int, int], action: int
    ) -> None:
        super().__init__()
        cameras, height, width, colours = observation
        if height != width:
            raise ValueError(f"observation must be square, got {height}x{width}")
        self.config = config
        self.encoder: KeypointEncoder | ConvEncoder = (
            KeypointEncoder(cameras * colours, height, net.cnn_depth, net.keypoints, net.keypoint_values)
            if config.encoder == "keypoints"
            else ConvEncoder(cameras * colours, height, net.cnn_depth, net.embed)
        )
        self.decoder = ConvDecoder(net.state, cameras * colours, height, net.cnn_depth)
        self.deter, self.carried = net.deter, net.carried
        self.rssm = RecurrentStateSpaceModel(net, action, config.unimix)
        self.imagined_embed = Perceptron(net.state, net.units, 1, net.embed)
        self.memory = ImageMemory(net.embed, net.memory) if net.memory else None
        self.reward = TwoHotHead(net.state, net.units, 1)
        self.cost = TwoHotHead(net.state, net.units, 1)
        self.continues = ScalarHead(net.state, net.units, 1)
        self.mean_image: Tensor
        self.register_buffer("mean_image", torch.zeros(height, width, cameras * colours))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (..., cameras, H, W, 3) -> float (N, H, W, 3 * cameras) in [-0.5, 0.5], the cameras side by side."""
        cameras, height, width, colours = images.shape[-4:]
        flat = images.reshape(-1, cameras, height, width, colours)
        flat = flat.permute(0, 2, 3, 1, 4).reshape(-1, height, width, cameras * colours)
        return flat.float() / 255.0 - 0.5

    def varied(self, pixels: Tensor, groups: int, generator: torch.Generator | None = None) -> Tensor:
        """`pixels` (N, H, W, channels) in random other colours, the same for each of `groups` equal runs of images."""
        config = self.config
        shifts = config.hue_shift, config.saturation_shift, config.brightness_shift
        return recoloured(pixels, groups, *shifts, generator) if any(shifts) else pixels

    def embed(self, pixels: Tensor) -> Tensor:
        """(N, H, W, channels) -> (N, E)."""
        result: Tensor = self.encoder(pixels)
        return result

    def observe(self, images: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences of images (B, T, cameras, H, W, 3) uint8."""
        embed = self.embed(self.pixels(images)).reshape(*is_first.shape, -1)
        return self.filtered(embed, action_prev, is_first, sample)

    def filtered(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences of image embeddings (B, T, E)."""
        latents = self.rssm.observe(embed, action_prev, is_first, sample)
        return replace(latents, memory=self.remembered(latents.embed, is_first))

    def remembered(self, embed: Tensor, is_first: Tensor) -> Tensor:
        """(B, T, E), (B, T) -> (B, T, M); M is 0 without a memory."""
        if self.memory is None:
            return embed[..., :0].float()
        memory: Tensor = self.memory(embed, is_first)
        return memory

    def imagine_step(
        self, deter: Tensor, stoch: Tensor, memory: Tensor, action: Tensor, sample: bool = True
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Next h (B, D), z (B, S), m (B, M) under the prior, and the feature (B, F) that is expected there.

        With `sample` false z is the mode of the prior: the most probable way on.
        """
        deter, stoch = self.rssm.imagine_step(deter, stoch, action, sample)
        embed = self.imagined_embed(torch.cat([deter.float(), stoch], -1)).float()
        if self.memory is not None:
            memory = self.memory.step(embed, memory).float()
        return deter, stoch, memory, torch.cat([memory, deter.float(), embed, stoch], -1)

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], Latents]:
        """Named losses, each () and already weighted, and the latents they were computed on."""
        config, shape = self.config, batch.is_first.shape
        pixels = self.pixels(batch.images)
        embed = self.embed(self.varied(pixels, shape[0])).reshape(*shape, -1)
        seen = scaled_gradient(embed, config.embed_gradient_scale)
        latents = self.rssm.observe(seen, batch.action_prev, batch.is_first)
        latents = replace(latents, embed=embed.float(), memory=self.remembered(embed, batch.is_first))
        state = latents.state
        decoded = drawn_rows(shape[0], shape[1], config.decoded_share).to(pixels.device)
        arrives = (~batch.is_first).float()
        violation = torch.where(batch.cost > 0, config.violation_weight, 1.0)
        losses = {
            "reconstruction": self.reconstruction_error(state.flatten(0, 1)[decoded], pixels[decoded]),
            "reward": arrives * two_hot_nll(self.reward(state), batch.reward),
            "cost": arrives * violation * two_hot_nll(self.cost(state), batch.cost),
            "continue": arrives * binary_nll(self.continues(state), 1 - batch.is_terminal.float()),
            "embed": (self.imagined_embed(state.detach()).float() - latents.embed.detach()).square().sum(-1),
            "kl": balanced_kl(
                latents.posterior, latents.prior, config.free_nats, config.dynamics_scale, config.representation_scale
            ),
        }
        for name, loss in losses.items():
            assert loss.shape == (shape if name != "reconstruction" else decoded.shape), (name, loss.shape)
        return scaled_means(losses, config.loss_scales), latents

    def reconstruction_error(self, feature: Tensor, pixels: Tensor) -> Tensor:
        """Squared pixel error summed per image, with the foreground weighted up: (N, F), (N, H, W, C) -> (N,)."""
        error = (self.decoder(feature) - patches(pixels)).square()
        if self.config.foreground_scale > 0:
            foreground = (pixels - self.mean_image).abs().amax(-1, keepdim=True).expand_as(pixels)
            error = error * (1 + self.config.foreground_scale * patches(foreground))
        return error.sum((1, 2, 3))

    def reconstruct(self, feature: Tensor) -> Tensor:
        """(N, F) -> (N, H, W, 3 * cameras), pixels in about [-0.5, 0.5]."""
        return unpatched(self.decoder(feature))

    def surprise(self, latents: Latents) -> Tensor:
        """KL[posterior || prior] per row, nats: (B, T)."""
        return categorical_kl(latents.posterior, latents.prior)

    @torch.no_grad()
    def filter_step(
        self,
        images: Tensor,
        deter: Tensor,
        stoch: Tensor,
        action: Tensor,
        is_first: Tensor,
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One run-time step, as encoder.onnx does it, from the state before and the action executed since.

        `deter` (B, M + D + E): memory, h, and the image embedding, which is only passed on to critics and actors.

        `images` (B, cameras, H, W, 3) uint8; `is_first` (B,) float: where it is 1 the state before is `initial` (by
        default the learned one).
        Returns (m, h, e) (B, M + D + E), stoch (B, S) (mode of the posterior) and KL[posterior || prior] (B,) in nats.
        """
        rssm = self.rssm
        deter0, stoch0 = initial or rssm.initial_state()
        first = is_first.unsqueeze(-1)
        size = 0 if self.memory is None else self.memory.units
        memory, deter = deter[:, :size] * (1 - first), deter[:, size : size + self.deter]
        deter, stoch = deter + first * (deter0 - deter), stoch + first * (stoch0 - stoch)
        action = action * (1 - is_first).unsqueeze(-1)
        deter = rssm.advance(deter, stoch, rssm.from_action(action))
        embed = self.embed(self.pixels(images))
        posterior = rssm.posterior(deter, rssm.from_embed(embed))
        surprise = categorical_kl(posterior, rssm.prior(deter))
        if self.memory is not None:
            memory = self.memory.step(embed, memory)
        return torch.cat([memory, deter, embed], -1), rssm.mode(posterior), surprise


_GREY = torch.full((3, 3), 1 / 3)
"""Projection onto the grey axis, which a turn of the hue leaves alone."""
_TURN = math.sqrt(1 / 3) * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
"""Generator of turns around the grey axis (Rodrigues)."""


def colour_matrices(hue: Tensor, saturation: Tensor, brightness: Tensor) -> Tensor:
    """(N,) turn of the hue in rad, factors of saturation and brightness -> (N, 3, 3), to be applied to (r, g, b)."""
    assert hue.shape == saturation.shape == brightness.shape, (hue.shape, saturation.shape, brightness.shape)
    hue, saturation, brightness = (x[:, None, None] for x in (hue, saturation, brightness))
    grey, turn = _GREY.to(hue.device), _TURN.to(hue.device)
    turned = hue.cos() * (torch.eye(3, device=hue.device) - grey) + hue.sin() * turn
    return brightness * (grey + saturation * turned)


def recoloured(
    pixels: Tensor,
    groups: int,
    hue_degrees: float,
    saturation: float,
    brightness: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pixels (N, H, W, 3 * cameras) in [-0.5, 0.5] with another hue, saturation and brightness, the same for each of
    `groups` equal runs of images, drawn evenly from +-hue_degrees, 1 +- saturation and 1 +- brightness.

    Draws from `generator`, on the CPU; by default torch's global one, for the rows of this process.
    """
    count, height, width, channels = pixels.shape
    assert (count % groups, channels % 3) == (0, 0), (pixels.shape, groups)
    drawn = torch.rand(groups, 3, generator=generator) if generator else distributed.uniform(groups, 3)
    hue, more, brighter = drawn.to(pixels.device).T * 2 - 1
    matrices = colour_matrices(hue * math.radians(hue_degrees), 1 + more * saturation, 1 + brighter * brightness)
    changed = torch.bmm((pixels + 0.5).reshape(groups, -1, 3), matrices.transpose(1, 2))
    return (changed.clamp_(0, 1) - 0.5).reshape(count, height, width, channels)
