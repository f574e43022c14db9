"""Models behind an OpenAI-compatible server (vLLM, Ollama, `transformers serve`, …), one face per request.

The server decides which weights are used, so a stored prediction is identified by the server's address, the
model's name there, and the question.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import ipaddress
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
from fer_models.classifiers.vlm.base import MAX_REPLY_TOKENS, parse_responses
from fer_models.classifiers.vlm.questions import Question
from fer_models.errors import PredictionError, UsageError, encodable, one_line
from fer_models.images import Face, data_url

#: The environment variable with the key of a server, and the only source of one. It is not OPENAI_API_KEY:
#: that must not be sent to any address.
KEY = "FER_MODELS_ENDPOINT_KEY"
#: HTTP statuses of a server that is busy or starting: the request is repeated.
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
#: HTTP statuses with which a server that replies to other requests refuses the content of one.
_REFUSED = frozenset({400, 413, 422})
#: The status of a face that the server refuses.
REFUSED = "refused by the server"
#: What to do about a request that a server refuses.
_ADVICE = {
    **dict.fromkeys((401, 403), f". Set the key of the server in the environment variable {KEY}."),
    404: ". Check the address and the name of the model.",
}
#: The most bytes that are read of a response: a chat completion of a few dozen tokens has some hundred.
_MAX_BODY = 1_000_000
#: Seconds in which a server must accept the first connection.
_CONNECT_TIMEOUT = 10.0
#: The longest pause between two requests for a face, in seconds, unless the server wants a longer one.
_LONGEST_PAUSE = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: a key and a face must not be sent to an address that nobody named."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


class _Response(NamedTuple):
    """HTTP response of any status, with at most one byte more than `_MAX_BODY` of its body.

    `retry_after` is the header of this name, in seconds; 0 without one.
    """

    status: int
    phrase: str
    body: bytes
    retry_after: float


class _RefusedError(PredictionError):
    """The server refuses the request for a single face, for example because of a content filter."""


class Endpoint:
    """Classifier around one model on one server."""

    device = "server"

    def __init__(
        self,
        url: str,
        model: str,
        question: Question,
        *,
        max_concurrency: int = 8,
        timeout: float = 120.0,
        retry_timeout: float = 180.0,
        longest: int = MAX_REPLY_TOKENS,
    ) -> None:
        """Connect once, to check that a server listens.

        Args:
            url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
            model: the model's name on the server.
            question: the question about each face.
            max_concurrency: the number of requests at the same time.
            timeout: seconds for one request, from the connection to the last byte of the response.
            retry_timeout: seconds for one face, in which a request is repeated while the server is busy,
                starting or gone.
            longest: the largest number of tokens of a reply.

        Raises:
            UsageError: not an http address, or a key that no header can hold.
            PredictionError: nothing listens there.
        """
        if not _is_address(url):
            raise UsageError(
                f"'{one_line(url)}' is no address of a server. "
                "Give one such as endpoint:MODEL@http://localhost:8000/v1"
            )
        require_no_credentials(url)
        key = os.environ.get(KEY, "")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(
                f"The environment variable {KEY} holds characters that no HTTP header can hold. "
                "Set it to the key alone."
            )
        self.url, self.model, self.question, self.longest = url.rstrip("/"), model, question, longest
        self.max_concurrency, self.timeout, self.retry_timeout = max_concurrency, timeout, retry_timeout
        self._key = key
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        self._prompt, self._has_replied = question.render(), False
        handlers = [urllib.request.ProxyHandler({})] if _is_local(url) else []
        self._opener = urllib.request.build_opener(_NoRedirect, *handlers)
        try:
            # Any response shows that it listens; not every server lists its models.
            self._call("/models", None, min(_CONNECT_TIMEOUT, timeout))
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # UnicodeError: an invalid host
            raise PredictionError(
                f"Nothing listens at {self.url} ({_reason(error)}). "
                "Start the server first, or correct the address."
            ) from error

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`; the texts are the model's replies.

        A face that a server refuses has no prediction, if the server replies to others.

        Raises:
            PredictionError: the server refuses the request, sends something that is no chat completion, or
                does not respond within `retry_timeout`.
        """
        with ThreadPoolExecutor(max_workers=self.max_concurrency) as pool:
            replies = list(pool.map(self._reply_or_refusal, faces))
        refusals = {i: reply for i, reply in enumerate(replies) if isinstance(reply, _RefusedError)}
        self._has_replied = self._has_replied or len(refusals) < len(replies)
        if refusals and not self._has_replied:  # it may refuse all of them: another model, another format
            raise next(iter(refusals.values()))
        texts = ["" if isinstance(reply, _RefusedError) else reply for reply in replies]
        return parse_responses(texts, self.question, dict.fromkeys(refusals, REFUSED))

    def with_question(self, question: Question, /) -> Endpoint:
        """The same model with another question."""
        other = copy.copy(self)
        other.question, other._prompt = question, question.render()
        return other

    def _reply_or_refusal(self, face: Face) -> str | _RefusedError:
        try:
            return self._reply(face)
        except _RefusedError as error:
            return error

    def _reply(self, face: Face) -> str:
        content = [
            {"type": "image_url", "image_url": {"url": data_url(face)}},
            {"type": "text", "text": self._prompt},
        ]
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self.longest,
        }
        body = self._with_retry(request)
        if len(body) > _MAX_BODY:
            raise self._unexpected(body, f"more than {_MAX_BODY:,} bytes")
        try:
            text = json.loads(body)["choices"][0]["message"].get("content")
        except (ValueError, RecursionError):  # no JSON or UTF-8, too deep, or a number of thousands of digits
            raise self._unexpected(body, "no JSON") from None
        except (KeyError, IndexError, TypeError, AttributeError):
            raise self._unexpected(body, "no chat completion") from None
        if not isinstance(text, str | None):
            raise self._unexpected(body, "no chat completion")
        return encodable(text or "")

    def _unexpected(self, body: bytes, content: str) -> PredictionError:
        return PredictionError(
            f"{self.url} answered with {content}: '{self._excerpt(body)}'. "
            "Is this the address of an OpenAI-compatible server?"
        )

    def _excerpt(self, body: bytes, longest: int = 200) -> str:
        """The start of a response, without the key, which some servers repeat."""
        text = body[: 4 * longest].decode(errors="backslashreplace")
        return one_line(text.replace(self._key, "***") if self._key else text, longest)

    def _with_retry(self, request: dict[str, Any]) -> bytes:
        """Send a request, again while the server is busy, starting or gone; return the response's body."""
        until, pause = time.monotonic() + self.retry_timeout, 0.25
        while True:
            try:
                response = self._call(
                    "/chat/completions", request, min(self.timeout, until - time.monotonic())
                )
                if response.status < 300:
                    return response.body
                reason = self._excerpt(f"{response.status} {response.phrase}".encode())
                pause = max(pause, response.retry_after)
                if pause > self.retry_timeout:
                    raise PredictionError(
                        f"{self.url} requests a pause of {pause:.0f} s ({reason}). Run the same command "
                        "again after it: earlier predictions are stored."
                    )
                if response.status not in _RETRYABLE:
                    kind = _RefusedError if response.status in _REFUSED else PredictionError
                    raise kind(
                        f"{self.url} refuses the request ({reason}): {self._excerpt(response.body, 300)}"
                        f"{_ADVICE.get(response.status, '')}"
                    )
            except (OSError, http.client.HTTPException) as error:  # gone, too slow, or cut off within a reply
                reason = _reason(error)
            if time.monotonic() + pause > until:
                waited = f"{self.url} did not respond for {self.retry_timeout:.0f} s ({reason})."
                raise PredictionError(
                    f"{waited} Earlier predictions are stored; the same command continues from there."
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _call(self, path: str, request: dict[str, Any] | None, seconds: float) -> _Response:
        """Send one request.

        Raises:
            OSError, HTTPException: there is no response within so many seconds (TimeoutError is an OSError).
        """
        body = None if request is None else json.dumps(request).encode()
        until = time.monotonic() + seconds

        def exchange() -> _Response:
            try:
                response = self._opener.open(
                    urllib.request.Request(f"{self.url}{path}", body, self._headers), timeout=seconds
                )
            except urllib.error.HTTPError as error:
                response = error
            with response:
                wait = _seconds(response.headers.get("Retry-After"))
                return _Response(response.status, str(response.reason), _read(response, until), wait)

        return _call_within(seconds, exchange)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and url.isprintable()
        )
    except ValueError:  # an invalid port, brackets without an address
        return False


