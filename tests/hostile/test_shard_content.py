"""Shards with wrong content or wrong bytes: a run computes them anew, and readers refuse them in a sentence.

"Sealed" files have the right checksum in their names: what is wrong with them must be noticed by what is in
them.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from damaged_stores import BYTES, COLUMNS, SUBJECT, content_of, predict, result_or_none, same, seal, shard_of

from fer_models import cli
from fer_models.artifacts import checksummed_files
from fer_models.emotions import LABELS
from fer_models.errors import StoreError
from fer_models.store.partition import load_partition

pytestmark = pytest.mark.usefixtures("small_shards", "hang_guard")


def column(name, change):
    """An edit of one column: `change` makes new values from a list of the old."""

    def edit(table):
        at = table.schema.get_field_index(name)
        return table.set_column(
            at, table.schema.field(at), pa.array(change(table[name].to_pylist()), table.schema.field(at).type)
        )

    return edit


def typed(name, kind):
    def edit(table):
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, table[name].cast(kind))

    return edit


def metadata(**changes):
    """An edit of the metadata's fields; `...` removes one."""

    def edit(table):
        fields = json.loads(table.schema.metadata[b"fer-models"]) | changes
        text = json.dumps({name: value for name, value in fields.items() if value is not ...})
        return table.replace_schema_metadata({b"fer-models": text.encode()})

    return edit


def raw_metadata(content):
    return lambda table: table.replace_schema_metadata(None if content is None else {b"fer-models": content})


def first(value):
    return lambda values: [value, *values[1:]]


def emotions(*changes):
    """An edit of all seven probabilities of the first row."""

    def edit(table):
        for label, value in zip(LABELS, changes, strict=True):
            table = column(f"p_{label}", first(value))(table)
        return table

    return edit


def perfect(table):
    at = table.schema.get_field_index("answer")
    return table.set_column(at, "answer", table["truth"])


def exchanged(table):
    """The probabilities of two emotions, the answers left as they are."""
    names = ["p_happy" if n == "p_sad" else "p_sad" if n == "p_happy" else n for n in table.column_names]
    return (
        table.rename_columns(names).select(table.column_names).replace_schema_metadata(table.schema.metadata)
    )


