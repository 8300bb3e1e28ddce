"""Two processes, started by torchrun and joined by gloo, do what one does with the same global batch."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from fosp_core.bundle.bundle import load_bundle
from fosp_core.errors import UserError
from fosp_learner import config as learner_config
from fosp_learner import distributed
from fosp_learner.config import LearnerConfig
from fosp_learner.data.batch import to_device
from fosp_learner.distributed import choose_device, processes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parent / "distributed_worker.py"
ROBOT = Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml"


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(count: int, *arguments: object) -> None:
    """Run under torchrun on this machine, which may be busy."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, *map(str, arguments)], env=environment, timeout=380, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).norm())


@pytest.mark.long
@pytest.mark.timeout(400)
def test_two_processes_do_what_one_does_with_the_same_global_batch_and_one_writes(
    worker: ModuleType, write_bag: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(learner_config.SIZES, "nano", worker.TINY)
    for i in range(4):
        write_bag(f"episode_{i:06}", frames=15, size=(64, 64), cost_at=10 if i % 2 else -1, last_at=14)
    launch(2, WORKER, tmp_path, tmp_path / "bags", ROBOT)
    alone = worker.trained()
    first, second = (load_file(tmp_path / f"rank_{rank}_of_2.safetensors") for rank in (0, 1))
    assert first.keys() == alone.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} differs between the processes"
    gradients = {name: tensor for name, tensor in alone.items() if not name.startswith("net.")}
    assert {name.split(".")[0] for name in gradients} == set("01234567"), "two updates of each phase"
    for name, tensor in gradients.items():
        # Adam makes steps of rounding errors where a gradient is about 0, so later ones are less alike.
        allowed = 1e-3 if name[0] in "012" else 2e-2
        assert apart(first[name], tensor) <= allowed * float(tensor.norm()) + 1e-8, f"gradient {name}"
    untrained = worker.trained(0)
    for name in (n for n in alone if n.startswith("net.") and alone[n].is_floating_point()):
        assert apart(first[name], alone[name]) <= 0.02 * apart(alone[name], untrained[name]) + 1e-6, f"weights {name}"
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert ((tmp_path / "wrote_0").read_text(), (tmp_path / "wrote_1").read_text()) == (manifest.id, "")
    assert (tmp_path / "runs" / "pretrain" / "bundle" / "report" / "index.html").is_file()


def test_a_batch_that_cannot_be_divided_is_one_line(worker: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "count", lambda: 3)
    with pytest.raises(UserError, match="a batch of 32 cannot be divided among 3 processes"):
        Trainer(LearnerConfig(), worker.episodes())


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes("cpu") as process:
        assert (process.rank, process.count, process.writes) == (0, 1, True)
        assert distributed.share(6) == slice(0, 6)
        x = torch.arange(3.0)
        assert torch.equal(distributed.total(x), x)
        assert torch.equal(distributed.everyones(x), x)


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="has no GPU"):
        choose_device("cuda")
    with pytest.raises(UserError, match="no device 'tpu'"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="process 2 of this machine has no GPU, there are 2"):
        choose_device("auto")


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda", 1)
    assert chosen == [1]


def test_noise_for_a_gpu_comes_from_the_generator_that_a_checkpoint_holds():
    torch.manual_seed(3)
    expected = torch.rand(2, 5)
    torch.manual_seed(3)
    assert torch.equal(distributed.uniform(2, 5, device=torch.device("cpu")), expected)


def test_what_is_on_the_right_device_is_not_copied():
    x = torch.ones(3)
    assert to_device(x, torch.device("cpu")) is x


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_in_all_phases_and_is_left_for_the_cpu(worker: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(learner_config.SIZES, "nano", worker.TINY)
    trainer = Trainer(worker.settings().model_copy(update={"bf16": True}), worker.episodes(), torch.device("cuda", 0))
    for _ in range(trainer.config.total_steps):
        figures = trainer.train_step()
        assert all(torch.isfinite(torch.tensor(value)) for value in figures.values())
    trainer.to_cpu()
    assert {p.device.type for p in trainer.world_model.parameters()} == {"cpu"}
