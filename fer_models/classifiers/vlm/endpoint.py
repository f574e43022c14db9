"""A model behind an OpenAI-compatible server (vLLM, Ollama, `transformers serve`, …), asked about one face
per request.

The server decides which weights answer; what is stored is known by its address, the model's name there, and
the question.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.vlm.base import LONGEST, parse_responses
from fer_models.classifiers.vlm.questions import Question
from fer_models.errors import PredictionError, UsageError, encodable, one_line
from fer_models.images import Face, data_url

#: Where the key for a server that wants one is taken from, and from nowhere else. Not OPENAI_API_KEY: that
#: must not travel to any address.
KEY = "FER_MODELS_ENDPOINT_KEY"
#: What a server answers when it is busy or starting: worth another try.
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
#: The largest reply that is read, in bytes: a chat completion of a few dozen tokens has some hundred.
_LARGEST = 1_000_000
#: Seconds in which a server must say that it is there.
_GREETING = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key and a face must not travel to an address that nobody named."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class _Response(NamedTuple):
    """A response, whatever its status; of its body at most one byte more than `_LARGEST`."""

    status: int
    phrase: str
    body: bytes


class Endpoint:
    """One model on one server."""

    def __init__(
        self,
        url: str,
        model: str,
        question: Question,
        *,
        max_concurrency: int = 8,
        timeout: float = 120.0,
        retry_timeout: float = 180.0,
        longest: int = LONGEST,
    ) -> None:
        """Look whether something listens.

        Args:
            url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
            at_once: requests under way at the same time.
            timeout: seconds for one request, from the connection to the last byte of the reply.
            patience: seconds for one face, in which a request is repeated while the server is busy, starting
                or gone.
            longest: tokens of an answer.

        Raises:
            UsageError: not an http address, or a key that no header can hold.
            PredictionError: nothing listens there.
        """
        if not _is_address(url):
            raise UsageError(
                f"'{one_line(url)}' is no address of a server. Give one such as endpoint:MODEL@http://localhost:8000/v1"
            )
        key = os.environ.get(KEY, "")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(
                f"The environment variable {KEY} holds characters that no HTTP header can hold. Set it to the key alone."
            )
        self.url, self.model, self.question, self.longest = url.rstrip("/"), model, question, longest
        self.at_once, self.timeout, self.patience = max_concurrency, timeout, retry_timeout
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        self._asked = question.written()
        try:
            self._call(
                "/models", None, min(_GREETING, timeout)
            )  # whatever it answers, it listens; not every server lists its models
        except (
            OSError,
            http.client.HTTPException,
            UnicodeError,
        ) as error:  # the last: a host that is no name
            raise PredictionError(
                f"Nothing listens at {self.url} ({_reason(error)}). Start the server first, or correct the address."
            ) from error

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`; the texts are the model's replies.

        Raises:
            PredictionError: the server refuses the request, sends something that is no chat completion, or
                does not answer for longer than our patience.
        """
        with ThreadPoolExecutor(max_workers=self.at_once) as pool:
            replies = list(pool.map(self._reply, faces))
        return parse_responses(replies, self.question)

    def with_question(self, question: Question, /) -> Endpoint:
        """The same model with another question."""
        other = copy.copy(self)
        other.question, other._asked = question, question.written()
        return other

    def _reply(self, face: Face) -> str:
        content = [
            {"type": "image_url", "image_url": {"url": data_url(face)}},
            {"type": "text", "text": self._asked},
        ]
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self.longest,
        }
        body = self._with_retry(request)
        if len(body) > _LARGEST:
            raise self._foreign(body, f"more than {_LARGEST:,} bytes")
        try:
            text = json.loads(body)["choices"][0]["message"].get("content")
        except (
            ValueError,
            RecursionError,
        ):  # not JSON, not UTF-8, nested too deeply, or a number with thousands of digits
            raise self._foreign(body, "no JSON") from None
        except (KeyError, IndexError, TypeError, AttributeError):
            raise self._foreign(body, "no chat completion") from None
        if not isinstance(text, str | None):
            raise self._foreign(body, "no chat completion")
        return encodable(text or "")

    def _foreign(self, body: bytes, what: str) -> PredictionError:
        return PredictionError(
            f"{self.url} answered with {what}: '{_shown(body)}'. Is this the address of an OpenAI-compatible server?"
        )

    def _with_retry(self, request: dict[str, Any]) -> bytes:
        """Ask, and ask again while the server is busy, starting or gone, for as long as our patience lasts;
        returns the reply.
        """
        until, pause = time.monotonic() + self.patience, 0.25
        while True:
            try:
                response = self._call(
                    "/chat/completions", request, min(self.timeout, until - time.monotonic())
                )
                if response.status < 300:
                    return response.body
                reason = one_line(f"{response.status} {response.phrase}")
                if response.status not in _RETRYABLE:
                    raise PredictionError(
                        f"{self.url} refuses the request ({reason}): {_shown(response.body, 300)}"
                    )
            except (OSError, http.client.HTTPException) as error:  # gone, too slow, or cut off within a reply
                reason = _reason(error)
            if time.monotonic() + pause > until:
                waited = f"{self.url} did not answer for {self.patience:.0f} s ({reason})."
                raise PredictionError(
                    f"{waited} What was answered before is stored; the same command goes on from there."
                )
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _call(self, path: str, request: dict[str, Any] | None, seconds: float) -> _Response:
        """One request. Raises OSError (TimeoutError too) or HTTPException where there is no response within
        so many seconds.
        """
        body = None if request is None else json.dumps(request).encode()
        until = time.monotonic() + seconds

        def exchange() -> _Response:
            try:
                response = _OPENER.open(
                    urllib.request.Request(f"{self.url}{path}", body, self._headers), timeout=seconds
                )
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return _Response(response.status, str(response.reason), _read(response, until))

        return _within(seconds, exchange)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and url.isprintable()
        )
    except ValueError:  # a port that is none, brackets without an address
        return False


def _within(seconds: float, call: Callable[[], _Response]) -> _Response:
    """What `call` returns or raises, if it does so in time.

    The timeout of a socket begins anew with every byte. Only a thread that is left to itself bounds a
    connection, its headers and its body together; `_read` ends that thread soon after, and with the process
    it ends in any case.
    """
    ended: queue.SimpleQueue[_Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put(call())
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = ended.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise TimeoutError(f"no complete reply within {seconds:.0f} s") from None
    if isinstance(found, BaseException):
        raise found
    return found


def _read(response: Any, until: float) -> bytes:
    """The first bytes of a body, at most one more than `_LARGEST`. Raises OSError where it is cut off, or not
    over in time.
    """
    body = bytearray()
    while len(body) <= _LARGEST and (chunk := response.read1(_LARGEST + 1 - len(body))):
        body += chunk
        if time.monotonic() > until:
            raise TimeoutError("no complete reply in time")
    if len(body) <= _LARGEST and getattr(response, "length", None):
        raise ConnectionError(f"cut off {response.length} bytes before the end of the reply")
    return bytes(body)


def _shown(body: bytes, longest: int = 200) -> str:
    return one_line(body[: 4 * longest].decode(errors="backslashreplace"), longest)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return one_line(str(getattr(inner, "strerror", None) or inner)) or type(error).__name__
