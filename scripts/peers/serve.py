"""Serves training steps to the driver of `make bench-peers`; every implementation has a process of its own for it.

The process prints one line of JSON with facts when it is ready. It then makes one step for each name of a step that
it reads from its standard input, and answers with the time of the step as one line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

answers = os.fdopen(os.dup(1), "w", buffering=1)
"""The standard output of the process. What libraries print goes to its standard error from here on."""
os.dup2(2, 1)


def work() -> dict[str, Any]:
    """Return the sizes, the batch and the number of threads that the driver asks for by the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    return asked


def count(*networks: torch.nn.Module) -> int:
    """Return the number of trained parameters of `networks`, each of them once."""
    found = {p for network in networks for p in network.parameters() if p.requires_grad}
    return sum(p.numel() for p in found)


def serve(
    name: str,
    parameters: Mapping[str, int],
    steps: Mapping[str, Callable[[], None]],
    trained: Mapping[str, Mapping[str, torch.nn.Module]],
) -> None:
    """Answer until the standard input ends.

    `parameters` are numbers of trained parameters for the table. `trained` are the networks that each step trains: the
    first step of each must change all of them, or else there would be nothing to compare.
    """
    print(json.dumps({"name": name, "parameters": parameters, "steps": list(steps)}), file=answers)
    made: set[str] = set()
    for line in sys.stdin:
        asked = line.strip()
        if asked in made:
            print(json.dumps(timed(steps[asked])), file=answers)
            continue
        made.add(asked)
        before = {which: total(network) for which, network in trained[asked].items()}
        spent = timed(steps[asked])
        still = [which for which, network in trained[asked].items() if total(network) == before[which]]
        if still:
            raise SystemExit(f"{name}, {asked}: a step leaves {', '.join(still)} as it was")
        print(json.dumps(spent), file=answers)


def timed(step: Callable[[], None]) -> dict[str, float]:
    """Return the wall time and the processor time of all threads that a step takes, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


@torch.no_grad()
def total(network: torch.nn.Module) -> float:
    """Return a sum over all parameters that any change of them changes."""
    return sum(float(p.double().sum() + p.double().abs().sum()) for p in network.parameters())
