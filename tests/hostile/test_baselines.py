"""Damaged or manipulated baselines: each file gets an error of one line, and stays as it is."""

import copy
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import full_disk, prediction_table
from hypothesis import given, settings

from fer_models.errors import BaselinesError
from fer_models.gate import baselines
from fer_models.scoring.metrics import measure
from fer_models.store.subject import Subject

N = 21


@pytest.fixture(scope="module")
def valid():
    """The content of a baselines file with two records and a published claim."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 7
    predictions = prediction_table(truth, np.where(rng.random(N) < 0.7, truth, -1))
    measured = measure(predictions.truth, predictions.answer, predictions.probabilities, resamples=50)
    subjects, recorded = [Subject("toy", "test", "raw", name) for name in "ab"], {"date": "2026-11-25"}
    one, two = (baselines.record_of(s, "f" * 64, predictions, measured, recorded) for s in subjects)
    return {
        "schema": 2,
        "measured": [baselines.asdict(one), baselines.asdict(two)],
        "published": [{"model": "CLIP", "source": "a paper"}],
    }


def refused(path, content):
    """Check that `content` is refused and the file stays as it is; returns the message."""
    path.write_bytes(content)
    with pytest.raises(BaselinesError) as caught:
        baselines.read(path)
    with pytest.raises(BaselinesError):
        baselines.update(path, [])
    assert path.read_bytes() == content
    assert sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock")) == [path.name]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert path.name in str(caught.value)
    return str(caught.value)


WRONG = [None, True, 0, -1, 1.5, "", "x", [], [1], {}, {"a": 1}, "\ud800", 10**20]
FIELDS = {  # the values of `WRONG` that are valid
    "dataset": ("", "x"), "split": ("", "x"), "restoration": ("", "x"), "model": ("", "x"),
    "dataset_fingerprint": ("", "x"), "corruption": (None,), "prompt": (None, "", "x"), "n": (),
    "unanswered": (), "metrics": (), "answers": (), "p_true": (), "floor": (None, 0),
    "recorded": ({}, {"a": 1}),
}  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_wrong_type_or_value_is_refused(tmp_path, valid, field, value):
    content = copy.deepcopy(valid)
    content["measured"][0][field] = value
    text = json.dumps(content).encode()
    if any(value is good or (value == good and type(value) is type(good)) for good in FIELDS[field]):
        (tmp_path / "baselines.json").write_bytes(text)
        assert len(baselines.read(tmp_path / "baselines.json").measured) == 2
    else:
        assert "measured record 1" in refused(tmp_path / "baselines.json", text) or value == "\ud800"


@pytest.mark.parametrize(
    "value", [None, True, "0.5", [], float("nan"), float("inf"), -float("inf")], ids=repr
)
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "prompts: accuracy of the worst template"])
def test_a_metric_that_is_no_number_is_refused(tmp_path, valid, metric, value):
    content = copy.deepcopy(valid)
    content["measured"][1]["metrics"][metric] = value
    refused(tmp_path / "baselines.json", json.dumps(content).encode())


@pytest.mark.parametrize(
    "field", [name for name in FIELDS if name not in ("floor", "recorded", "corruption", "prompt")]
)
def test_a_missing_field_is_named(tmp_path, valid, field):
    content = copy.deepcopy(valid)
    del content["measured"][1][field]
    assert field in refused(tmp_path / "baselines.json", json.dumps(content).encode())


@pytest.mark.parametrize(
    "corruption",
    ["", "blur", "gaussian-noise", "gaussian-noise@", "gaussian-noise@9", "gausian-noise@4", "@4", "a@b@c"],
)
def test_a_corruption_that_does_not_exist_is_refused(tmp_path, valid, corruption):
    content = copy.deepcopy(valid)
    content["measured"][0]["corruption"] = corruption
    assert "no run can use this record" in refused(tmp_path / "baselines.json", json.dumps(content).encode())


@pytest.mark.parametrize("key", ["schema", "measured", "published"])
def test_a_key_that_occurs_twice_is_refused(tmp_path, valid, key):
    text = json.dumps(valid)
    assert f"'{key}' 2 times" in refused(
        tmp_path / "baselines.json", f'{text[:-1]}, "{key}": {json.dumps(valid[key])}}}'.encode()
    )


@pytest.mark.parametrize("field", ["answers", "floor", "metrics", "model"])
def test_a_field_of_a_record_that_occurs_twice_is_refused(tmp_path, valid, field):
    text = json.dumps(valid)
    again = text.replace(f'"{field}": ', f'"{field}": null, "{field}": ', 1)
    assert f"'{field}' 2 times" in refused(tmp_path / "baselines.json", again.encode())


@pytest.mark.parametrize(
    "content",
    [
        b"", b" ", b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"[" * 100_000, b'{"a":' * 100_000,
        b'{"schema": 2, "measured": ' + b"[" * 50_000, b'{"schema": ' + b"9" * 5_000 + b"}",
        b'{"schema": 2e999}', b'{"schema": NaN}', b'{"schema": true, "measured": []}', b"\xff\xfe{}",
        b"\x00" * 50, b'{"schema": 1, "measured": []}', b'{"schema": 2, "measured": [null]}',
        b'{"schema": 2, "measured": [[]]}', b"PAR1", b"\x80\x04.", b'{"schema": 2, "published": [1]}',
        b'{"schema": 2, "published": [{"model": 1, "source": 2}]}', b'{"schema": 2, "published": {}}',
        b'{"schema": 2, "measured": [], "extra": 1}', "\ufeff{}".encode(), b"<html>", b"{'schema': 1}",
        b'{"schema": 1,}',
    ],
    ids=lambda content: repr(content[:24]),
)  # fmt: skip
def test_a_file_that_is_no_baselines_file_is_refused(tmp_path, content):
    refused(tmp_path / "baselines.json", content)


@given(st.data())
@settings(max_examples=60)
def test_a_file_that_was_cut_is_refused(valid, tmp_path_factory, data):
    text = json.dumps(valid).encode()
    end = data.draw(st.integers(0, len(text) - 1))
    refused(tmp_path_factory.mktemp("cut") / "baselines.json", text[:end])


@given(st.data())
@settings(max_examples=150)
def test_a_flipped_bit_is_refused_or_changes_no_prediction_in_silence(valid, tmp_path_factory, data):
    """A flip can change a predicted emotion: then the record contradicts its metrics, and the gate fails."""
    text = bytearray(json.dumps(valid).encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("flip") / "baselines.json"
    path.write_bytes(bytes(text))
    with suppress(BaselinesError):
        for record in baselines.read(path).measured:
            assert len(record.answers) == record.n
            assert record.unanswered == record.answers.count("-")
    assert path.read_bytes() == bytes(text)


def test_a_folder_a_pipe_and_a_device_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BaselinesError, match="regular file"):
            baselines.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path, valid):
    path = tmp_path / "baselines.json"
    path.write_text(json.dumps(valid))
    path.chmod(0)
    with pytest.raises(BaselinesError, match="cannot be read"):
        baselines.read(path)


def test_a_full_disk_loses_nothing(tmp_path, valid):
    path = tmp_path / "baselines.json"
    path.write_text(json.dumps(valid))
    before, records = path.read_bytes(), baselines.read(path).measured
    more = [baselines.replace(records[0], model=f"net{i}") for i in range(20)]
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with full_disk(len(before)), pytest.raises(BaselinesError, match=r"cannot be written.*is unchanged"):
            baselines.update(path, more)
    finally:
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_twenty_thousand_records_are_read_without_a_delay(tmp_path, valid):
    path = tmp_path / "baselines.json"
    records = [{**valid["measured"][0], "model": f"net{i}"} for i in range(20_000)]
    path.write_text(json.dumps({**valid, "measured": records}))
    code = """
