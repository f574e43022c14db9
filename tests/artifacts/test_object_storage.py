import copy
import warnings

import pytest

from fer_models.artifacts import checksummed_files
from fer_models.artifacts.checksummed_files import find, locked_directory, versions, versions_by_name, write
from fer_models.artifacts.object_storage import ObjectPath, store_path
from fer_models.errors import DamagedFileWarning, StoreError, UsageError


def text(content: bytes) -> str:
    return content.decode()


def test_a_written_file_is_found_by_its_name_and_has_its_checksum_in_it(s3_folder):
    with locked_directory(s3_folder, "Texts"):
        path = write(s3_folder, "part-00000.txt", b"content", "Texts")
    assert path.name == f"part-00000-{checksummed_files.checksum(b'content')}.txt"
    assert find(s3_folder, "part-00000.txt", text) == "content"
    assert [found.name for found in s3_folder.iterdir()] == [path.name]
    assert path.is_file()
    assert path.modified_ns() > 0
    assert s3_folder.is_dir()
    assert not s3_folder.is_file()


def test_a_new_version_replaces_the_old_one(s3_folder):
    for content in (b"old", b"new", b"new"):
        write(s3_folder, "a.txt", content, "Texts")
    assert find(s3_folder, "a.txt", text) == "new"
    assert len(versions(s3_folder, "a.txt")) == 1


def test_a_missing_folder_is_empty_and_its_files_are_missing(s3_folder):
    assert not list(s3_folder.iterdir())
    assert not s3_folder.exists()
    assert find(s3_folder, "a.txt", text) is None
    with pytest.raises(FileNotFoundError):
        (s3_folder / "a.txt").read_bytes()
    (s3_folder / "a.txt").unlink(missing_ok=True)


def test_a_damaged_object_is_removed_with_a_warning_and_never_used(s3_folder):
    path = write(s3_folder, "a.txt", b"content", "Texts")
    path.write_bytes(b"cut")
    with pytest.warns(DamagedFileWarning, match="does not have|do not have"):
        assert find(s3_folder, "a.txt", text, remove_damaged=True) is None
    assert not path.exists()


def test_one_listing_has_the_versions_of_all_files(s3_folder):
    for number in range(3):
        write(s3_folder, f"part-{number:05d}.txt", str(number).encode(), "Texts")
    by_name = versions_by_name(s3_folder)
    for number in range(3):
        name = f"part-{number:05d}.txt"
        assert by_name[name] == versions(s3_folder, name)


def test_the_listing_of_a_local_folder_is_the_same_as_that_of_each_file(tmp_path):
    path = write(tmp_path, "part-00000.txt", b"content", "Texts")
    (tmp_path / "part-00000.txt").write_text("without a checksum")
    (tmp_path / "part-00000-short.txt").write_text("")
    by_name = versions_by_name(tmp_path)
    assert by_name["part-00000.txt"] == versions(tmp_path, "part-00000.txt")
    assert path in by_name["part-00000.txt"]
    assert len(by_name["part-00000.txt"]) == 2
    assert versions_by_name(tmp_path / "missing") == {}


def test_a_path_is_a_value_that_another_process_can_use(s3_folder):
    path = copy.deepcopy(s3_folder / "part-00000.parquet")  # by the protocol that processes use
    assert path == s3_folder / "part-00000.parquet"
    assert (path.stem, path.suffix, path.parent) == ("part-00000", ".parquet", s3_folder)
    assert store_path(str(path)) == path


@pytest.mark.parametrize("given", ["s3://faces", "s3://faces/", "S3://faces//"])
def test_a_bucket_alone_is_a_store(given):
    assert store_path(given) == ObjectPath("faces")
    assert str(store_path(given)) == "s3://faces"


@pytest.mark.parametrize("given", [".evals/store", "/absolute/store", "C:/windows", "name with ? and #"])
def test_any_other_text_is_a_local_folder(given):
    assert str(store_path(given)) == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ftp://host/folder", "stores with ftp:// are not supported"),
        ("s3://", "names no bucket"),
        ("s3:///folder", "names no bucket"),
        ("s3:/faces/store", "too few slashes"),
        ("s3://user:secret@faces/store", "must not hold credentials"),
        ("s3://faces/store?secret_key=abc", "must not hold credentials"),
    ],
)
def test_an_invalid_address_is_refused_with_a_sentence(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        store_path(given)
    assert "secret@" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_missing_bucket_is_named(s3_address):
    other = store_path(s3_address.replace("//faces/", "//nothing/"))
    with pytest.raises(StoreError, match=r"s3://nothing/.*there is no such bucket\. Check its name"):
        other.check()
    with pytest.raises(StoreError, match="there is no such bucket"):
        other.is_dir()
    with pytest.raises(StoreError, match="there is no such bucket"):
        write(other, "a.txt", b"content", "Texts")


def test_an_unknown_parameter_of_the_address_is_named(s3_address):
    with pytest.raises(StoreError, match="regoin"):
        store_path(f"{s3_address}&regoin=eu").check()


@pytest.mark.slow
def test_a_network_error_is_no_damaged_file(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    gone = store_path("s3://faces/store?scheme=http&endpoint_override=127.0.0.1:9")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreError, match=r"the server cannot be reached\. Check the network"):
            find(gone, "a.txt", text, remove_damaged=True)
