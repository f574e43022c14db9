"""Endpoints, with a small OpenAI-compatible server on loopback."""

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fakes import toy_faces
from PIL import Image

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.endpoint import KEY, Endpoint, parse_responses
from fer_models.emotions import EMOTIONS
from fer_models.errors import PredictionError, UsageError
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

QUESTION = questions.load("one-word")


class Server:
    """Answers each request by `say`, counts the requests and keeps the last one."""

    def __init__(self, say, port=0):
        outer = self
        self.n_requests, self.requests, self.headers = 0, [], []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(200, {"data": []})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.n_requests += 1
                outer.requests.append(request)
                outer.headers.append(dict(self.headers))
                self.reply(*say(request, outer.n_requests))

            def reply(self, code, body, headers=()):
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port, self.url = (
            self.http.server_address[1],
            f"http://127.0.0.1:{self.http.server_address[1]}/v1",
        )
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def says(text):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


def brightness(request):
    data = request["messages"][0]["content"][0]["image_url"]["url"].split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).mean()


def test_each_face_is_sent_unchanged_and_replies_keep_their_order():
    faces = [np.full((48, 48, 3), 20 * i, dtype=np.uint8) for i in range(7)]
    with Server(
        lambda request, n: says(f"It looks {EMOTIONS[round(brightness(request) / 20)].label}.")
    ) as server:
        predictions = Endpoint(server.url, "some/model", QUESTION).predict(faces)
        assert predictions.answer.tolist() == list(range(7))
        assert predictions.text[3] == "It looks happy."
        assert (predictions.probabilities.max(axis=1) == 1).all()
        request = server.requests[0]
        assert (request["model"], request["temperature"]) == ("some/model", 0)
        assert request["messages"][0]["content"][1]["text"] == QUESTION.render()
        assert "Authorization" not in server.headers[0]


def test_a_reply_without_a_prediction_has_its_reason_and_keeps_its_text():
    predictions = parse_responses(["", "I cannot help with that.", "sad or happy", "a face", "Sad"], QUESTION)
    assert predictions.status == ("empty", "refused", "ambiguous", "no emotion named", "ok")
    assert predictions.answer.tolist() == [-1, -1, -1, -1, 4]
    assert predictions.text[1] == "I cannot help with that."


def test_letters_are_parsed_in_the_order_of_the_options():
    lettered = questions.load("multiple-choice")
    reversed_order = questions.Question("turned", lettered.text, True, order=EMOTIONS[::-1])
    assert parse_responses(["A", "(G)"], lettered).answer.tolist() == [0, 6]
    assert parse_responses(["A", "(G)"], reversed_order).answer.tolist() == [6, 0]
    assert "A. neutral\nB. surprise" in reversed_order.render()


@pytest.mark.slow
def test_a_request_to_a_busy_server_is_repeated():
    with Server(lambda request, n: (503, b"loading") if n % 3 else says("happy")) as server:
        predictions = Endpoint(server.url, "m", QUESTION, max_concurrency=1).predict(
            toy_faces(4).faces(range(4))
        )
        assert predictions.answer.tolist() == [3, 3, 3, 3]
        assert server.n_requests == 12


def test_a_server_that_is_killed_and_started_again_costs_no_prediction():
    faces = toy_faces(14).faces(range(14))
    reached, released = threading.Event(), threading.Event()

    def reply(request, n):
        if n == 4:
            reached.set()
            released.wait(30)
        return says("happy")

    first = Server(reply)
    model = Endpoint(first.url, "m", QUESTION, max_concurrency=1)
    predictions = []
    worker = threading.Thread(
        target=lambda: predictions.append([model.predict([face]).answer[0] for face in faces])
    )
    worker.start()
    assert reached.wait(30)
    first.__exit__()
    released.set()
    time.sleep(0.5)
    with Server(lambda request, n: says("sad"), first.port):
        worker.join(timeout=60)
    assert len(predictions[0]) == 14
    assert set(predictions[0]) == {3, 4}


def test_a_server_that_stays_away_is_an_error_of_one_line():
    server = Server(lambda request, n: (503, b"no"))
    with server:
        model = Endpoint(server.url, "m", QUESTION, retry_timeout=0.6)
        with pytest.raises(PredictionError, match=r"did not respond for 1 s \(503 .*continues from there"):
            model.predict(toy_faces(1).faces([0]))


