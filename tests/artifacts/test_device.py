import gc

import pytest

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
def test_a_processor_that_has_bfloat16_instructions_is_known_by_its_flags(tmp_path, text, fast):
    (tmp_path / "cpuinfo").write_text(text)
    assert bf16_is_fast("cpu", tmp_path / "cpuinfo") is fast


def test_a_machine_that_does_not_tell_is_not_fast(tmp_path):
    assert not bf16_is_fast("cpu", tmp_path / "none")
    assert not bf16_is_fast("mps")


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "float32")])
def test_a_fast_model_runs_in_what_the_machine_is_fast_at_and_its_identity_says_so(
    monkeypatch, fast, precision
):
    monkeypatch.setattr("fer_models.zoo.spec.bf16_is_fast", lambda device: fast)
    spec = ModelSpec("m", lambda runtime: None, precision=AUTO_BF16)
    assert spec.resolve(Runtime()).precision == precision
    assert spec.identity(Runtime())["precision"] == precision
    assert spec.resolve(Runtime(precision="fp16")).precision == "fp16"


def test_garbage_collection_goes_on_after_an_import_that_fails():
    with paused_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), paused_garbage_collection():
        raise ImportError
    assert gc.isenabled()
