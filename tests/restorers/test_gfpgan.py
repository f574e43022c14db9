"""GFPGAN: a real network of the real class, small and random; the authors' package where it is installed."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from fakes import toy_faces
from torch import nn

from fer_models import cli
from fer_models.artifacts import download, safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import RestorationError, UsageError, WeightsError
from fer_models.restorers import gfpgan
from fer_models.restorers.base import restore_validated
from fer_models.restorers.gfpgan import FULL, NANO, Gfpgan, GfpganConfig
from fer_models.zoo import resolve, restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import RestorerSpec, Runtime, Weights

TINY = GfpganConfig(out_size=16, num_style_feat=8, num_mlp=1, narrow=1 / 64)
FACES = toy_faces(6).faces(range(6))


def random_network(shape=TINY, seed=0):
    """A network with random weights, also of the noise, which are 0 in a new network."""
    torch.manual_seed(seed)
    network = gfpgan.build(shape)
    for name, parameter in network.named_parameters():
        if name.endswith(".weight") and parameter.numel() == 1:
            nn.init.normal_(parameter)
    return network


def restorer(precision="float32", shape=TINY):
    return Gfpgan(random_network(shape), shape.out_size, torch.device("cpu"), precision)


@pytest.fixture
def nano_file(tmp_path):
    path = tmp_path / "own.safetensors"
    gfpgan.save(random_network(), TINY, path, {"provenance": "null"})
    return path


@pytest.fixture
def published_file(tmp_path, monkeypatch):
    """A file laid out like the authors', of a small network, which `FULL` then describes."""
    monkeypatch.setattr(gfpgan, "FULL", TINY)
    path = tmp_path / "GFPGAN.pth"
    torch.save({"params_ema": random_network().state_dict(), "params": {}}, path)
    return path


def test_faces_of_any_size_come_back_restored_at_the_networks_size():
    faces = [FACES[0], FACES[1][:30], np.zeros((16, 16, 3), np.uint8), np.full((1, 200, 3), 255, np.uint8)]
    restored = restore_validated(restorer(), "tiny", faces)
    assert [face.shape for face in restored] == [(16, 16, 3)] * 4
    assert all(face.dtype == np.uint8 for face in restored)


def test_a_face_has_one_restoration_however_often_and_with_whom_it_is_restored():
    one = restorer()
    together = one.restore(FACES)
    torch.manual_seed(99)
    for face, result in zip(reversed(FACES), reversed(together), strict=True):
        np.testing.assert_array_equal(one.restore([face])[0], result)
    batch = gfpgan.to_network(FACES, 16)
    np.testing.assert_allclose(one.infer(batch)[2:3], one.infer(batch[2:3]), atol=1e-5)


def test_the_networks_own_noise_would_have_been_random():
    network, batch = random_network().eval(), gfpgan.to_network(FACES[:1], 16)
    with torch.inference_mode():
        assert not torch.equal(network(batch)[0], network(batch)[0])


def test_no_face_is_restored_to_nothing():
    assert restorer().restore([]) == []


def test_pixels_go_to_the_network_and_back_unchanged():
    faces = [np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3), np.asarray(FACES[0][:16, :16])]
    batch = gfpgan.to_network(faces, 16)
    assert batch.min() == -1
    assert batch.max() == 1
    np.testing.assert_array_equal(gfpgan.to_images(batch), faces)
    np.testing.assert_array_equal(
        gfpgan.to_images(batch * 3), np.clip(np.round((np.float64(faces) - 127.5) * 3 + 127.5), 0, 255)
    )


def test_bf16_stays_near_float32_and_is_another_restorer():
    plain, fast = restorer().restore(FACES), restorer("bf16").restore(FACES)
    difference = np.abs(np.array(plain, dtype=int) - np.array(fast, dtype=int))
    assert 0 < difference.max() <= 16
    assert difference.mean() < 1
    spec = RestorerSpec("tiny", lambda runtime: restorer(runtime.precision), precision="fast")
    assert spec.identity(Runtime(precision="bf16")) != spec.identity(Runtime(precision="float32"))


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "float32")])
def test_automatic_precision_is_fast_on_the_machine_and_part_of_the_identity(monkeypatch, fast, precision):
    monkeypatch.setattr("fer_models.zoo.spec.bf16_is_fast", lambda device: fast)
    assert restorers.GFPGAN.resolve(Runtime()).precision == precision
    assert restorers.GFPGAN.resolve(Runtime(precision="float32")).precision == "float32"
    assert restorers.GFPGAN_NANO.resolve(Runtime()).precision == "float32"
    assert restorers.BICUBIC.identity(Runtime()) == restorers.BICUBIC.identity(Runtime(precision="bf16"))