def test_a_server_that_does_not_listen_is_an_error_of_one_line():
    with Server(lambda request, n: says("")) as server:
        url = server.url
    with pytest.raises(PredictionError, match="Nothing listens at") as caught:
        Endpoint(url, "m", QUESTION)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, b'{"error": "no such model"}'), "404 .*no such model"),
        ((401, b"key?"), "401"),
        ((200, b'{"choices": []}'), "no chat completion"),
        ((200, b"[]"), "no chat completion"),
    ],
)
def test_a_server_that_refuses_is_quoted(answer, message):
    with Server(lambda request, n: answer) as server, pytest.raises(PredictionError, match=message):
        Endpoint(server.url, "m", QUESTION, retry_timeout=0.5).predict(toy_faces(1).faces([0]))


def test_a_key_comes_from_its_own_variable_and_goes_to_no_other_address(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "never")
    monkeypatch.setenv(KEY, "mine")
    with (
        Server(lambda request, n: says("sad")) as other,
        Server(lambda request, n: (302, b"", {"Location": f"{other.url}/x"})) as server,
    ):
        with pytest.raises(PredictionError, match="302"):
            Endpoint(server.url, "m", QUESTION).predict(toy_faces(1).faces([0]))
        assert server.headers[0]["Authorization"] == "Bearer mine"
        assert other.n_requests == 0


def test_an_endpoint_is_a_model_like_any_other():
    with Server(lambda request, n: says("fear")) as server:
        spec = resolve.resolve_model(f"endpoint:some/model@{server.url}", models.MODELS)
        assert spec.prompt == "one-word"
        assert spec.load(Runtime()).predict(toy_faces(2).faces(range(2))).answer.tolist() == [2, 2]
        other = spec.with_question(questions.load("described"))
        assert other.identity(Runtime()) != spec.identity(Runtime())
        assert "wrinkled nose" in other.settings["question"]["text"]


@pytest.mark.parametrize("name", ["endpoint:model", "endpoint:@http://localhost/v1"])
def test_an_endpoint_without_a_model_or_a_server_is_refused(name):
    with pytest.raises(UsageError, match="endpoint:MODEL@URL"):
        resolve.resolve_model(name, models.MODELS)
    with pytest.raises(UsageError, match="no address"):
        Endpoint("file:///etc/passwd", "m", QUESTION)


def test_a_face_that_a_server_refuses_has_no_prediction_and_costs_no_other():
    faces = [np.full((48, 48, 3), 20 * i, dtype=np.uint8) for i in range(4)]
    refuse = lambda request, n: (400, b"filtered") if brightness(request) == 20 else says("sad")  # noqa: E731
    with Server(refuse) as server:
        model = Endpoint(server.url, "m", QUESTION)
        predictions = model.predict(faces)
        assert predictions.status == ("ok", "refused by the server", "ok", "ok")
        assert model.predict(faces[1:2]).status == ("refused by the server",)


def test_a_server_that_refuses_every_face_is_an_error():
    with Server(lambda request, n: (400, b"no such format")) as server:
        model = Endpoint(server.url, "m", QUESTION)
        with pytest.raises(PredictionError, match=r"400 .*no such format"):
            model.predict(toy_faces(3).faces(range(3)))


def test_a_busy_server_gets_the_pause_that_it_wants():
    times = []

    def busy(request, n):
        times.append(time.monotonic())
        return (429, b"slowly", {"Retry-After": "1"}) if n == 1 else says("sad")

    with Server(busy) as server:
        Endpoint(server.url, "m", QUESTION).predict(toy_faces(1).faces([0]))
    assert times[1] - times[0] >= 1


def test_a_server_on_this_machine_is_reached_without_a_proxy(monkeypatch):
    with Server(lambda request, n: says("sad")) as proxy, Server(lambda request, n: says("happy")) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert Endpoint(server.url, "m", QUESTION).predict(toy_faces(1).faces([0])).answer.tolist() == [3]
        assert proxy.n_requests == 0


def test_a_key_in_an_address_is_refused_and_not_repeated():
    for make in (lambda url: Endpoint(url, "m", QUESTION), lambda url: resolve_endpoint(url)):
        with pytest.raises(UsageError, match=KEY) as caught:
            make("https://user:secret@example.org/v1")
        assert "secret" not in str(caught.value)


def resolve_endpoint(url):
    return resolve.resolve_model(f"endpoint:m@{url}", models.MODELS)


def test_a_pause_that_is_too_long_ends_the_run_with_its_length():
    with Server(lambda request, n: (429, b"later", {"Retry-After": "3600"})) as server:
        model = Endpoint(server.url, "m", QUESTION)
        with pytest.raises(PredictionError, match=r"requests a pause of 3600 s .*predictions are stored"):
            model.predict(toy_faces(1).faces([0]))
