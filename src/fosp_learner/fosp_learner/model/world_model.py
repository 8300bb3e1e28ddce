"""Recurrent state-space model (DreamerV3): from images and executed actions to latents, and back.

    e_t = enc(o_t)    h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1})    posterior z_t ~ q(h_t, e_t)    prior z_t ~ p(h_t)
    imagined: e_t = e_{t-1} + f(h_t, e_{t-1}, a_{t-1}), and z_t by the posterior, as if the image had been seen

h is the recurrent state, e the image embedding, z (`stoch`) the flattened one-hot categorical state, and m the memory
of earlier embeddings. A latent outside of this package is `deter`, the concatenation (m, h, e), and `stoch`.

Row t of a sequence holds image t and the action executed on the way to it (`action_prev`), 0 on a first row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fosp_learner import distributed
from fosp_learner.config import NetworkConfig, WorldModelConfig
from fosp_learner.data.batch import Batch
from fosp_learner.model.colours import recoloured
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
class RowLatents:
    """Latents of rows (...): of single ones, from which the model imagines on, or of sequences."""

    recurrent: Tensor
    """(..., H) float32, the recurrent state h."""
    stoch: Tensor
    """(..., S) float32, the flattened one-hot z, with straight-through gradients."""
    embed: Tensor
    """(..., E) float32, the image embedding e."""
    memory: Tensor
    """(..., M) float32, the memory m of the image embeddings so far."""

    @property
    def state(self) -> Tensor:
        """(h, z), (..., H + S): the state that the model predicts and decodes from."""
        return torch.cat([self.recurrent, self.stoch], -1)

    @property
    def feature(self) -> Tensor:
        """(m, h, e, z), (..., M + H + E + S): the input of critics and actors, F in all."""
        return torch.cat([self.memory, self.recurrent, self.embed, self.stoch], -1)

    def of(self, rows: Tensor | slice) -> RowLatents:
        """Return the latents of `rows` (n,) along the first axis alone."""
        return RowLatents(self.recurrent[rows], self.stoch[rows], self.embed[rows], self.memory[rows])


@dataclass(frozen=True)
class Latents(RowLatents):
    """Filtered latents of a batch (B, T, ...), or of one episode (L, ...)."""

    posterior: Tensor
    """(B, T, V, K) log-probabilities of z by h and e."""
    prior: Tensor
    """(B, T, V, K) log-probabilities of z by h alone."""

    @property
    def rows(self) -> RowLatents:
        """All rows as one batch (B * T, ...), or (L, ...) of the latents of one episode, without gradients."""
        flat = (x.detach().flatten(0, -2) for x in (self.recurrent, self.stoch, self.embed, self.memory))
        return RowLatents(*flat)


class RecurrentStateSpaceModel(nn.Module):
    """Latent dynamics. The projections of embeddings and actions and the prior stay outside of the time loop."""

    def __init__(self, net: NetworkConfig, action: int, unimix: float) -> None:
        super().__init__()
        self.variables, self.classes, self.unimix = net.variables, net.classes, unimix
        self.from_stoch = nn.Linear(net.stoch, net.units, bias=False)
        self.from_action = nn.Linear(action, net.units, bias=False)
        self.input_norm = Norm(net.units)
        self.cell = RecurrentCell(net.units, net.recurrent)
        self.from_deter = nn.Linear(net.recurrent, net.units, bias=False)
        self.from_embed = nn.Linear(net.embed, net.units, bias=False)
        self.posterior_norm = Norm(net.units)
        self.posterior_logits = nn.Linear(net.units, net.stoch)
        self.prior_net = Perceptron(net.recurrent, net.units, 1, net.stoch)
        self.initial = nn.Parameter(torch.zeros(net.recurrent))

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Convert flat logits (..., S) to log-probabilities (..., V, K) with the uniform share mixed in."""
        logits = logits.float().reshape(*logits.shape[:-1], self.variables, self.classes)
        probabilities = torch.softmax(logits, -1)
        return torch.log((1 - self.unimix) * probabilities + self.unimix / self.classes)

    def sample(self, log_probabilities: Tensor, noise: Tensor) -> Tensor:
        """Draw a straight-through one-hot by inverse CDF: (..., V, K), uniform noise (..., V, 1) -> flat (..., S)."""
        probabilities = log_probabilities.exp()
        index = (probabilities.detach().cumsum(-1) < noise).sum(-1).clamp_max(self.classes - 1)
        one_hot = F.one_hot(index, self.classes).to(probabilities.dtype)
        return (one_hot + probabilities - probabilities.detach()).flatten(-2)

    def mode(self, log_probabilities: Tensor) -> Tensor:
        """Return the one-hot of the most likely classes: (..., V, K) -> flat (..., S)."""
        return F.one_hot(log_probabilities.argmax(-1), self.classes).float().flatten(-2)

    def prior(self, recurrent: Tensor) -> Tensor:
        """Return the log-probabilities of z given h alone: (..., H) -> (..., V, K)."""
        return self.log_probabilities(self.prior_net(recurrent))

    def initial_state(self) -> tuple[Tensor, Tensor]:
        """Return the learned first state: h (H,) and z (S,), the mode of its prior."""
        recurrent = torch.tanh(self.initial)
        return recurrent, self.mode(self.prior(recurrent.detach()))

    def advance(self, recurrent: Tensor, stoch: Tensor, action_projection: Tensor) -> Tensor:
        """Return h_t (B, H) from the state before and the projected action (B, units)."""
        x = F.silu(self.input_norm(self.from_stoch(stoch) + action_projection))
        result: Tensor = self.cell(x, recurrent)
        return result

    def posterior(self, recurrent: Tensor, embed_projection: Tensor) -> Tensor:
        """Return the log-probabilities (B, V, K) of z_t from h_t (B, H) and the projected embedding (B, units)."""
        x = F.silu(self.posterior_norm(self.from_deter(recurrent) + embed_projection))
        return self.log_probabilities(self.posterior_logits(x))

    def observe(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences: embed (B, T, E), action_prev (B, T, A), is_first (B, T) -> Latents.

        Without `sample` z is the mode of the posterior, as at run time.
        """
        batch, length = is_first.shape
        first = is_first.float()
        embed_projection = self.from_embed(embed).float()
        action_projection = self.from_action(action_prev * (1 - first).unsqueeze(-1)).float()
        # Drawn only where needed: filtering must not disturb the generator of a run that can be resumed.
        noise = distributed.uniform(batch, length, self.variables, 1, device=embed.device) if sample else None
        recurrent0, stoch0 = self.initial_state()
        recurrent = recurrent0.expand(batch, -1)
        stoch = stoch0.expand(batch, -1)
        recurrents, stochs, posteriors = [], [], []
        resets = is_first.any(0).tolist()
        for t in range(length):
            if resets[t]:
                mask = first[:, t : t + 1]
                recurrent = recurrent + mask * (recurrent0 - recurrent)
                stoch = stoch + mask * (stoch0 - stoch)
            recurrent = self.advance(recurrent, stoch, action_projection[:, t])
            posterior = self.posterior(recurrent, embed_projection[:, t])
            stoch = self.mode(posterior) if noise is None else self.sample(posterior, noise[:, t])
            recurrents.append(recurrent)
            stochs.append(stoch)
            posteriors.append(posterior)
        stacked, seen = torch.stack(recurrents, 1), embed.float()
        posteriors_, nothing = torch.stack(posteriors, 1), seen[..., :0]
        return Latents(stacked, torch.stack(stochs, 1), seen, nothing, posteriors_, self.prior(stacked))


def drawn_rows(batch: int, length: int, share: float) -> Tensor:
    """Draw about `share` of the rows of each sequence, at least one; return indices (n,) into batch * length rows."""
    drawn = distributed.uniform(batch, length).argsort(1)[:, : max(1, round(share * length))]
    return (drawn + length * torch.arange(batch).unsqueeze(1)).flatten()


class WorldModel(nn.Module):
    """The RSSM with image encoder and decoder, and heads for reward, cost and continuation."""

    def __init__(
        self, net: NetworkConfig, config: WorldModelConfig, observation: tuple[int, int, int, int], action: int
    ) -> None:
        super().__init__()
        cameras, height, width, colours = observation
        if height != width:
            raise ValueError(f"observation must be square, got {height}x{width}")
        self.config = config
        self.encoder: KeypointEncoder | ConvEncoder = (
            KeypointEncoder(cameras * colours, height, net.cnn_depth, net.keypoints, net.keypoint_values, config.patch)
            if config.encoder == "keypoints"
            else ConvEncoder(cameras * colours, height, net.cnn_depth, net.embed, config.patch)
        )
        self.decoder = ConvDecoder(net.state, cameras * colours, height, net.cnn_depth, config.patch)
        self.recurrent, self.carried = net.recurrent, net.carried
        self.rssm = RecurrentStateSpaceModel(net, action, config.unimix)
        self.embed_change = Perceptron(net.recurrent + net.embed + action, net.units, 2, net.embed, zero_output=True)
        self.memory = ImageMemory(net.embed, net.memory) if net.memory else None
        self.reward = TwoHotHead(net.state, net.units, 1)
        self.cost = TwoHotHead(net.state, net.units, 1)
        self.continues = ScalarHead(net.state, net.units, 1)
        self.mean_image: Tensor
        self.register_buffer("mean_image", torch.zeros(height, width, cameras * colours))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pixels(self, images: Tensor) -> Tensor:
        """Convert uint8 (..., cameras, H, W, 3) to float (N, H, W, 3 * cameras) in [-0.5, 0.5]."""
        cameras, height, width, colours = images.shape[-4:]
        flat = images.reshape(-1, cameras, height, width, colours)
        flat = flat.permute(0, 2, 3, 1, 4).reshape(-1, height, width, cameras * colours)
        return flat.float() / 255.0 - 0.5

    def varied(self, pixels: Tensor, groups: int, generator: torch.Generator | None = None) -> Tensor:
        """Return `pixels` (N, H, W, channels) in random colours, the same in each of `groups` equal runs of images."""
        config = self.config
        shifts = config.hue_shift, config.saturation_shift, config.brightness_shift
        return recoloured(pixels, groups, *shifts, generator) if any(shifts) else pixels

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the image embeddings: (N, H, W, channels) -> (N, E)."""
        result: Tensor = self.encoder(pixels)
        return result

    def observe(self, images: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences of images (B, T, cameras, H, W, 3) uint8; see `RecurrentStateSpaceModel.observe`."""
        embed = self.embed(self.pixels(images)).reshape(*is_first.shape, -1)
        return self.filtered(embed, action_prev, is_first, sample)

    def filtered(self, embed: Tensor, action_prev: Tensor, is_first: Tensor, sample: bool = True) -> Latents:
        """Filter sequences of image embeddings (B, T, E)."""
        latents = self.rssm.observe(embed, action_prev, is_first, sample)
        return replace(latents, memory=self.remembered(latents.embed, is_first))

    def remembered(self, embed: Tensor, is_first: Tensor) -> Tensor:
        """Return the memory of the image embeddings so far: (B, T, E), (B, T) -> (B, T, M); M is 0 without a memory."""
        if self.memory is None:
            return embed[..., :0].float()
        memory: Tensor = self.memory(embed, is_first)
        return memory

    def imagine_step(self, state: RowLatents, action: Tensor, sample: bool = True) -> RowLatents:
        """Return the state that the model expects after `action` (B, A).

        The image embedding is predicted, and z follows from it by the posterior, as it does from one that was seen: so
        the parts of an imagined latent fit each other as those of a real one do. Without `sample` z is the mode.
        """
        rssm = self.rssm
        recurrent = rssm.advance(state.recurrent, state.stoch, rssm.from_action(action)).float()
        embed = self.next_embed(recurrent, state.embed, action)
        posterior = rssm.posterior(recurrent, rssm.from_embed(embed))
        if sample:
            noise = distributed.uniform(*recurrent.shape[:-1], rssm.variables, 1, device=recurrent.device)
            stoch = rssm.sample(posterior, noise)
        else:
            stoch = rssm.mode(posterior)
        memory = state.memory if self.memory is None else self.memory.step(embed, state.memory).float()
        return RowLatents(recurrent, stoch, embed, memory)

    def next_embed(self, recurrent: Tensor, embed: Tensor, action: Tensor) -> Tensor:
        """Return the embedding (B, E) expected after `action` (B, A) from the h (B, H) arrived at and the e before.

        What is learned is the change, so that an untrained model expects what it sees.
        """
        return embed + self.embed_change(torch.cat([recurrent, embed, action], -1)).float()

    @property
    def predicts(self) -> bool:
        """False until the change of embeddings has been learned: until then nothing is expected to move."""
        return bool(self.embed_change.output.weight.any())

    def prediction_error(self, latents: Latents, action_prev: Tensor, is_first: Tensor) -> Tensor:
        """Return the squared error (B, T) of each row's embedding, predicted from its sequence's first row.

        Predictions go on from predictions, with the executed actions (B, T, A), and begin anew where an episode does;
        rows that nothing is predicted for have 0. The gradient reaches `next_embed` and the embedding that a prediction
        begins with.
        """
        rssm, target = self.rssm, latents.embed.detach()
        recurrent, stoch = latents.recurrent[:, 0].detach(), latents.stoch[:, 0].detach()
        predicted, errors = latents.embed[:, 0], [torch.zeros_like(target[:, 0, 0])]
        for t in range(1, action_prev.shape[1]):
            first = is_first[:, t].unsqueeze(-1)
            with torch.no_grad():
                arrived = rssm.advance(recurrent, stoch, rssm.from_action(action_prev[:, t])).float()
            predicted = self.next_embed(arrived, predicted, action_prev[:, t])
            errors.append(torch.where(first, 0.0, (predicted - target[:, t]).square()).sum(-1))
            predicted = torch.where(first, latents.embed[:, t], predicted)
            with torch.no_grad():
                followed = rssm.mode(rssm.posterior(arrived, rssm.from_embed(predicted)))
                recurrent = torch.where(first, latents.recurrent[:, t], arrived)
                stoch = torch.where(first, latents.stoch[:, t], followed)
        return torch.stack(errors, 1)

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], Latents]:
        """Return the named losses, each () and scaled, and the latents that they were computed on."""
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
            "embed": self.prediction_error(replace(latents, embed=seen.float()), batch.action_prev, batch.is_first),
            "kl": balanced_kl(
                latents.posterior, latents.prior, config.free_nats, config.dynamics_scale, config.representation_scale
            ),
        }
        for name, loss in losses.items():
            assert loss.shape == (shape if name != "reconstruction" else decoded.shape), (name, loss.shape)
        return scaled_means(losses, config.loss_scales), latents

    def reconstruction_error(self, feature: Tensor, pixels: Tensor) -> Tensor:
        """Return the squared pixel error summed per image, with the foreground weighted up.

        `feature` (N, H + S), `pixels` (N, H, W, channels) -> (N,).
        """
        error = (self.decoder(feature) - patches(pixels, self.config.patch)).square()
        if self.config.foreground_scale > 0:
            foreground = (pixels - self.mean_image).abs().amax(-1, keepdim=True).expand_as(pixels)
            error = error * (1 + self.config.foreground_scale * patches(foreground, self.config.patch))
        return error.sum((1, 2, 3))

    def reconstruct(self, feature: Tensor) -> Tensor:
        """Return the decoded images: (N, H + S) -> (N, H, W, 3 * cameras) in about [-0.5, 0.5]."""
        return unpatched(self.decoder(feature), self.config.patch)

    def surprise(self, latents: Latents) -> Tensor:
        """Return KL[posterior || prior] of each row in nats: (B, T)."""
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
        """Filter one step as encoder.onnx does, from the latent before and the action executed since.

        `images` (B, cameras, H, W, 3) uint8; `deter` (B, D), the deterministic part of the latent, (m, h, e)
        concatenated; `stoch` (B, S), the flattened one-hot z; `action` (B, A); `is_first` (B,) float. Where `is_first`
        is 1 the state before is `initial`, h and z, by default the learned one.
        Returns deter (B, D), stoch (B, S) (the mode of the posterior) and KL[posterior || prior] (B,) in nats.
        """
        rssm = self.rssm
        recurrent0, stoch0 = initial or rssm.initial_state()
        first = is_first.unsqueeze(-1)
        size = 0 if self.memory is None else self.memory.units
        memory, recurrent = deter[:, :size] * (1 - first), deter[:, size : size + self.recurrent]
        recurrent, stoch = recurrent + first * (recurrent0 - recurrent), stoch + first * (stoch0 - stoch)
        action = action * (1 - is_first).unsqueeze(-1)
        recurrent = rssm.advance(recurrent, stoch, rssm.from_action(action))
        embed = self.embed(self.pixels(images))
        posterior = rssm.posterior(recurrent, rssm.from_embed(embed))
        surprise = categorical_kl(posterior, rssm.prior(recurrent))
        if self.memory is not None:
            memory = self.memory.step(embed, memory)
        return torch.cat([memory, recurrent, embed], -1), rssm.mode(posterior), surprise