# -- files


def test_our_own_file_restores_as_the_network_it_was_written_from(nano_file):
    loaded = gfpgan.load(nano_file, device="cpu")
    assert loaded.size == 16
    np.testing.assert_array_equal(loaded.restore(FACES), restorer().restore(FACES))


def test_half_precision_in_the_file_is_float32_in_the_network(nano_file):
    state, metadata = safetensors_io.read(nano_file)
    safetensors_io.write(safetensors_io.quantize(state, 16), nano_file, metadata)
    loaded = gfpgan.load(nano_file, device="cpu")
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    difference = np.array(loaded.restore(FACES), dtype=int) - np.array(restorer().restore(FACES), dtype=int)
    assert np.abs(difference).max() <= 2


def test_nano_is_small_enough_to_ship():
    network = gfpgan.build(NANO)
    assert type(network) is type(gfpgan.build(TINY))
    floats = sum(t.numel() * (2 if t.ndim > 1 else 4) for t in network.state_dict().values())
    assert floats < 4e6


def test_a_published_file_is_read_with_its_sha256_only(published_file):
    loaded = gfpgan.load(published_file, sha256=sha256_of(published_file), device="cpu")
    np.testing.assert_array_equal(loaded.restore(FACES), restorer().restore(FACES))
    with pytest.raises(
        WeightsError, match=r"the published file has 000000000000…. Delete it and fetch it again"
    ):
        gfpgan.load(published_file, sha256="0" * 64, device="cpu")


class Payload:
    """What a malicious pickle does when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_runs_no_code_whatever_its_sha256(tmp_path):
    path, harm = tmp_path / "evil.pth", tmp_path / "harm"
    torch.save({"params_ema": Payload(harm)}, path)
    for sha256 in (sha256_of(path), "0" * 64):
        with pytest.raises(WeightsError, match="Delete it and fetch it again"):
            gfpgan.load(path, sha256=sha256, device="cpu")
    assert not harm.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"params": {}}, "does not hold GFPGAN's weights"),
        ([1, 2], "does not hold GFPGAN's weights"),
        ({"params_ema": {"conv.weight": torch.zeros(1)}}, "does not fit GFPGAN"),
    ],
)
def test_a_published_file_with_other_content_is_an_error(tmp_path, content, message):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message) as caught:
        gfpgan.load(path, sha256=sha256_of(path), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_cut_published_file_is_an_error(published_file):
    published_file.write_bytes(published_file.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="does not hold GFPGAN's weights"):
        gfpgan.load(published_file, sha256=sha256_of(published_file), device="cpu")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "fer-models-cnn"},
        {"format": gfpgan.FORMAT},
        {"format": gfpgan.FORMAT, "architecture": '{"a": 1}'},
    ],
)
def test_a_safetensors_file_that_is_not_ours_is_an_error(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    safetensors_io.write({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsError, match="was not written by `fer-models train gfpgan-nano`"):
        gfpgan.load(path, device="cpu")


def test_a_pickle_in_place_of_our_own_file_is_not_opened(tmp_path):
    path = tmp_path / "gfpgan-nano.pth"
    torch.save({"params_ema": {}}, path)
    with pytest.raises(WeightsError, match="looks like a pickle"):
        gfpgan.load(path, device="cpu")


def test_fp16_is_refused(nano_file):
    with pytest.raises(UsageError, match="--precision bf16, float32 or auto"):
        gfpgan.load(nano_file, device="cpu", precision="fp16")


# -- failures


class Greedy(nn.Module):
    """A network that allocates more memory than there is: the allocator's error."""

    def forward(self, x, **options):
        return (torch.empty(2**46, 3),)


