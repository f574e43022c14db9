"""Properties from a file, joined to the faces by name or by pixel hash; hostile and broken files."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from fakes import toy_faces
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from fer_models.datasets.base import FaceSet
from fer_models.errors import UsageError
from fer_models.slices.metadata_file import read_metadata

N = 28


def named_faces(names=None):
    faces = toy_faces(N)
    names = names or [f"test/happy/{i}.png" for i in range(N)]
    return FaceSet("mine", "test", faces.images, faces.labels, names)


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(path, faces=None, **cuts):
    return read_metadata(path, faces or named_faces(), cuts)


def values_of(column):
    return [column.levels[code] if code >= 0 else "" for code in column.codes]


@pytest.mark.parametrize("key", ["file", "Path", "hash", "FILENAME"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_joined_by_name_or_hash_in_any_order(tmp_path, key, suffix):
    faces = named_faces()
    names = faces.hashes if key == "hash" else faces.sources
    rows = [(names[i], "woman" if i % 3 else "man") for i in np.random.default_rng(0).permutation(N)]
    path = tmp_path / f"people.{suffix}"
    if suffix == "csv":
        write_csv(path, [key, "sex"], rows)
    else:
        parquet.write_table(pa.table({key: [k for k, _ in rows], "sex": [v for _, v in rows]}), path)
    (column,) = read(path).columns
    assert values_of(column) == ["woman" if i % 3 else "man" for i in range(N)]


def test_the_last_part_of_a_path_is_enough_where_no_two_faces_share_it(tmp_path):
    rows = [(f"{i}.png", i % 2) for i in range(N)]
    path = write_csv(tmp_path / "a.csv", ["file", "glasses"], rows)
    assert values_of(read(path).columns[0]) == [str(i % 2) for i in range(N)]
    same = named_faces([f"{i}/face.png" for i in range(N)])
    with pytest.raises(UsageError, match="has a row for 0 of the 28 faces"):
        read(write_csv(tmp_path / "b.csv", ["file", "glasses"], [("face.png", 1)]), same)


def test_numbers_are_cut_at_quartiles_or_where_the_user_says(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["file", "age"], [(f"{i}.png", 10 + i) for i in range(N)])
    assert read(path).columns[0].levels[0] == "lowest quarter"
    cut = read(path, age=(20, 30)).columns[0]
    assert cut.levels == ("below 20", "20 to 30", "30 and more")
    assert np.bincount(cut.codes).tolist() == [10, 10, 8]


def test_different_numbers_are_different_slices_however_many_digits_they_share(tmp_path):
    rows = [(f"{i}.png", 20230101 + i % 2) for i in range(N)]
    (column,) = read(write_csv(tmp_path / "a.csv", ["file", "session"], rows)).columns
    assert column.levels == ("20230101", "20230102")
    ages = write_csv(tmp_path / "b.csv", ["file", "income"], [(f"{i}.png", 12330 + i) for i in range(N)])
    assert read(ages, income=(12345,)).columns[0].levels == ("below 12345", "12345 and more")


def test_different_long_texts_are_not_put_together(tmp_path):
    rows = [(f"{i}.png", "x" * 80 + str(i % 2)) for i in range(N)]
    result = read(write_csv(tmp_path / "a.csv", ["file", "camera"], rows))
    assert not result.columns
    assert "different values with the same first" in result.notes[0]


def test_rows_without_a_name_belong_to_no_face(tmp_path):
    rows = [*((f"{i}.png", i % 2) for i in range(N)), ("", 0), ("", 1)]
    (column,) = read(write_csv(tmp_path / "a.csv", ["file", "glasses"], rows)).columns
    assert values_of(column) == [str(i % 2) for i in range(N)]


def test_faces_without_a_row_or_a_value_are_in_no_slice_and_counted(tmp_path):
    rows = [(f"{i}.png", "" if i == 5 else "yes" if i % 2 else "no") for i in range(1, N)]
    rows.append(("elsewhere.png", "no"))
    metadata = read(write_csv(tmp_path / "a.csv", ["file", "glasses"], rows))
    assert [values_of(metadata.columns[0])[i] for i in (0, 5, 6)] == ["", "", "no"]
    assert metadata.notes == (
        "a.csv: 1 of 28 faces have no row, and no slice",
        "a.csv: 1 rows belong to no face of mine/test",
    )


def test_a_join_of_half_the_faces_is_refused_with_an_example(tmp_path):
    rows = [(f"{i}.png", "x") for i in range(N // 2)]
    with pytest.raises(UsageError, match=r"has a row for 14 of the 28 faces.*95%.*'0\.png'.*'14\.png'"):
        read(write_csv(tmp_path / "a.csv", ["file", "sex"], rows))


def test_one_face_in_two_rows_is_refused_unless_they_say_the_same(tmp_path):
    rows = [(f"{i}.png", "x") for i in range(N)]
    assert read(write_csv(tmp_path / "a.csv", ["file", "sex"], [*rows, ("3.png", "x")])).notes == ()
    with pytest.raises(UsageError, match=r"names '3\.png' in row 4 and in row 29.*'sex' \(x and y\)"):
        read(write_csv(tmp_path / "b.csv", ["file", "sex"], [*rows, ("3.png", "y")]))


def test_a_column_with_a_value_for_each_face_is_left_out_and_said(tmp_path):
    faces = toy_faces(70)
    rows = [(f"toy {i}", f"person {i}", "x" if i % 2 else "y") for i in range(70)]
    metadata = read(write_csv(tmp_path / "a.csv", ["source", "person", "sex"], rows), faces)
    assert [column.name for column in metadata.columns] == ["sex"]
    assert "'person' has 70 different values" in metadata.notes[0]


@pytest.mark.parametrize(
    ("header", "rows", "problem"),
    [
        (["name", "sex"], [("0.png", "x")], "no column that names the faces. Its columns: name, sex"),
        (["file", "sex", "sex"], [("0.png", "x", "y")], "two columns named 'sex'"),
        (["file", *(f"c{i}" for i in range(60))], [("0.png", *range(60))], "has 61 columns"),
        (["file", "age"], [(f"{i}.png", "old") for i in range(N)], "'age' does not hold numbers"),
        (["file", "sex"], [(f"{i}.png", "x") for i in range(N)], "has no column 'age'"),
    ],
)
def test_a_table_of_the_wrong_form_is_refused(tmp_path, header, rows, problem):
    cuts = {"age": (20.0,)} if "age" in problem else {}
    path = write_csv(tmp_path / "a.csv", header, rows)
    if "does not hold" in problem:
        assert problem in read(path, **cuts).notes[0]
    else:
        with pytest.raises(UsageError, match=problem):
            read(path, **cuts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("empty.csv", b""),
        ("ragged.csv", b"file,sex\n0.png,x,y,z\n"),
        ("binary.csv", bytes(range(256))),
        ("not-utf8.csv", b"file,sex\n\xff\xfe,x\n"),
        ("broken.parquet", b"PAR1 and no more"),
        ("table.xlsx", b"PK"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        read(tmp_path / name)


@given(
    st.lists(st.sampled_from(["=cmd()", "@SUM(A1)", "<b>x</b>", "a\nb", "a,b", '"']), min_size=N, max_size=N)
)
def test_formulas_and_markup_stay_plain_text(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("a") / "a.csv"
    write_csv(path, ["file", "x"], [(f"{i}.png", value) for i, value in enumerate(values)])
    (column,) = read(path).columns
    assert values_of(column) == [" ".join(value.split()) for value in values]


@pytest.mark.slow
def test_a_million_rows_are_joined(tmp_path):
    n = 1_000_000
    names = [f"{i}.png" for i in range(n)]
    table = pa.table({"file": names, "age": np.arange(n) % 80, "sex": np.array(["f", "m"])[np.arange(n) % 2]})
    parquet.write_table(table, tmp_path / "a.parquet")
    age, sex = read(tmp_path / "a.parquet").columns
    assert values_of(sex) == ["fm"[i % 2] for i in range(N)]
    assert np.bincount(age.codes).tolist() == [7, 7, 7, 7]
