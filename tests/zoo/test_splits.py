"""Rows that train, rows that are the reference, rows that are scored: never the same sample twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpuworker.core.modalities.batches import row_digests, string_column
from gpuworker.core.protocols import SampleBatch
from gpuworker.zoo.reading import Samples, read_domain
from gpuworker.zoo.splits import Overlap, Rows, require_disjoint, split
from gpuworker.zoo.tasks import discover


def texts(lines: list[str], test: list[bool]) -> Samples:
    batch = SampleBatch("text", len(lines), string_column("text", lines), {"modality": "text", "column": "text"})
    return Samples(batch, np.zeros(len(lines), np.int64), np.array(test), np.arange(len(lines)))


def test_recordings_stay_on_one_side(data: Path) -> None:
    steps = next(task for task in discover(data).tasks if task.name == "steps_wrist")
    domains = [read_domain(steps, domain) for domain in steps.domains]
    for samples, rows in zip(domains, split(domains, 3), strict=True):
        sides = [set(samples.recordings[part].tolist()) for part in (rows.train, rows.reference, rows.score)]
        assert all(sides) and not sides[0] & sides[1] and not (sides[0] | sides[1]) & sides[2]


def test_a_sample_that_stands_twice_is_kept_on_one_side() -> None:
    # "same" stands among the rows to train on of both domains and among the rows to score.
    one = texts(["same", *(f"a{i}" for i in range(20)), "same"], [False] * 21 + [True])
    other = texts(["same", *(f"b{i}" for i in range(20)), "b21"], [False] * 21 + [True])
    for seed in range(8):
        rows = split([one, other], seed)
        digests = [row_digests(samples.batch) for samples in (one, other)]
        sides = {
            name: [digests[d][row] for d, part in enumerate(rows) for row in getattr(part, name)]
            for name in ("train", "reference", "score")
        }
        same = digests[0][0]
        assert sum(same in side for side in sides.values()) == 1
        assert same not in sides["score"]
        assert digests[1][21] in sides["score"]


def test_the_guard_sees_an_overlap_across_domains() -> None:
    digests = [[b"a", b"b", b"c"], [b"d", b"b"]]
    none = np.zeros(0, np.int64)
    fine = [Rows(np.array([0]), np.array([1]), np.array([2])), Rows(none, none, np.array([0]))]
    require_disjoint(digests, fine)
    broken = [fine[0], Rows(none, none, np.array([0, 1]))]  # b is a reference row of the first domain
    with pytest.raises(Overlap, match="1 samples stand in both reference and score"):
        require_disjoint(digests, broken)


def test_seeds_draw_other_rows_but_score_the_same() -> None:
    samples = [texts([f"{name}{i}" for i in range(60)], [i % 3 == 0 for i in range(60)]) for name in "xy"]
    first, again, other = (split(samples, seed) for seed in (0, 0, 1))
    assert (first[0].train == again[0].train).all()
    assert not np.array_equal(first[0].train, other[0].train)
    assert (first[0].score == other[0].score).all()
    assert len(first[0].reference) == pytest.approx(0.3 * 40, abs=1)