EDITS = {
    **{f"no column {name}": lambda table, name=name: table.drop_columns([name]) for name in COLUMNS},
    "one more column": lambda table: table.append_column("more", pa.nulls(len(table))),
    "columns in another order": lambda table: table.select(table.column_names[::-1]),
    "a column of another name": lambda table: table.rename_columns(["FACE", *table.column_names[1:]]),
    "row numbers of 64 bits": typed("index", pa.int64()),
    "row numbers as text": typed("index", pa.string()),
    "probabilities of 64 bits": typed("p_happy", pa.float64()),
    "probabilities as text": typed("p_happy", pa.string()),
    "faces as bytes": typed("face", pa.binary()),
    "emotions as dictionary": lambda table: table.set_column(2, "truth", table["truth"].dictionary_encode()),
    "long text": typed("text", pa.large_string()),
    "a null face": column("face", first(None)),
    "a null row number": column("index", first(None)),
    "a null label": column("truth", first(None)),
    "a null status": column("status", first(None)),
    "a null text": column("text", first(None)),
    "another face": column("face", first("0" * 64)),
    "faces in another order": column("face", lambda values: values[::-1]),
    "another label": column("truth", lambda values: [LABELS[(LABELS.index(values[0]) + 1) % 7], *values[1:]]),
    "a label that does not exist": column("truth", first("joy")),
    "no rows": lambda table: table.slice(0, 0),
    "a row less": lambda table: table.slice(1),
    "a row twice": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    "rows in another order": lambda table: table.take(list(range(len(table)))[::-1]),
    "every answer as labelled": perfect,
    "one answer edited": column(
        "answer", lambda values: [LABELS[(LABELS.index(values[0]) + 1) % 7], *values[1:]]
    ),
    "an answer that does not exist": column("answer", first("joy")),
    "an answer removed": column("answer", first(None)),
    "every answer removed": column("answer", lambda values: [None] * len(values)),
    "probabilities exchanged": exchanged,
    "another emotion more probable": emotions(*([1 / 7 + 0.06] + [(6 / 7 - 0.06) / 6] * 6)[::-1]),
    "probabilities that are no numbers": emotions(*[float("nan")] * 7),
    "one probability missing": column("p_sad", first(None)),
    "no probabilities": emotions(*[None] * 7),
    "a probability above 1": column("p_sad", first(1.5)),
    "a probability below 0": column("p_sad", first(-0.1)),
    "an infinite probability": column("p_sad", first(float("inf"))),
    "a status without an answer": column("status", first("silent")),
    "no metadata": raw_metadata(None),
    **{
        f"metadata {text!r}": raw_metadata(text)
        for text in (b"", b"null", b"[]", b"{}", b"7", b'"text"', b"{", b"\xff\xfe", b"[" * 900)
    },
    **{
        f"metadata without {name}": metadata(**{name: ...})
        for name in ("schema", "subject", "key", "shard", "n", "has_probabilities", "provenance")
    },
    **{f"schema {value!r}": metadata(schema=value) for value in (0, 99, "1", None)},
    **{
        f"subject {value!r}": metadata(subject=value)
        for value in (None, [], {}, {"model": "fake"}, {**SUBJECT.as_json(), "model": 7})
    },
    "a corruption as a list": metadata(subject={**SUBJECT.as_json(), "corruption": ["a"]}),
    "a prompt as a number": metadata(subject={**SUBJECT.as_json(), "prompt": 5}),
    "an environment as a list": metadata(provenance={"environment": [1]}),
    **{f"key {value!r}": metadata(key=value) for value in (None, "", "f" * 64, 7)},
    **{f"shard {value!r}": metadata(shard=value) for value in (1, -1, True, "0", None)},
    **{f"n {value!r}": metadata(n=value) for value in (0, 16, 2.5, None)},
    "has_probabilities as text": metadata(has_probabilities="no"),
    "provenance as a list": metadata(provenance=[]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_sealed_shard_with_wrong_content_is_not_believed(tmp_path, edit):
    expected, _ = predict(tmp_path)
    whole = content_of(tmp_path)
    path = shard_of(tmp_path)
    sealed = seal(path, checksummed_files.to_parquet(edit(checksummed_files.from_parquet(path.read_bytes()))))
    result_or_none(
        lambda: load_partition(sealed.parent)
    )  # outside a run some of these are sound answers about other faces
    answers, messages = predict(tmp_path)
    assert len(messages) == 1
    assert f"{sealed} is damaged: " in messages[0]
    same(answers, expected)
    assert content_of(tmp_path) == whole
    same(load_partition(sealed.parent)[0], expected)


@pytest.mark.parametrize("sealed", [False, True], ids=["as it is", "sealed"])
@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_a_shard_of_wrong_bytes_is_not_believed(tmp_path, damage, sealed):
    expected, _ = predict(tmp_path)
    whole, path = content_of(tmp_path), shard_of(tmp_path, 1)
    content = damage(path.read_bytes())
    if sealed:
        path = seal(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged: .*Run `pytest evals` again") as caught:
        load_partition(path.parent)
    assert "\n" not in str(caught.value)
    answers, messages = predict(tmp_path)
    assert [text.startswith(f"{path} is damaged: ") for text in messages] == [True]
    same(answers, expected)
    assert content_of(tmp_path) == whole


@pytest.mark.parametrize(
    "edit", ["every answer as labelled", "metadata b'[]'", "no column face", "a null face"]
)
def test_compare_says_what_is_wrong_in_one_line(tmp_path, capsys, edit):
    predict(tmp_path / "a")
    predict(tmp_path / "b")
    path = shard_of(tmp_path / "b")
    sealed = seal(
        path, checksummed_files.to_parquet(EDITS[edit](checksummed_files.from_parquet(path.read_bytes())))
    )
    assert cli.main(["compare", str(shard_of(tmp_path / "a").parent), str(sealed.parent)]) == 1
    stderr = capsys.readouterr().err
    assert "is damaged" in stderr
    assert stderr.count("\n") == 1
    assert sealed.exists()
