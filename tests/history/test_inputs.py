"""What changed between two runs, from the inputs that the store records."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fakes_runs import SUBJECT, predictions_of, shard_file
from history_runs import entry
from hypothesis import given
from hypothesis import strategies as st

from fer_models.history.inputs import changes, digests, stored_provenance
from fer_models.history.records import series_of
from fer_models.store.partition import Store

MODEL = {
    "model": "m",
    "weights": "w1",
    "code": None,
    "labels": ["sad"],
    "settings": {},
    "precision": "float32",
}
PROVENANCE: dict[str, Any] = {
    "model": {**MODEL, "components": [{**MODEL, "weights": "w2"}]},
    "restorer": {"restorer": "raw", "weights": None},
    "corruption": None,
    "code": {"fer-models": "c1", "torch": "2.9.0"},
    "check": ["t1"],
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The provenance with another value at a path."""
    content = deepcopy(PROVENANCE)
    holder: Any = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "phrase"),
    [
        (("model", "weights"), "w9", "weights"),
        (("model", "components", 0, "weights"), "w9", "weights"),
        (("model", "code"), "file", "code of the model"),
        (("model", "settings"), {"size": 64}, "settings"),
        (("model", "components", 0, "precision"), "bfloat16", "settings"),
        (("restorer", "weights"), "w9", "restoration"),
        (("corruption",), "jpeg@1 v2", "corruption"),
        (("code", "fer-models"), "c2", "code of fer-models"),
        (("check",), ["t2"], "predictions of the same weights"),
    ],
)
def test_each_input_has_its_phrase(path: tuple[Any, ...], value: Any, phrase: str) -> None:
    before = entry(key="1", inputs=digests(PROVENANCE))
    after = entry(key="2", inputs=digests(changed(path, value)))
    assert changes(before, after) == (phrase,)


@given(st.dictionaries(st.text(), st.text()), st.text())
def test_runs_with_the_same_key_are_never_marked(inputs: dict[str, str], fingerprint: str) -> None:
    """The key contains all inputs; a package of the run that is not in it changes no prediction."""
    other = entry(inputs=inputs, fingerprint=fingerprint, versions={"torch": "0"})
    assert changes(entry(), other) == ()


def test_runs_with_other_weights_and_data_are_marked_with_both() -> None:
    after = entry(key="2", fingerprint="other", inputs={"weights": "zz", "settings": "bb"})
    assert changes(entry(key="1"), after) == ("data", "weights")


def test_versions_are_named_with_old_and_new() -> None:
    before = entry(key="1", versions={"torch": "2.9.0", "timm": "1.0", "gone": "1"})
    after = entry(key="2", versions={"torch": "2.9.1", "timm": "1.0", "new": "1"})
    assert changes(before, after) == ("torch 2.9.0 -> 2.9.1",)


def test_a_new_version_of_fer_models_explains_its_new_code() -> None:
    before = entry(key="1", versions={"fer-models": "0.1"}, inputs={"code of fer-models": "a"})
    after = entry(key="2", versions={"fer-models": "0.2"}, inputs={"code of fer-models": "b"})
    assert changes(before, after) == ("fer-models 0.1 -> 0.2",)


def test_other_predictions_are_named_only_where_nothing_explains_them() -> None:
    inputs = digests(changed(("check",), ["t2"]))
    after = entry(key="2", inputs={**inputs, "weights": "other"})
    assert changes(entry(key="1", inputs=digests(PROVENANCE)), after) == ("weights",)


def test_keys_that_differ_by_nothing_known_are_marked_too() -> None:
    assert changes(entry(key="1", inputs={}), entry(key="2")) == ("unknown inputs",)


@pytest.mark.parametrize("damage", [{}, {"model": None}, {**PROVENANCE, "code": "x"}, {"model": []}])
def test_a_provenance_of_another_program_has_no_inputs(damage: dict[str, Any]) -> None:
    assert digests(damage) == {}


def test_the_provenance_is_that_of_the_first_stored_shard(tmp_path: Path) -> None:
    table, key = predictions_of(n=70), "k" * 64
    partition = Store(tmp_path).partition(SUBJECT, key, table.faces, table.truth, table.index)
    with partition.locked():
        partition.write(0, table, PROVENANCE, 1.0)
    assert stored_provenance(tmp_path, SUBJECT, key) == PROVENANCE
    assert stored_provenance(tmp_path, SUBJECT, key[:16] + "other") == {}, "the folder of another key"
    shard_file(partition.folder, 0).write_bytes(b"{}")
    assert stored_provenance(tmp_path, SUBJECT, key) == {}
    assert stored_provenance(tmp_path / "no", SUBJECT, key) == {}


def test_runs_on_a_part_of_a_split_are_series_of_their_own() -> None:
    whole, grown, part, other = (
        series_of(entry(n=n, of=of).scores) for n, of in ((100, 100), (101, 101), (70, 100), (49, 100))
    )
    assert whole == grown
    assert len({whole, part, other}) == 3
