"""Servers that drip, flood, redirect and send anything: an error within the deadline, and no face or key for
anybody else.
"""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest
from fakes import run, toy_faces
from guards import assert_sentence, no_hang
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.endpoint import KEY, Endpoint
from fer_models.errors import PredictionError
from fer_models.inference.pipeline import predict_validated
from fer_models.zoo import models

QUESTION = questions.load("one-word")
FACES = toy_faces(7).faces(range(1))
GUARD = 10


class Server:
    """Answers each connection on loopback by `speak(connection)`, and counts the requests for a
    completion.
    """

    def __init__(self, speak):
        self.speak, self.n_requests, self.stopped = speak, 0, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.stopped.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536) or b"\r\n\r\n"
                if request.startswith(b"GET"):
                    connection.sendall(response(b"{}"))
                    return
                length = int(request.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = request.split(b"\r\n\r\n", 1)[1]
                while len(body) < length:
                    body += connection.recv(65536)
                self.n_requests += 1
                self.speak(connection)
            except (OSError, IndexError, ValueError):
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.socket.close()


def response(body, status=b"200 OK", headers=b""):
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        status,
        headers,
        len(body),
        body,
    )


def completion(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def sends(*parts):
    def speak(connection):
        for part in parts:
            connection.sendall(part)

    return speak


def drips(first, drop, pause=0.2):
    """`first` at once, then `drop` for ever: each of them sets the timeout of a socket back."""

    def speak(connection):
        connection.sendall(first)
        until = time.monotonic() + 3 * GUARD
        while time.monotonic() < until:
            connection.sendall(drop)
            time.sleep(pause)

    return speak


def predict(url, *, timeout=0.5, retry_timeout=0.7, faces=FACES):
    return predict_validated(
        Endpoint(url, "m", QUESTION, timeout=timeout, retry_timeout=retry_timeout),
        "endpoint",
        models.VGG19.labels,
        list(faces),
    )


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "a body, byte by byte": drips(HEAD + b"Content-Length: 100000\r\n\r\n", b"{"),
    "a body without an end": drips(HEAD + b"\r\n", b" "),
    "chunks of one byte": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "headers, byte by byte": drips(HEAD + b"X-Long: ", b"x"),
    "headers, one by one": drips(HEAD, b"X: y\r\n", 0.5),
    "the status, byte by byte": drips(b"HTTP/1.1 200 O", b"K"),
    "to be continued": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "an error, byte by byte": drips(b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b"n"),
    "a refusal, byte by byte": drips(b"HTTP/1.1 404 No\r\nContent-Length: 100000\r\n\r\n", b"n"),
    "nothing": drips(b"", b""),
    "a drop every half second": drips(HEAD + b"Content-Length: 99\r\n\r\n", b"x", 0.5),
}


@pytest.mark.parametrize("way", SLOW)
def test_a_server_that_drips_is_an_error_within_the_retry_timeout(way):
    with (
        Server(SLOW[way]) as server,
        no_hang(),
        pytest.raises(PredictionError, match="did not respond for") as caught,
    ):
        predict(server.url)
    assert_sentence(caught.value)