def require_no_credentials(url: str) -> None:
    """Refuse an address with credentials, which reports would show.

    Raises:
        UsageError: it has some.
    """
    if "@" in url:
        raise UsageError(
            "The address of a server must not contain a user name or a key: reports show it. "
            f"Set the key in the environment variable {KEY}."
        )


def _is_local(url: str) -> bool:
    """Whether an address is of this machine: a proxy must not get its faces and its key."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _seconds(text: str | None) -> float:
    """The value of a header `Retry-After` in seconds; 0 for a date, or none."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 6 else 0.0


def _call_within(seconds: float, call: Callable[[], _Response]) -> _Response:
    """Return or raise what `call` does, or raise TimeoutError after so many seconds.

    The timeout of a socket begins anew with every byte. Only a separate thread bounds a connection, its
    headers and its body together; `_read` ends that thread soon after, and it ends with the process in any
    case.
    """
    outcomes: queue.SimpleQueue[_Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put(call())
        except BaseException as error:
            outcomes.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise TimeoutError(f"no complete reply within {seconds:.0f} s") from None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _read(response: Any, until: float) -> bytes:
    """Read the first bytes of a body, at most one more than `_MAX_BODY`.

    Raises:
        OSError: it is cut off, or it does not end in time.
    """
    body = bytearray()
    while len(body) <= _MAX_BODY and (chunk := response.read1(_MAX_BODY + 1 - len(body))):
        body += chunk
        if time.monotonic() > until:
            raise TimeoutError("no complete reply in time")
    if len(body) <= _MAX_BODY and getattr(response, "length", None):
        raise ConnectionError(f"cut off {response.length} bytes before the end of the reply")
    return bytes(body)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return one_line(str(getattr(inner, "strerror", None) or inner)) or type(error).__name__
