import json

import pytest
import torch
from weight_files import TINY, write_weights

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.errors import UsageError, WeightsError
from fer_models.training.weight_averaging import average


def test_the_average_is_the_mean_of_every_weight_and_records_the_files(tmp_path):
    files = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    states = [write_weights(path, seed) for seed, path in enumerate(files)]
    states[2]["bn1.num_batches_tracked"] += 7
    safetensors_io.write(states[2], files[2], safetensors_io.read(files[2])[1])
    average(files, tmp_path / "mean.safetensors")
    mean, metadata = safetensors_io.read(tmp_path / "mean.safetensors")
    assert mean.keys() == states[0].keys()
    for name, tensor in mean.items():
        tensors = [state[name] for state in states]
        expected = torch.stack(tensors).mean(0) if tensor.is_floating_point() else tensors[-1]
        torch.testing.assert_close(tensor, expected)
    record = json.loads(metadata["provenance"])
    assert record["model"] == "tiny"
    assert record["averaged"] == [
        {"sha256": sha256_of(path), "provenance": {"model": "tiny", "seed": seed}}
        for seed, path in enumerate(files)
    ]
    assert cnn.load(tmp_path / "mean.safetensors", device="cpu").architecture == TINY


def test_the_average_of_copies_is_the_same_network(tmp_path):
    state = write_weights(tmp_path / "one.safetensors", 0)
    average([tmp_path / "one.safetensors"] * 2, tmp_path / "mean.safetensors")
    mean, _ = safetensors_io.read(tmp_path / "mean.safetensors")
    assert all(torch.equal(mean[name], tensor) for name, tensor in state.items())


def test_different_networks_are_not_averaged_and_nothing_is_written(tmp_path):
    first, other, output = (tmp_path / f"{name}.safetensors" for name in ("first", "other", "mean"))
    state = write_weights(first, 0)
    write_weights(other, 0, Architecture("resnet10t", size=40))
    with pytest.raises(
        WeightsError, match=r"other\.safetensors is of another network than .*first\.safetensors"
    ):
        average([first, other], output)
    write_weights(other, 0, labels=json.dumps(["angry"]))
    with pytest.raises(WeightsError, match="another network"):
        average([first, other], output)
    incomplete = {name: tensor for name, tensor in state.items() if name != "fc.bias"}
    safetensors_io.write(incomplete, other, safetensors_io.read(first)[1])
    with pytest.raises(WeightsError, match="another network"):
        average([first, other], output)
    safetensors_io.write(state, other, {})
    with pytest.raises(WeightsError, match="fer-models train did not write it"):
        average([first, other], output)
    safetensors_io.write(state, other, {"format": "pt"})
    with pytest.raises(WeightsError, match="fer-models train did not write it"):
        average([first, other], output)
    write_weights(other, 0, provenance="{")
    with pytest.raises(WeightsError, match="its training record is no JSON"):
        average([first, other], output)
    with pytest.raises(UsageError, match="at least two files, got 1"):
        average([first], output)
    assert not output.exists()