@pytest.mark.parametrize("drop", [b"x", b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_drips_from_the_beginning_is_an_error(drop):
    def accept(listening):
        connection, _ = listening.accept()
        with connection:
            drips(b"HTTP/1.1 200", drop)(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=lambda: suppressed(accept, listening), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with no_hang(), pytest.raises(PredictionError, match="Nothing listens") as caught:
            Endpoint(url, "m", QUESTION, timeout=0.5)
    assert_sentence(caught.value)


def suppressed(function, *args):
    with suppress(OSError):
        function(*args)


#: Invalid responses. Each is requested once, and quoted.
FOREIGN = {
    "nothing": b"",
    "blanks": b"  \n",
    "HTML": b"<html><script>alert(1)</script></html>",
    "a text": b"happy",
    "cut JSON": b'{"choices": [{"message": {"content": "hap',
    "NaN alone": b"NaN",
    "null": b"null",
    "a number": b"3",
    "a string": b'"happy"',
    "a list": b"[]",
    "an empty object": b"{}",
    "choices null": b'{"choices": null}',
    "no choice": b'{"choices": []}',
    "choices of numbers": b'{"choices": [3]}',
    "choices as an object": b'{"choices": {"0": 1}}',
    "choices as a text": b'{"choices": "happy"}',
    "no message": b'{"choices": [{}]}',
    "message null": b'{"choices": [{"message": null}]}',
    "message as a text": b'{"choices": [{"message": "happy"}]}',
    "message as a list": b'{"choices": [{"message": ["happy"]}]}',
    "content a number": b'{"choices": [{"message": {"content": 3}}]}',
    "content true": b'{"choices": [{"message": {"content": true}}]}',
    "content a list": b'{"choices": [{"message": {"content": [{"type": "text", "text": "happy"}]}}]}',
    "content an object": b'{"choices": [{"message": {"content": {"text": "happy"}}}]}',
    "an error with status 200": b'{"error": {"message": "no such model"}}',
    "deeply nested": b"[" * 100_000,
    "deeply nested and closed": b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "an integer of 5,000 digits": b'{"choices": ' + b"1" * 5000 + b"}",
    "not UTF-8": b'{"choices": "\xff\xfe"}',
    "binary": bytes(range(256)),
    "terminal commands": b"\x1b[2J\x1b]0;title\x07",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a little more than the largest": b" " * 1_000_001,
    "a large reply": b'{"choices": [{"message": {"content": "' + b"x" * 5_000_000 + b'"}}]}',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_invalid_response_is_quoted_and_not_requested_again(name):
    with (
        Server(sends(response(FOREIGN[name]))) as server,
        no_hang(),
        pytest.raises(PredictionError, match="answered with") as caught,
    ):
        predict(server.url, timeout=5, retry_timeout=8)
    assert_sentence(caught.value)
    assert server.n_requests == 1
    assert "did not respond" not in str(caught.value)
    start = FOREIGN[name][:12].decode(errors="replace").strip()
    assert not (start.isprintable() and len(start) > 3) or start[:10] in str(caught.value)


def test_a_flood_without_an_end_is_not_kept():
    with (
        Server(drips(HEAD + b"\r\n", b"x" * 65536, 0)) as server,
        no_hang(),
        pytest.raises(PredictionError, match="1,000,000 bytes"),
    ):
        predict(server.url, timeout=8, retry_timeout=9)
    assert server.n_requests == 1


@pytest.mark.parametrize(
    "status", [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 413, 422, 501, 505]
)
def test_a_refusal_is_quoted_and_not_requested_again(status):
    speak = sends(
        response(
            b"because\x1b[2J" + b"y" * 2_000_000, b"%d Nothing" % status, b"Location: http://192.0.2.1/\r\n"
        )
    )
    with (
        Server(speak) as server,
        no_hang(),
        pytest.raises(PredictionError, match=f"refuses the request .{status}") as caught,
    ):
        predict(server.url, timeout=5, retry_timeout=8)
    assert_sentence(caught.value)
    assert "because" in str(caught.value)
    assert server.n_requests == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_request_to_a_busy_server_is_repeated_until_the_retry_timeout(status):
    with (
        Server(sends(response(b"later", b"%d Later" % status))) as server,
        no_hang(),
        pytest.raises(PredictionError, match=str(status)) as caught,
    ):
        predict(server.url)
    assert_sentence(caught.value)
    assert server.n_requests > 1


BROKEN = {
    "no response": b"",
    "no HTTP": b"hello\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of 5,000 digits": b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n",
    "a line without an end": b"HTTP/1.1 200 " + b"x" * 200_000,
    "a header without an end": HEAD + b"X: " + b"x" * 200_000,
    "a thousand headers": HEAD + b"X: y\r\n" * 1000 + b"\r\n",
    "cut off": HEAD + b'Content-Length: 1000\r\n\r\n{"choices": [',
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a cut chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "a chunk of a negative size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_that_breaks_is_a_sentence(name):
    with Server(sends(BROKEN[name])) as server, no_hang(), pytest.raises(PredictionError) as caught:
        predict(server.url)
    assert_sentence(caught.value)


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"])
@pytest.mark.parametrize(
    "where",
    ["http://127.0.0.1:{port}/elsewhere", "file:///etc/passwd", "//127.0.0.1:{port}/x", "ftp://127.0.0.1/"],
)
def test_a_redirect_takes_no_face_and_no_key_along(status, where, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    connections = []
    with Server(lambda connection: connections.append(1)) as other:
        target = where.format(port=other.url.split(":")[2].split("/")[0])
        speak = sends(response(b"", status, b"Location: %s\r\n" % target.encode()))
        with (
            Server(speak) as server,
            no_hang(),
            pytest.raises(PredictionError, match=r"refuses the request \(30") as caught,
        ):
            predict(server.url)
        assert_sentence(caught.value)
        assert other.n_requests == 0
    assert not connections


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"401 Bearer secret-4711", b"200 OK"])
def test_a_key_that_the_server_repeats_is_not_shown(status, monkeypatch):
    monkeypatch.setenv(KEY, "secret-4711")
    body = b"invalid key: Bearer secret-4711"
    with Server(sends(response(body, status))) as server, pytest.raises(PredictionError) as caught:
        predict(server.url)
    assert "secret-4711" not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "\ud83d",
        "\udc00happy",
        "happy \ud800",
        "\x00happy",
        "\u202ehappy",
        "\x1b[2Jhappy",
        "happy" * 10_000,
        "",
        "\n",
    ],
)
def test_any_text_of_a_reply_can_be_stored_read_and_shown(text, tmp_path):
    with Server(sends(response(completion(text)))) as server, no_hang():
        predictions = run(
            tmp_path, toy_faces(2), Endpoint(server.url, "m", QUESTION, timeout=5, retry_timeout=5)
        ).predictions
    assert len(predictions) == 2
    for one in (*predictions.text, *predictions.status):
        one.encode("utf-8")
        json.dumps(one, ensure_ascii=False).encode("utf-8")


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=30))
def test_every_text_comes_back_encodable(text):
    from fer_models.classifiers.vlm.base import parse_responses

    predictions = parse_responses([text], QUESTION)
    predictions.text[0].encode("utf-8")


def test_a_missing_text_is_no_prediction(tmp_path):
    with Server(sends(response(b'{"choices": [{"message": {"content": null}}]}'))) as server, no_hang():
        assert predict(server.url).status == ("empty",)


def test_the_first_failure_of_a_batch_ends_it():
    with (
        Server(sends(response(b"<html>"))) as server,
        no_hang(),
        pytest.raises(PredictionError, match="no JSON"),
    ):
        predict(server.url, timeout=5, retry_timeout=8, faces=toy_faces(28).faces(range(28)))
    assert server.n_requests <= 16


def test_plain_http_behind_https_is_a_sentence():
    with (
        Server(sends(b"")) as server,
        no_hang(),
        pytest.raises(PredictionError, match="Nothing listens") as caught,
    ):
        Endpoint(server.url.replace("http:", "https:"), "m", QUESTION, timeout=0.5)
    assert_sentence(caught.value)
