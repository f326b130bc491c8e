"""Clock and pace: what asking takes, and how fast the machine is."""

from __future__ import annotations

import time

import pytest

from gpuworker.core.engine.clock import Pace, clock_of, steady, tick_of


def test_the_typical_pace_makes_up_for_runs_in_slow_moments() -> None:
    seconds, pace = steady([1.0, 2.0, 2.0, 1.0, 2.0], [0.1, 0.2, 0.2, 0.1, 0.2])
    assert seconds == 2.0
    assert pace == pytest.approx(0.2), "at the pace of 0.1 it takes half of it"


def test_nothing_at_all_has_a_length_and_a_pace() -> None:
    seconds, pace = steady([-1e-9, 0.0, 0.0], [1e-5, 1e-5, 1e-5])
    assert seconds > 0 and pace > 0


def test_a_pace_is_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    pace = Pace("cpu")
    first = pace.recent()
    assert 0 < first < 0.1
    pace._last = 123.0
    assert pace.recent() == 123.0
    now[0] += 1.0
    assert pace.recent() < 0.1


def test_a_gpu_has_no_pace_but_its_own() -> None:
    assert Pace("cuda").now() == Pace("cuda:1").recent() == 1.0


def test_asking_the_clock_takes_next_to_nothing() -> None:
    assert 0 <= tick_of(clock_of("cpu")) < 1e-3
