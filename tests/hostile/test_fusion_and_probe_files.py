"""Files of fusion weights and of linear probes with invalid content: each is refused in a sentence."""

import json
from functools import partial

import guards
import numpy as np
import pytest
from guards import no_hang

from fer_models.classifiers import fusion, probe
from fer_models.errors import WeightsError

assert_sentence = partial(guards.assert_sentence, longest=1500)
FUSION = {
    "format": fusion.FORMAT,
    "components": ["a", "b"],
    "exponents": [1, 1],
    "weights": [None, None],
    "fitted_on": {},
}
NO_FUSION = {
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "deep": "[" * 50_000,
    "NaN": '{"format": NaN}',
    "an integer of 5,000 digits": "1" * 5000,
    **{f"{key} missing": json.dumps({k: v for k, v in FUSION.items() if k != key}) for key in FUSION},
    **{
        f"exponents {value}": json.dumps(FUSION | {"exponents": value})
        for value in (None, 3, [], [1], [1, 1, 1], [0, 0])
    },
    **{
        f"exponents {value}": json.dumps(FUSION | {"exponents": value})
        for value in ([-1, 1], ["x", 1], [None, 1], "11x")
    },
    **{f"components {value}": json.dumps(FUSION | {"components": value}) for value in (None, 3, [], ["a"])},
    **{f"fitted_on {value}": json.dumps(FUSION | {"fitted_on": value}) for value in (None, 3, ["x"])},
    "an exponent that is infinite": json.dumps(FUSION).replace("[1, 1]", "[1e999, 1]"),
}


@pytest.mark.parametrize("name", NO_FUSION)
def test_an_invalid_fusion_is_a_sentence(name, tmp_path):
    path = tmp_path / "a+b.json"
    path.write_text(NO_FUSION[name])
    with no_hang(), pytest.raises(WeightsError, match="is no fusion of models") as caught:
        fusion.read(path)
    assert_sentence(caught.value)


def test_a_fusion_that_is_sound_is_read(tmp_path):
    path = tmp_path / "a+b.json"
    path.write_text(json.dumps(FUSION))
    assert fusion.read(path).components == ("a", "b")


@pytest.mark.parametrize(
    "change", ["NaN", "infinity", "six rows", "a bias of eight", "integers", "base", "record"]
)
def test_an_invalid_probe_is_a_sentence(change, tmp_path):
    from safetensors.numpy import save_file

    matrix, bias = np.ones((7, 3), np.float32), np.zeros(7, np.float32)
    metadata = {"format": probe.FORMAT, "base": "null", "record": "{}"}
    if change in ("NaN", "infinity"):
        matrix[0, 0] = {"NaN": np.nan, "infinity": np.inf}[change]
    elif change == "six rows":
        matrix = matrix[:6].copy()
    elif change == "a bias of eight":
        bias = np.zeros(8, np.float32)
    elif change == "integers":
        matrix = matrix.astype(np.int64)
    else:
        metadata[change] = "[" * 50_000
    save_file({"weights": matrix, "bias": bias}, tmp_path / "p.safetensors", metadata)
    with pytest.raises(WeightsError, match="is no linear probe") as caught:
        probe.read(tmp_path / "p.safetensors")
    assert_sentence(caught.value)
