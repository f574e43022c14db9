"""Downloads, from a real server on this machine that can be made to misbehave."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest
from fakes import full_disk

from fer_models.artifacts import download
from fer_models.errors import WeightsError

CONTENT = bytes(range(256)) * 20_000  # 5 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at any address. `ends_after`: bytes after which it hangs up; `ranges`: whether it can go
    on from the middle.
    """

    ends_after: int | None = None
    ranges = True
    asked: list[str | None] = []  # noqa: RUF012 (each server is a subclass with a list of its own)

    def do_GET(self):
        given = self.headers.get("Range")
        self.asked.append(given)
        if self.path == "/nothing":
            self.send_error(404)
            return
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.ends_after])

    def log_message(self, *said):
        pass


@pytest.fixture
def server():
    """(its address, its class, to be told how to behave)"""
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/file.pth", handler
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_whole_and_only_once(server, tmp_path):
    url, handler = server
    path = tmp_path / "weights" / "file.pth"
    assert download.fetch(url, path, SHA256) == path
    assert path.read_bytes() == CONTENT
    download.fetch(url, path, SHA256)
    assert handler.asked == [None]
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("ranges", [True, False], ids=["goes on", "starts again"])
def test_an_interrupted_download_leaves_nothing_that_looks_whole_and_is_completed_later(
    server, tmp_path, ranges
):
    url, handler = server
    path = tmp_path / "file.pth"
    handler.ends_after, handler.ranges = 3_000_000, ranges
    with pytest.raises(
        WeightsError, match=r"ended after 3000000 of 5120000 bytes. Run the same command again"
    ):
        download.fetch(url, path, SHA256)
    assert not path.exists()
    handler.ends_after = None
    download.fetch(url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert handler.asked == [None, "bytes=3000000-"]


def test_what_is_left_of_a_longer_file_is_not_gone_on_with(server, tmp_path):
    url, handler = server
    (tmp_path / "file.pth.part").write_bytes(CONTENT + b"more")
    assert download.fetch(url, tmp_path / "file.pth", SHA256).read_bytes() == CONTENT
    assert handler.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_another_file_than_the_one_asked_for_is_deleted(server, tmp_path):
    url, _ = server
    with pytest.raises(
        WeightsError, match=f"its sha256 is {SHA256[:12]}…, {'0' * 12}… was expected. It was deleted."
    ):
        download.fetch(url, tmp_path / "file.pth", "0" * 64)
    assert not list(tmp_path.glob("file*[!k]"))  # but the lock's


def test_a_wrong_file_that_lies_there_already_is_replaced_by_the_right_one(server, tmp_path):
    url, _ = server
    path = tmp_path / "file.pth"
    path.write_bytes(b"what an earlier version left")
    assert download.fetch(url, path, SHA256).read_bytes() == CONTENT


def test_a_server_that_has_not_the_file_or_is_not_there_is_a_network_problem(server, tmp_path):
    url, _ = server
    for address, reason in (
        (url.replace("file.pth", "nothing"), "Not Found"),
        ("http://127.0.0.1:1/file.pth", "refused"),
    ):
        with pytest.raises(
            WeightsError, match=rf"could not be downloaded \(.*{reason}.*\). Check the network"
        ) as caught:
            download.fetch(address, tmp_path / "file.pth", SHA256)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "file.pth").exists()


def test_a_full_disk_is_not_called_a_network_problem(server, tmp_path):
    url, _ = server
    with (
        full_disk(1_000_000),
        pytest.raises(WeightsError, match=r"file.pth cannot be written \(.+\). Free some space") as caught,
    ):
        download.fetch(url, tmp_path / "file.pth", SHA256)
    assert "network" not in str(caught.value)
    assert not (tmp_path / "file.pth").exists()
    assert download.fetch(url, tmp_path / "file.pth", SHA256).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_an_error_that_names_another(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="FER_MODELS_WEIGHTS=FOLDER"):
        download.fetch(server[0], tmp_path / "file" / "file.pth", SHA256)
