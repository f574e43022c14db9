import gc

import pytest
import torch

from fer_models.artifacts import device
from fer_models.artifacts.device import bf16_is_fast, paused_garbage_collection
from fer_models.zoo.spec import AUTO_BF16, ModelSpec, Runtime


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("processor: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags : fpu amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("flags : fpu avx2 avx512f", False),
        ("flags : not_avx512_bf16_at_all", False),
        ("", False),
    ],
)
def test_bfloat16_instructions_are_detected_by_the_flags_of_the_processor(tmp_path, text, fast):
    (tmp_path / "cpuinfo").write_text(text)
    assert bf16_is_fast("cpu", tmp_path / "cpuinfo") is fast


def test_a_machine_without_flags_is_not_fast(tmp_path):
    assert not bf16_is_fast("cpu", tmp_path / "none")
    assert not bf16_is_fast("mps")


@pytest.mark.parametrize("driver", ["nvidia", "amd", "subsystem of Windows"])
def test_a_gpu_of_any_driver_decides_the_batch_size(monkeypatch, tmp_path, driver):
    drivers = tuple(tmp_path / name for name in ("nvidia", "amd", "subsystem of Windows"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(device, "_GPU_DRIVERS", drivers)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.default_batch_size("auto") == 64
    (tmp_path / driver).touch()
    assert device.default_batch_size("auto") == 256


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "float32")])
def test_an_automatic_precision_is_part_of_the_identity_of_a_model(monkeypatch, fast, precision):
    monkeypatch.setattr("fer_models.zoo.spec.bf16_is_fast", lambda device: fast)
    spec = ModelSpec("m", lambda runtime: None, precision=AUTO_BF16)
    assert spec.resolve(Runtime()).precision == precision
    assert spec.identity(Runtime())["precision"] == precision
    assert spec.resolve(Runtime(precision="fp16")).precision == "fp16"


def test_garbage_collection_is_enabled_after_a_failed_import():
    with paused_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), paused_garbage_collection():
        raise ImportError
    assert gc.isenabled()
