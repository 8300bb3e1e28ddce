"""Training in several processes: each process takes its rows of one global batch, and gradients are averaged.

torchrun, the launcher of torch, starts the processes and tells each its rank. All hold the same networks and random
generators and draw for the *global* batch; each keeps its own rows. Sums that a loss is divided by run over all
processes. So N processes do what one does with the same batch, up to rounding, and the checkpoint of one is the
checkpoint of all. Without torchrun every function here serves a single process.

Random numbers are drawn on the CPU, even for a GPU, so that a checkpoint holds the only generator, and every device
gets the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from fosp_core.errors import UserError


@dataclass(frozen=True)
class TrainingProcess:
    """This process among those of a run."""

    rank: int
    count: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """True for the one process that writes logs, checkpoints and the bundle."""
        return self.rank == 0


@contextmanager
def processes(device: str = "auto") -> Iterator[TrainingProcess]:
    """Join the processes that torchrun started (nccl with GPUs, else gloo), or stay alone without it.

    A process that has joined already stays. `device` is auto (a GPU if there is one), cpu or cuda. UserError when there
    is no such GPU.
    """
    chosen = choose_device(device)
    if _many() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield TrainingProcess(rank(), count(), chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield TrainingProcess(rank(), count(), chosen)
    finally:
        dist.destroy_process_group()  # type: ignore[no-untyped-call]


def choose_device(name: str) -> torch.device:
    """Return the GPU of this process (LOCAL_RANK of torchrun) or the CPU; UserError when there is no such GPU."""
    there = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and there == 0):
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name not in ("auto", "cuda"):
        raise UserError(f"no device '{name}'; there are auto, cpu and cuda")
    if local >= there:
        raise UserError(f"process {local} of this machine has no GPU, there are {there}; start fewer, or --device cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def rank() -> int:
    """Return the rank of this process, 0 for a single one."""
    return dist.get_rank() if _many() else 0


def count() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if _many() else 1


def share(rows: int) -> slice:
    """Return the part of the `rows` rows of a global batch that is this process's; UserError if they do not divide."""
    if rows % count():
        raise UserError(f"a batch of {rows} cannot be divided among {count()} processes; choose another batch_size")
    own = rows // count()
    return slice(rank() * own, (rank() + 1) * own)


def uniform(rows: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Draw uniform noise (rows, *shape) for the `rows` rows of this process."""
    return _own(torch.rand(rows * count(), *shape), device)


def normal(rows: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Draw normal noise (rows, *shape) for the `rows` rows of this process."""
    return _own(torch.randn(rows * count(), *shape), device)


def total(x: Tensor) -> Tensor:
    """Return the elementwise sum over all processes, without a gradient."""
    if not _many():
        return x.detach()
    summed = x.detach().clone()
    dist.all_reduce(summed)  # type: ignore[no-untyped-call]
    return summed


def share_of_total(x: Tensor) -> Tensor:
    """Return the total over all processes, at least 1, divided by their number.

    A local sum divided by it gives quotients whose average over the processes is the global mean.
    """
    return total(x).clamp_min(1) / count()


def everyones(x: Tensor) -> Tensor:
    """Gather the rows (n, ...) of all processes in order of rank: (count * n, ...), without a gradient."""
    if not _many():
        return x.detach()
    parts = [torch.empty_like(x) for _ in range(count())]
    dist.all_gather(parts, x.detach().contiguous())  # type: ignore[no-untyped-call]
    return torch.cat(parts)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over all processes, in one message.

    The same parameters have a gradient in every process, because all compute the same losses.
    """
    if not _many():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)  # type: ignore[no-untyped-call]
    flat /= count()
    parts = torch.split(flat, [g.numel() for g in gradients])  # type: ignore[no-untyped-call]
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def require_equal(parameters: Iterable[Tensor]) -> None:
    """Raise RuntimeError when the networks of the processes have drifted apart."""
    if not _many():
        return
    sums = torch.stack([p.detach().double().sum() for p in parameters])
    first = sums.clone()
    dist.broadcast(first, 0)  # type: ignore[no-untyped-call]
    if not torch.equal(first, sums):
        raise RuntimeError(f"the networks of process {rank()} are not those of process 0")


def _own(everything: Tensor, device: torch.device | None) -> Tensor:
    part = everything[share(len(everything))]
    return part if device is None or device.type == "cpu" else part.to(device, non_blocking=True)


def _many() -> bool:
    return dist.is_available() and dist.is_initialized()
