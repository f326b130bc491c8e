"""When a model is too good to be true on somebody else's probes."""

from __future__ import annotations

import pytest

from gpuworker.core.probesets.alarms import excess


def test_a_model_trained_on_the_probes_is_seen() -> None:
    found = excess(198, 200, best_peer=0.82, peers=6)
    assert found is not None
    assert found.accuracy == 0.99 and found.plausible == pytest.approx(0.91)
    assert found.plausible < found.low < found.accuracy


@pytest.mark.parametrize(
    ("correct", "judged", "best_peer", "peers"),
    [
        (170, 200, 0.82, 6),  # a little better than the best
        (184, 200, 0.82, 6),  # better, but chance could do it
        (200, 200, 0.97, 6),  # the best is nearly perfect itself: nothing can be told
        (198, 200, 0.82, 2),  # too few to compare with
        (40, 40, 0.5, 6),  # too few rows
        (20, 200, 0.82, 6),  # worse than all
    ],
)
def test_what_is_plausible_is_not_accused(correct: int, judged: int, best_peer: float, peers: int) -> None:
    assert excess(correct, judged, best_peer=best_peer, peers=peers) is None


def test_the_lower_limit_is_wilsons() -> None:
    found = excess(100, 100, best_peer=0.0, peers=3)
    assert found is not None and found.low == pytest.approx(100 / 109, abs=1e-9)
