"""Files of weights that are cut, forged, of another format or full of NaN: an error of one sentence, no
number, and nothing is run or waited for.
"""

import hashlib
import json
import os
import pickle
import struct
from functools import partial
from pathlib import Path

import guards
import pytest
import torch
from guards import no_hang
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_models.artifacts import safetensors_io, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import clip, cnn, probe, prompts
from fer_models.classifiers.architecture import Architecture
from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, WeightsError
from fer_models.restorers import gfpgan
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

SMALL = Architecture("lcnet_035", size=32)
SAID = {"format": cnn.FORMAT, "architecture": json.dumps(SMALL.__dict__), "labels": json.dumps(list(LABELS))}
assert_sentence = partial(guards.assert_sentence, longest=1500)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return cnn.build(SMALL).state_dict()


@pytest.fixture(scope="module")
def sound(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sound.safetensors"
    safetensors_io.write(state, path, SAID)
    return path.read_bytes()


def forged(header, data=b"", length=None):
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


#: Files that no reader of safetensors takes.
UNSOUND = {
    "nothing": b"",
    "seven bytes": b"\x00" * 7,
    "a length alone": struct.pack("<Q", 100),
    "a length of zero": struct.pack("<Q", 0),
    "a length of 2**63": forged({}, length=2**63),
    "a length of 2**64 - 1": forged({}, length=2**64 - 1),
    "a length of 99 megabytes": forged({}, length=99_000_000),
    "a length of one too many": forged({}, length=3),
    "no JSON": forged(b"{'a': 1}"),
    "zeros": b"\x00" * 1000,
    "a list": forged([]),
    "a number": forged(3),
    "deeply nested": forged(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "an integer of 5,000 digits": forged(b'{"a": ' + b"1" * 5000 + b"}"),
    "not UTF-8": forged(b'{"\xff": 1}'),
    "metadata that is a list": forged({"__metadata__": []}),
    "metadata of numbers": forged({"__metadata__": {"format": 3}}),
    "metadata nested": forged({"__metadata__": {"format": {"a": "b"}}}),
    "offsets that overlap": forged({"a": tensor(offsets=(0, 4)), "b": tensor(offsets=(2, 6))}, b"\x00" * 6),
    "offsets with a hole": forged({"a": tensor(offsets=(0, 4)), "b": tensor(offsets=(8, 12))}, b"\x00" * 12),
    "offsets reversed": forged({"a": tensor(offsets=(4, 0))}, b"\x00" * 4),
    "offsets negative": forged({"a": tensor(offsets=(-4, 0))}, b"\x00" * 4),
    "offsets beyond the file": forged({"a": tensor(offsets=(0, 4))}, b""),
    "offsets of another shape": forged({"a": tensor(shape=(2,), offsets=(0, 4))}, b"\x00" * 4),
    "bytes behind the last tensor": forged({"a": tensor()}, b"\x00" * 400),
    "a shape that overflows": forged({"a": tensor(shape=(2**40, 2**40), offsets=(0, 4))}, b"\x00" * 4),
    "a shape of a petabyte": forged({"a": tensor(shape=(2**48,), offsets=(0, 2**50))}, b"\x00" * 4),
    "a negative shape": forged({"a": tensor(shape=(-1,))}, b"\x00" * 4),
    "an unknown type": forged({"a": tensor("F99")}, b"\x00" * 4),
    "a type that is a number": forged({"a": tensor(3)}, b"\x00" * 4),
    "a tensor without a shape": forged({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\x00" * 4),
    "a tensor that is a text": forged({"a": "F32"}),
    "a pickle": pickle.dumps({"a": 1}),
    "a pickle that would run": b"cos\nsystem\n(S'touch /tmp/fer-models-was-here'\ntR.",
    "a zip": b"PK\x03\x04" + b"\x00" * 200,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\x00" * 200,
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


def from_torch(path):
    torch.save({"a": torch.zeros(2)}, path)
    return path.read_bytes()


READERS = {
    "metadata": weights.metadata,
    "tensors": safetensors_io.read,
    "a network": lambda path: cnn.load(path, device="cpu"),
    "elements": lambda path: safetensors_io.count_elements([path]),
    "a probe": probe.read,
}


def failure(function, *args):
    """The error of this project that a call raises, or None."""
    try:
        function(*args)
    except FerModelsError as error:
        return error
    return None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [*UNSOUND, "a file of torch"])
def test_an_unsound_file_is_a_sentence_for_every_reader(reader, name, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(UNSOUND[name] if name in UNSOUND else from_torch(path))
    before = path.read_bytes()
    with no_hang():
        error = failure(READERS[reader], path)
    if error is None:  # the tensors of a file are not its metadata
        assert reader in ("metadata", "elements")
        assert name not in ("nothing", "no JSON", "a pickle", "a file of torch")
    else:
        assert isinstance(error, WeightsError)
        assert_sentence(error)
        assert "own.safetensors" in str(error)
    assert path.read_bytes() == before
    assert not Path("/tmp/fer-models-was-here").exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_anywhere_is_a_sentence(share, sound, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(sound[: int(share * len(sound))])
    with pytest.raises(WeightsError) as caught:
        cnn.load(path, device="cpu")
    assert_sentence(caught.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000), st.integers(1, 255))
def test_any_flipped_byte_of_the_header_is_a_sentence_or_harmless(sound, tmp_path, place, change):
    content = bytearray(sound)
    content[place] ^= change
    path = tmp_path / "own.safetensors"
    path.write_bytes(bytes(content))
    for read in (weights.metadata, safetensors_io.read):
        if (error := failure(read, path)) is not None:
            assert_sentence(error)


def changed(state, **fields):
    return {**state, **fields}


def first_matrix(state):
    return next(name for name, one in state.items() if one.ndim > 1)


#: Sound files that do not fit: what is done to the tensors.
UNFIT = {
    "no tensor": lambda s: {},
    "a tensor missing": lambda s: {k: v for k, v in s.items() if k != first_matrix(s)},
    "a tensor too many": lambda s: changed(s, extra=torch.zeros(2)),
    "a tensor under another name": lambda s: {f"module.{k}": v for k, v in s.items()},
    "another shape": lambda s: changed(s, **{first_matrix(s): torch.zeros(2, 2)}),
    "no dimension": lambda s: changed(s, **{first_matrix(s): torch.zeros(())}),
    "an empty tensor": lambda s: changed(s, **{first_matrix(s): torch.zeros(0, 3)}),
    "integers": lambda s: changed(
        s, **{first_matrix(s): torch.ones_like(s[first_matrix(s)], dtype=torch.int8)}
    ),
    "booleans": lambda s: changed(
        s, **{first_matrix(s): torch.ones_like(s[first_matrix(s)], dtype=torch.bool)}
    ),
    "NaN": lambda s: changed(s, **{first_matrix(s): torch.full_like(s[first_matrix(s)], float("nan"))}),
    "one NaN": lambda s: changed(
        s, **{first_matrix(s): s[first_matrix(s)].clone().index_fill_(0, torch.tensor([0]), float("nan"))}
    ),
    "infinity": lambda s: changed(s, **{first_matrix(s): torch.full_like(s[first_matrix(s)], float("inf"))}),
    "NaN in half precision": lambda s: {
        k: v.half() * float("nan") if v.ndim > 1 else v for k, v in s.items()
    },
    "a scale of another shape": lambda s: changed(s, **{first_matrix(s) + "::scale": torch.zeros(3, 3, 3)}),
    "a scale of NaN": lambda s: changed(
        s, **{first_matrix(s) + "::scale": torch.full((len(s[first_matrix(s)]),), float("nan"))}
    ),
    "a scale without a tensor": lambda s: {
        k: v
        for k, v in changed(s, **{first_matrix(s) + "::scale": torch.zeros(1)}).items()
        if k != first_matrix(s)
    },
}


@pytest.mark.parametrize("name", UNFIT)
def test_tensors_that_do_not_fit_are_a_sentence(name, state, tmp_path):
    path = tmp_path / "own.safetensors"
    safetensors_io.write(UNFIT[name](dict(state)), path, SAID)
    with pytest.raises(WeightsError) as caught:
        cnn.load(path, device="cpu")
    assert_sentence(caught.value)


#: Metadata that a readable file may hold.
SAYING = {
    "nothing": {},
    "another format": SAID | {"format": "somebody's"},
    "no architecture": {k: v for k, v in SAID.items() if k != "architecture"},
    "no labels": {k: v for k, v in SAID.items() if k != "labels"},
    **{
        f"architecture {value}": SAID | {"architecture": value}
        for value in (
            "",
            "null",
            "[]",
            "3",
            "{}",
            "[" * 50_000,
            '{"timm": "x", "colour": 1}',
            '{"timm": "lcnet_35"}',
        )
    },
    **{
        f"size {value}": SAID | {"architecture": json.dumps(SMALL.__dict__ | {"channels": value})}
        for value in (0, -1, "3", None, 10**30)
    },
    **{
        f"labels {value}": SAID | {"labels": value}
        for value in (
            "",
            "null",
            "3",
            "{}",
            '"happy"',
            "[1]",
            '["happy"]',
            '["a","b","c","d","e","f","g"]',
            "[" * 50_000,
        )
    },
}


@pytest.mark.parametrize("name", SAYING)
def test_invalid_metadata_of_a_file_is_a_sentence(name, state, tmp_path):
    path = tmp_path / "own.safetensors"
    safetensors_io.write(dict(state), path, SAYING[name])
    with no_hang(), pytest.raises(FerModelsError) as caught:
        resolve.resolve_model(f"vgg19@{path}", models.MODELS).load(Runtime("cpu", "float32"))
    assert_sentence(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "3",
        "[]",
        "{}",
        '{"labels": 3}',
        '{"labels": [1]}',
        '{"labels": null}',
        "[" * 50_000,
        '{"labels": ["a"], "labels": ["b"]}',
        '{"labels": ["happy"], "size": "x"}',
        "1" * 5000,
        "\x00",
    ],
)
def test_an_invalid_file_next_to_a_checkpoint_is_a_sentence(text, state, tmp_path):
    path = tmp_path / "own.safetensors"
    safetensors_io.write(dict(state), path, {})
    path.with_suffix(".json").write_text(text)
    with no_hang(), pytest.raises(FerModelsError) as caught:
        resolve.resolve_model(f"timm:lcnet_035@{path}", models.MODELS).load(Runtime("cpu", "float32"))
    assert_sentence(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pkl", ".PTH", ".txt", ""])
def test_a_pickle_is_never_opened_whatever_its_name(suffix, tmp_path):
    path = tmp_path / f"own{suffix}"
    path.write_bytes(UNSOUND["a pickle that would run"])
    with pytest.raises(WeightsError) as caught:
        cnn.load(path, device="cpu")
    assert_sentence(caught.value)
    assert not Path("/tmp/fer-models-was-here").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, UNSOUND["a pickle that would run"], UNSOUND["a zip"]],
    ids=["empty", "zeros", "pickle", "zip"],
)
def test_a_pth_without_the_known_sha256_is_not_opened(content, tmp_path):
    path = tmp_path / "GFPGANv1.4.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        gfpgan.load(path, sha256="0" * 64, device="cpu")
    assert_sentence(caught.value)
    assert not Path("/tmp/fer-models-was-here").exists()


@pytest.mark.parametrize(
    "content",
    [b"", UNSOUND["a pickle that would run"], UNSOUND["a zip"], b"\x80\x02}q\x00."],
    ids=["empty", "pickle", "zip", "empty dictionary"],
)
def test_a_pth_with_a_known_sha256_runs_no_code(content, tmp_path):
    path = tmp_path / "GFPGANv1.4.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        gfpgan.load(path, sha256=hashlib.sha256(content).hexdigest(), device="cpu")
    assert_sentence(caught.value)
    assert not Path("/tmp/fer-models-was-here").exists()


@pytest.mark.parametrize("name", [*UNSOUND, "a network"])
def test_an_invalid_file_of_a_restorer_is_a_sentence(name, sound, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(UNSOUND.get(name, sound))
    with no_hang(), pytest.raises(WeightsError) as caught:
        gfpgan.load(path, device="cpu")
    assert_sentence(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": clip.FORMAT},
        {"format": clip.FORMAT, "architecture": "x"},
        {"format": clip.FORMAT, "architecture": "x", "preprocess": "[" * 50_000},
        {"format": clip.FORMAT, "architecture": "x", "preprocess": "3"},
    ],
    ids=str,
)
def test_invalid_metadata_of_a_clip_file_is_a_sentence(metadata, tmp_path):
    path = tmp_path / "own.safetensors"
    safetensors_io.write({"a": torch.zeros(2)}, path, metadata)
    with pytest.raises(FerModelsError) as caught:
        clip.load(path, prompts.load("openai"), device="cpu")
    assert_sentence(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "nothing", "circle"])
def test_an_invalid_file_of_weights_is_refused_without_delay(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = Path("/dev/zero") if kind == "zero" else tmp_path / kind
    with no_hang(), pytest.raises(FerModelsError) as caught:
        resolve.resolve_model(f"vgg19@{path}", models.MODELS)
    assert_sentence(caught.value)
    if kind != "folder":
        with no_hang(), pytest.raises(WeightsError):
            sha256_of(path)


def test_weights_that_cannot_be_written_are_an_error_of_the_system_and_leave_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # like a full disk
    try:
        with pytest.raises(OSError, match="weights"):
            safetensors_io.write({"weight": torch.zeros(10_000)}, tmp_path / "weights.safetensors", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
