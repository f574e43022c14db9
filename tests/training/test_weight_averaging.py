import json

import pytest
import torch

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError
from fer_models.training.weight_averaging import average

TINY = Architecture("resnet10t", size=32)


def trained(path, seed, architecture=TINY, **more):
    """A file as training leaves it; returns its tensors."""
    torch.manual_seed(seed)
    state = cnn.build(architecture).state_dict()
    said = {
        "format": cnn.FORMAT,
        "architecture": json.dumps(vars(architecture)),
        "labels": json.dumps(list(LABELS)),
    }
    safetensors_io.write(
        state, path, said | {"provenance": json.dumps({"model": "tiny", "seed": seed})} | more
    )
    return state


def test_the_average_is_the_mean_of_every_weight_and_says_of_what(tmp_path):
    files = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    states = [trained(path, seed) for seed, path in enumerate(files)]
    states[2]["bn1.num_batches_tracked"] += 7
    safetensors_io.write(states[2], files[2], safetensors_io.read(files[2])[1])
    average(files, tmp_path / "mean.safetensors")
    mean, said = safetensors_io.read(tmp_path / "mean.safetensors")
    assert mean.keys() == states[0].keys()
    for name, tensor in mean.items():
        parts = [state[name] for state in states]
        torch.testing.assert_close(
            tensor, torch.stack(parts).mean(0) if tensor.is_floating_point() else parts[-1]
        )
    record = json.loads(said["provenance"])
    assert record["model"] == "tiny"
    assert record["averaged"] == [
        {"sha256": sha256_of(path), "provenance": {"model": "tiny", "seed": seed}}
        for seed, path in enumerate(files)
    ]
    assert cnn.load(tmp_path / "mean.safetensors", device="cpu").architecture == TINY


def test_the_average_of_copies_is_the_network_itself(tmp_path):
    state = trained(tmp_path / "one.safetensors", 0)
    average([tmp_path / "one.safetensors"] * 2, tmp_path / "mean.safetensors")
    mean, _ = safetensors_io.read(tmp_path / "mean.safetensors")
    assert all(torch.equal(mean[name], tensor) for name, tensor in state.items())


def test_networks_that_differ_are_not_averaged_and_nothing_is_written(tmp_path):
    first, other, output = (
        tmp_path / "first.safetensors",
        tmp_path / "other.safetensors",
        tmp_path / "mean.safetensors",
    )
    state = trained(first, 0)
    trained(other, 0, Architecture("resnet10t", size=40))
    with pytest.raises(
        WeightsError, match=r"other\.safetensors is of another network than .*first\.safetensors"
    ):
        average([first, other], output)
    trained(other, 0, labels=json.dumps(["angry"]))
    with pytest.raises(WeightsError, match="another network"):
        average([first, other], output)
    safetensors_io.write(
        {name: tensor for name, tensor in state.items() if name != "fc.bias"},
        other,
        safetensors_io.read(first)[1],
    )
    with pytest.raises(WeightsError, match="another network"):
        average([first, other], output)
    safetensors_io.write(state, other, {})
    with pytest.raises(WeightsError, match="fer-models train did not write it"):
        average([first, other], output)
    with pytest.raises(UsageError, match="at least two files, got 1"):
        average([first], output)
    assert not output.exists()
