"""The adapter for servers, against `transformers serve` with a small model on loopback: killed and started
again in the middle of a run.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from chats import llava
from fakes import run, toy_faces

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.endpoint import Endpoint
from fer_models.errors import PredictionError

needed = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(needed),
        reason=f"transformers serve needs {', '.join(needed)}: pip install 'transformers[serving]'",
    ),
]

QUESTION = questions.load("one-word")


class Server:
    """`transformers serve` as a process of its own, which can be killed as a crash would kill it."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url, self.process = folder, f"http://127.0.0.1:{self.port}/v1", None

    def start(self):
        command = [
            sys.executable,
            "-m",
            "transformers.cli.transformers",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--device",
            "cpu",
        ]
        (cache := self.folder / "cache").mkdir(
            exist_ok=True
        )  # it lists what lies there, and fails where there is no such folder
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
        self.process = subprocess.Popen(
            [*command, str(self.folder)], env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self, seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=2):
                    return
            except OSError:
                assert self.process.poll() is None, "the server ended by itself"
                time.sleep(0.3)
        pytest.fail("the server did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(llava(tmp_path_factory.mktemp("served")))
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def test_a_hundred_faces_are_predicted_though_the_server_is_killed_and_started_again(server, tmp_path):
    faces, batch_sizes = toy_faces(100), []
    model = Endpoint(server.url, str(server.folder), QUESTION, longest=4, retry_timeout=120)
    undisturbed = model.predict(faces.faces(range(12)))

    def crash():
        server.kill()
        time.sleep(1)
        server.start()

    def kill_server_after_40(n):
        batch_sizes.append(n)
        if sum(batch_sizes) == 40:
            threading.Thread(target=crash).start()

    done = run(tmp_path, faces, model, progress=kill_server_after_40)
    assert len(done.predictions) == 100
    assert any(done.predictions.text)
    by_face = dict(zip(done.predictions.faces, done.predictions.text, strict=True))
    assert tuple(by_face[faces.hashes[i]] for i in range(12)) == undisturbed.text
    server.wait()


def test_a_server_that_does_not_listen_is_an_error_of_one_line(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PredictionError, match="Nothing listens at") as caught:
        Endpoint(f"http://127.0.0.1:{port}/v1", "any", QUESTION)
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_refused_with_the_servers_message(server):
    with pytest.raises(PredictionError, match="refuses the request"):
        Endpoint(server.url, "no/such-model", QUESTION, retry_timeout=5).predict(toy_faces(1).faces([0]))
