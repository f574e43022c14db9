"""Guards of tests that damage stores."""

import signal

import pytest

from fer_models.store import partition as stores


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "SHARD", 16)


@pytest.fixture
def hang_guard():
    """An alarm ends a case that hangs."""

    def too_long(*args):
        raise TimeoutError("this case takes longer than 120 s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
