"""A clock that stands still while others compute."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from unweave.engine import clock
from unweave.engine.clock import idle_seconds


def test_what_the_thread_waited_for_a_processor_is_taken_off(monkeypatch, tmp_path):
    said = tmp_path / "schedstat"
    monkeypatch.setattr(clock, "_WAITED", said)
    monkeypatch.setattr(time, "perf_counter", lambda: 100.0)
    said.write_text("123 7500000000 4\n")
    assert idle_seconds() == pytest.approx(92.5)
    for nothing in ("", "12", "a b c"):
        said.write_text(nothing)
        assert idle_seconds() == 100.0
    said.unlink()
    assert idle_seconds() == 100.0


def test_it_goes_at_least_as_far_as_the_processor_was_used():
    if not Path("/proc/thread-self/schedstat").exists():
        pytest.skip("waiting is read from /proc")
    start, used = idle_seconds(), time.thread_time()
    while time.thread_time() - used < 0.05:
        sum(range(1000))
    assert idle_seconds() - start >= 0.05 - 1e-3  # the two clocks are read one after the other