class Broken(nn.Module):
    """A network whose output is no number, or that fails for another reason."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def forward(self, x, **options):
        if self.error is not None:
            raise self.error
        return (x * float("nan"),)


def test_too_little_memory_is_an_error_and_not_the_unrestored_face():
    with pytest.raises(
        RestorationError,
        match=r"memory of cpu does not suffice for a batch of 1 x 16 x 16 pixels\. Close other programs",
    ):
        Gfpgan(Greedy(), 16, torch.device("cpu")).restore(FACES)


def test_too_little_memory_on_a_gpu_is_an_error_with_advice():
    short = Gfpgan(
        Broken(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
        16,
        torch.device("cpu"),
    )
    with pytest.raises(RestorationError, match="does not suffice"):
        short.restore(FACES)
    short.device = torch.device("cuda")
    with (
        pytest.raises(RestorationError, match=r"batch of 16 x 16 x 16 pixels.+use the CPU: --device cpu"),
        short._translate_oom(16),
    ):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")


def test_any_other_failure_keeps_its_message():
    with pytest.raises(
        RestorationError, match="'tiny' failed on a batch of 6 faces: RuntimeError: shapes differ"
    ):
        restore_validated(
            Gfpgan(Broken(RuntimeError("shapes differ")), 16, torch.device("cpu")), "tiny", FACES
        )


def test_values_that_are_no_numbers_are_an_error():
    with pytest.raises(RestorationError, match="values that are no numbers"):
        Gfpgan(Broken(), 16, torch.device("cpu")).restore(FACES)


# -- the command


def test_a_restorations_weights_are_fetched_by_the_command_that_its_absence_names(
    tmp_path, monkeypatch, capsys, published_file
):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    path, sha256 = weights.user_weights_dir() / "GFPGANv1.4.pth", sha256_of(published_file)
    where = Weights(
        lambda: path if path.exists() else None,
        "fer-models weights fetch gfpgan",
        lambda: download.fetch(published_file.as_uri(), path, sha256),
    )
    spec = RestorerSpec(
        "gfpgan", lambda runtime: gfpgan.load(path, sha256=sha256, device="cpu"), weights=where
    )
    for module in (restorers, resolve):
        monkeypatch.setattr(module, "RESTORERS", Registry("restorer", restorers.RAW, spec))
    assert cli.main(["weights"]) == 0
    assert f"Get them: {where.install_hint}" in capsys.readouterr().out
    assert cli.main(where.install_hint.split()[1:]) == 0
    assert f"gfpgan: {path}  sha256 {sha256}" in capsys.readouterr().out
    np.testing.assert_array_equal(spec.load(Runtime()).restore(FACES), restorer().restore(FACES))
    assert cli.main(["weights", "fetch", "raw"]) == 4
    assert "raw is not fetched. It needs no weights." in capsys.readouterr().err


@pytest.mark.parametrize(
    "spec", [restorers.GFPGAN, restorers.GFPGAN_1_3, restorers.GFPGAN_NANO], ids=lambda spec: spec.name
)
def test_the_records_of_the_zoo_read_a_file_where_the_user_keeps_weights(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    assert spec.cached
    if spec is restorers.GFPGAN_NANO:
        if weights.find("gfpgan-nano") is None:
            gfpgan.save(random_network(), TINY, tmp_path / "gfpgan-nano.safetensors", {})
        assert spec.load(Runtime("cpu", "float32")).restore(FACES)
        return
    version = {"gfpgan": "1.4", "gfpgan-1.3": "1.3"}[spec.name]
    assert spec.weights.locate() is None
    (tmp_path / f"GFPGANv{version}.pth").write_bytes(b"another file under this name")
    assert spec.weights.locate().name == f"GFPGANv{version}.pth"
    with pytest.raises(WeightsError, match="the published file has"):
        spec.load(Runtime("cpu", "float32"))


# -- the authors' network


@pytest.fixture(scope="module")
def their_class():
    """The network of the package gfpgan, which imports a module that torchvision dropped:
    https://github.com/TencentARC/GFPGAN/issues/539.
    """
    sys.modules.setdefault(
        "torchvision.transforms.functional_tensor",
        importlib.import_module("torchvision.transforms.functional"),
    )
    return pytest.importorskip(
        "gfpgan.archs.gfpganv1_clean_arch", reason="the extra gfpgan is not installed", exc_type=ImportError
    ).GFPGANv1Clean


@pytest.mark.filterwarnings("ignore")  # of packages that are years old
@pytest.mark.parametrize("shape", [TINY, NANO, FULL], ids=["tiny", "nano", "full"])
def test_the_network_is_the_authors_own_on_the_same_weights(their_class, shape):
    ours = random_network(shape).eval()
    theirs = their_class(
        **asdict(shape), fix_decoder=False, input_is_latent=True, different_w=True, sft_half=True
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    batch = gfpgan.to_network(FACES[:1], shape.out_size)
    with torch.inference_mode():
        (our_image, our_steps), (their_image, their_steps) = (
            network(batch, randomize_noise=False) for network in (ours, theirs)
        )
    assert our_image.std() > 0.1  # it is a picture, and not a plain that any network would give
    for a, b in zip([our_image, *our_steps], [their_image, *their_steps], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_record_of_a_file_is_json(nano_file):
    assert json.loads(safetensors_io.read(nano_file)[1]["architecture"]) == asdict(TINY)
