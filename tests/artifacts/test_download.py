"""Downloads from a local server with simulated failures."""

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
    """Server of CONTENT at any address.

    `ends_after` is the number of bytes after which it disconnects, `ranges` whether it supports ranges.
    """

    ends_after: int | None = None
    ranges = True
    requested_ranges: list[str | None] = []  # noqa: RUF012 (each server is a subclass with its own list)

    def do_GET(self):
        range_header = self.headers.get("Range")
        self.requested_ranges.append(range_header)
        if self.path == "/nothing":
            self.send_error(404)
            return
        start = (
            int(range_header.removeprefix("bytes=").removesuffix("-")) if range_header and self.ranges else 0
        )
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.ends_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """The URL of a file on a server, and the server's class with its settings."""
    handler = type("Handler", (Server,), {"requested_ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/file.pth", handler
        running.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    url, handler = server
    path = tmp_path / "weights" / "file.pth"
    assert download.fetch(url, path, SHA256) == path
    assert path.read_bytes() == CONTENT
    download.fetch(url, path, SHA256)
    assert handler.requested_ranges == [None]
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("ranges", [True, False], ids=["resumes", "starts again"])
def test_an_interrupted_download_is_completed_later(server, tmp_path, ranges):
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
    assert handler.requested_ranges == [None, "bytes=3000000-"]


def test_a_partial_file_that_is_too_long_is_downloaded_again(server, tmp_path):
    url, handler = server
    (tmp_path / "file.pth.part").write_bytes(CONTENT + b"more")
    assert download.fetch(url, tmp_path / "file.pth", SHA256).read_bytes() == CONTENT
    assert handler.requested_ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_file_with_another_sha256_is_deleted(server, tmp_path):
    url, _ = server
    with pytest.raises(
        WeightsError, match=f"its sha256 is {SHA256[:12]}…, {'0' * 12}… was expected. It was deleted."
    ):
        download.fetch(url, tmp_path / "file.pth", "0" * 64)
    assert not list(tmp_path.glob("file*[!k]"))  # except the lock's


def test_an_existing_file_with_another_sha256_is_replaced(server, tmp_path):
    url, _ = server
    path = tmp_path / "file.pth"
    path.write_bytes(b"an earlier version")
    assert download.fetch(url, path, SHA256).read_bytes() == CONTENT


def test_a_missing_file_or_server_is_a_network_problem(server, tmp_path):
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


def test_a_full_disk_is_not_reported_as_a_network_problem(server, tmp_path):
    url, _ = server
    with (
        full_disk(1_000_000),
        pytest.raises(WeightsError, match=r"file.pth cannot be written \(.+\). Free some space") as caught,
    ):
        download.fetch(url, tmp_path / "file.pth", SHA256)
    assert "network" not in str(caught.value)
    assert not (tmp_path / "file.pth").exists()
    assert download.fetch(url, tmp_path / "file.pth", SHA256).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_created_is_an_error_with_the_variable_for_another(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="FER_MODELS_WEIGHTS=FOLDER"):
        download.fetch(server[0], tmp_path / "file" / "file.pth", SHA256)
