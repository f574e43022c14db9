"""Addresses, keys and names of endpoints that cannot be used: each is refused in a sentence."""

import os

import pytest
from guards import assert_sentence, no_hang

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.endpoint import KEY, Endpoint
from fer_models.errors import FerModelsError, PredictionError, UsageError
from fer_models.zoo import models, resolve

QUESTION = questions.load("one-word")
URLS = [
    *(
        "",
        "localhost",
        "localhost:8000",
        "ftp://localhost",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:/localhost",
        "http://",
        "https://",
    ),
    *(
        "http://:8000",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:-1",
        "http://localhost:abc",
        "http://[::1",
        "http://]",
    ),
    *(
        "http://localhost:" + "1" * 5000,
        "http://local\nhost",
        "http://local\x00host",
        "\ud83d",
        "HTTP//localhost",
    ),
]


@pytest.mark.parametrize("url", URLS)
def test_an_invalid_address_is_refused_before_anything_is_sent(url):
    with no_hang(), pytest.raises(UsageError, match="is no address of a server") as caught:
        Endpoint(url, "m", QUESTION)
    assert_sentence(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/v1",
        "http://nowhere.invalid/v1",
        "http://" + "a" * 64 + ".invalid/",
        "http://" + "a." * 60 + "invalid/",
        "https://127.0.0.1:1/",
    ],
)
def test_an_address_where_nobody_listens_is_a_sentence(url):
    with no_hang(), pytest.raises(PredictionError, match="Nothing listens") as caught:
        Endpoint(url, "m", QUESTION, timeout=3)
    assert_sentence(caught.value)


@pytest.mark.parametrize("key", ["line\nbreak", "caf\u00e9", "\x1b", "tab\t", "carriage\rreturn: x"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key, monkeypatch):
    monkeypatch.setitem(os.environ, KEY, key)
    with pytest.raises(UsageError, match=KEY) as caught:
        Endpoint("http://127.0.0.1:1/v1", "m", QUESTION)
    assert key not in str(caught.value)
    assert_sentence(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "endpoint:",
        "endpoint:m",
        "endpoint:@http://localhost",
        "endpoint:m@",
        "endpoint:m@http://" + "a" * 300,
        "endpoint:" + "m" * 5000 + "@http://x",
    ],
)
def test_an_invalid_name_of_an_endpoint_is_a_sentence(name):
    from fer_models.zoo.spec import Runtime

    with no_hang(), pytest.raises(FerModelsError) as caught:
        resolve.resolve_model(name, models.MODELS).load(Runtime())
    assert_sentence(caught.value)
