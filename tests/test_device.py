import re

import pytest
import torch

from transformer_book.device import CPU, describe, pick_device, seeded, synchronize


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_prefers_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    tried: list[torch.device] = []

    def zeros(size: int, device: torch.device) -> torch.Tensor:
        tried.append(device)
        return torch.ones(size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", zeros)
    assert pick_device() == pick_device("auto") == torch.device(expected)
    assert tried == [torch.device(expected)] * 2


def test_auto_is_a_device_that_computes() -> None:
    assert torch.ones(2, device=pick_device()).sum().item() == 2


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_a_named_device_is_taken(name: str) -> None:
    assert pick_device(name) == torch.device(name)


ABSENT = {
    "nonsense": "Expected one of cpu",
    "": "Device string must not be empty",
    "cuda:x": "Invalid device string",
    "meta": "meta tensors",
    "hpu": "No module named",
}
ABSENT |= {} if torch.cuda.is_available() else {"cuda": "", "cuda:1": ""}
ABSENT |= {} if torch.backends.mps.is_available() else {"mps": "Could not run"}


@pytest.mark.parametrize(("name", "reason"), ABSENT.items(), ids=[repr(name) for name in ABSENT])
def test_a_device_that_is_not_there_is_an_error_of_one_line(name: str, reason: str) -> None:
    start = f"device: expected auto or a device of this machine, got {name!r} ("
    with pytest.raises(ValueError, match=f"^{re.escape(start)}.*{re.escape(reason)}.*\\)$") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_cpu_is_described_by_its_name_and_threads() -> None:
    text = describe(CPU)
    name, threads = re.fullmatch(r"(.+) \((\d+) threads\)", text).groups()
    assert name.strip() == name
    assert int(threads) == torch.get_num_threads()


def test_other_devices_are_described_by_their_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU number {device.index}")
    assert describe(torch.device("cuda:3")) == "GPU number 3"
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert describe(torch.device("mps")) == "Apple arm64 GPU"


def test_the_processor_is_named_without_proc_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert describe(CPU) == f"riscv64 ({torch.get_num_threads()} threads)"


def test_synchronize_waits_for_the_device_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    synchronize(CPU)
    assert waited == []
    synchronize(torch.device("cuda:1"))
    synchronize(torch.device("mps"))
    assert waited == ["cuda:1", "mps"]


def test_seeded_numbers_depend_on_the_seed_alone_and_the_state_stays() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed):
            drawn.append(torch.rand(3).tolist())
        torch.testing.assert_close(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(RuntimeError, match="stop"), seeded(5):
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)