import sys
from pathlib import Path
from fer_models.gate import baselines
b = baselines.read(Path(sys.argv[1]))
assert all(b.find(r.subject) is r for r in b.measured)
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)  # it took minutes


_WRITER = """
import sys
from pathlib import Path
from fer_models.gate import baselines
path, name = Path(sys.argv[1]), sys.argv[2]
(record,) = baselines.read(path.with_name("one.json")).measured
sys.stdin.readline()
for i in range(5):
    baselines.update(path, [baselines.replace(record, model=f"{name}-{i}")])
"""


@pytest.mark.slow
def test_four_processes_that_record_at_once_lose_nothing(tmp_path, valid):
    (tmp_path / "one.json").write_text(json.dumps({**valid, "measured": valid["measured"][:1]}))
    path = tmp_path / "baselines.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], stdin=subprocess.PIPE, text=True)
        for name in ("a", "b", "c", "d")
    ]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0] * 4
    names = {f"{name}-{i}" for name in "abcd" for i in range(5)}
    assert {r.model for r in baselines.read(path).measured} == names


CLAIM = {
    "model": "CLIP", "source": "a paper", "dataset": "fer2013", "split": "test", "n": 7178, "correct": 3000,
    "accuracy": 0.418, "protocol": "zero-shot", "evaluated_as": "open_clip:ViT-B-32/openai",
}  # fmt: skip


def test_a_published_record_with_all_fields_is_read(tmp_path, valid):
    path = tmp_path / "baselines.json"
    records = [CLAIM, {**CLAIM, "accuracy": None, "more": {"a": [1]}}]
    records += [{"model": "CLIP", "source": "a paper", "evaluated_as": None}]
    path.write_text(json.dumps({**valid, "published": records}))
    assert baselines.read(path).published == tuple(records)


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("model", "source") for value in (None, 3)),
        *({name: None} for name in ("dataset", "split", "n", "correct")),
        {"n": "7178"},
        {"correct": 0.5},
        {"protocol": ["x"]},
        {"evaluated_as": 3},
        *({"accuracy": value} for value in (1.5, "0.5", True, [0.5], {"value": 0.5})),
    ],
    ids=str,
)
def test_a_published_record_that_a_report_or_a_test_could_not_use_is_refused_by_its_number(
    tmp_path, valid, change
):
    content = {**valid, "published": [CLAIM, {**CLAIM, **change}]}
    message = refused(tmp_path / "baselines.json", json.dumps(content).encode())
    assert "published record 2" in message
    assert next(iter(change)) in message


@pytest.mark.parametrize("value", [1.5, -0.1])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_share_outside_0_to_1_is_refused(tmp_path, valid, metric, value):
    content = copy.deepcopy(valid)
    content["measured"][1]["metrics"][metric] = value
    assert "not in 0..1" in refused(tmp_path / "baselines.json", json.dumps(content).encode())
