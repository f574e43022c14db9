"""A model behind an OpenAI-compatible server (vLLM, Ollama, `transformers serve`, …), asked about one face per request.

The server decides which weights answer; what is stored is known by its address, the model's name there, and the question.
"""

from __future__ import annotations

import copy
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.interview import LONGEST, read_all
from fer_models.classifiers.questions import Question
from fer_models.errors import PredictionError, UsageError
from fer_models.images import Face, data_url

#: Where the key for a server that wants one is taken from, and from nowhere else. Not OPENAI_API_KEY: that must not travel to any address.
KEY = "FER_MODELS_ENDPOINT_KEY"
#: What a server answers when it is busy or starting: worth another try.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
#: The largest answer that is read, in bytes.
_LARGEST = 10_000_000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key and a face must not travel to an address that nobody named."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


class Endpoint:
    """One model on one server."""

    def __init__(
        self, url: str, model: str, question: Question, *, at_once: int = 8, timeout: float = 120.0, patience: float = 180.0, longest: int = LONGEST
    ) -> None:
        """Look whether something listens.

        Args:
            url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
            at_once: requests under way at the same time.
            timeout: seconds for one request. patience: seconds for which a face is asked again while the server does not answer.
            longest: tokens of an answer.

        Raises:
            UsageError: not an http address.
            PredictionError: nothing listens there.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no address of a server. Give one such as endpoint:MODEL@http://localhost:8000/v1")
        self.url, self.model, self.question, self.longest = url.rstrip("/"), model, question, longest
        self.at_once, self.timeout, self.patience = at_once, timeout, patience
        self._asked = question.written()
        try:
            self._call("/models", None, timeout=10)
        except urllib.error.HTTPError:
            pass  # it listens; not every server lists its models
        except OSError as error:
            raise PredictionError(f"Nothing listens at {self.url} ({_reason(error)}). Start the server first, or correct the address.") from error

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`; the texts are the model's replies.

        Raises:
            PredictionError: the server refuses the request, or does not answer for longer than our patience.
        """
        with ThreadPoolExecutor(max_workers=self.at_once) as pool:
            replies = list(pool.map(self._reply, faces))
        return read_all(replies, self.question)

    def asked(self, question: Question, /) -> Endpoint:
        """The same model with another question."""
        other = copy.copy(self)
        other.question, other._asked = question, question.written()
        return other

    def _reply(self, face: Face) -> str:
        content = [{"type": "image_url", "image_url": {"url": data_url(face)}}, {"type": "text", "text": self._asked}]
        request = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": self.longest}
        said = self._patiently(request)
        try:
            return str(said["choices"][0]["message"].get("content") or "")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise PredictionError(f"{self.url} answered {json.dumps(said)[:200]}, which is no chat completion. Is it OpenAI-compatible?") from error

    def _patiently(self, request: dict[str, Any]) -> Any:
        """Ask, and ask again while the server is busy, starting or gone, for as long as our patience lasts."""
        until, pause = time.monotonic() + self.patience, 0.25
        while True:
            try:
                return self._call("/chat/completions", request, self.timeout)
            except urllib.error.HTTPError as error:
                told = error.read(2000).decode(errors="replace")
                if error.code not in _PASSING:
                    raise PredictionError(f"{self.url} refuses the request ({error.code} {error.reason}): {' '.join(told.split())[:300]}") from error
                reason = f"{error.code} {error.reason}"
            except (OSError, ValueError) as error:  # gone, too slow, or cut off within an answer
                reason = _reason(error)
            if time.monotonic() + pause > until:
                waited = f"{self.url} did not answer for {self.patience:.0f} s ({reason})."
                raise PredictionError(f"{waited} What was answered before is stored; the same command goes on from there.")
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _call(self, path: str, request: dict[str, Any] | None, timeout: float) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        body = None if request is None else json.dumps(request).encode()
        with _OPENER.open(urllib.request.Request(f"{self.url}{path}", body, headers), timeout=timeout) as response:
            return json.loads(response.read(_LARGEST))


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)
