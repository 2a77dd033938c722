"""Memory is handed back while something compiles, and only then."""

import threading
import time

import pytest
import tensorflow as tf

from recsys_po_rl.simulation import memory


@pytest.fixture
def trims(monkeypatch):
    """The calls that hand memory back."""
    calls = []
    monkeypatch.setattr(memory, "_trim", calls.append)
    monkeypatch.setattr(memory, "SECONDS_BETWEEN", 0.005)
    return calls


def test_memory_is_returned_until_the_block_ends(trims):
    with memory.freed_memory_returned():
        deadline = time.monotonic() + 10.0
        while len(trims) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert len(trims) >= 4  # the last at the end
    after = len(trims)
    time.sleep(0.05)
    assert len(trims) == after
    assert "freed memory returned" not in {thread.name for thread in threading.enumerate()}


def test_the_thread_ends_with_an_error(trims):
    with pytest.raises(ValueError, match="inside"), memory.freed_memory_returned():
        raise ValueError("inside")
    assert trims
    assert "freed memory returned" not in {thread.name for thread in threading.enumerate()}


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_trim", None)
    with memory.freed_memory_returned():
        assert "freed memory returned" not in {thread.name for thread in threading.enumerate()}


def test_another_c_library_has_no_trim(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory._glibc_trim() is None


def test_the_first_call_outside_of_a_graph_alone_returns_memory(trims):
    doubled = memory.LeanFirstCall(tf.function(lambda number: number * 2))

    @tf.function
    def around(number):
        return doubled(number) + 1

    assert int(around(tf.constant(3))) == 7
    assert not trims
    assert int(doubled(tf.constant(4))) == 8
    assert trims
    before = len(trims)
    assert int(doubled(tf.constant(5))) == 10
    assert len(trims) == before
    assert doubled.experimental_get_tracing_count() == 1
