"""The cost model: what it learns, where it stops trusting itself, and that it can be stored."""

from __future__ import annotations

import json
import random

import pytest

from gpuworker.core.engine.calibrate import KINDS, Deck, siblings, timed
from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.cost import CostModel, Observation, fit
from gpuworker.core.engine.estimate import work
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.operators import CONV, LINEAR
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.work import AMOUNTS, in_lanes, work_of
from tests.core.engine.running import TEMPLATES


def _rows(count: int = 60) -> list[Observation]:
    """Products that take 2 microseconds a thousand multiply-adds and 1 a thousand elements written, 5 at least; exact."""
    source, rows = random.Random(0), []  # noqa: S311
    for _ in range(count):
        flops, read, written, weights = (10 ** source.uniform(3, 6) for _ in range(4))
        rows.append(Observation((("gemm", (flops, read, written, weights, 0.0), 1),), max(5e-3, 2e-6 * flops + 1e-6 * written)))
    return rows


def test_it_finds_the_amounts_that_count() -> None:
    model = fit("cpu", _rows())
    names = {name for term, _ in model.curves["gemm"].terms for name in term}
    assert {"flops", "written"} <= names
    for entries, ms, *_ in _rows(100)[60:]:
        assert model.ms([entries], 0.0)[0] == pytest.approx(ms, rel=0.2)


def test_prediction_never_falls_when_work_grows() -> None:
    model = fit("cpu", _rows())
    last = 0.0
    for size in (1e2, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10):
        ms, _ = model.ms([[("gemm", (size, size, size, size, 0.0), 1)]], 0.0)
        assert ms >= last
        last = ms


def test_beyond_what_was_measured_it_grows_in_proportion() -> None:
    model = fit("cpu", _rows())
    inside, _ = model.ms([[("gemm", (1e6,) * 5, 1)]], 0.0)
    outside, _ = model.ms([[("gemm", (1e8,) * 5, 1)]], 0.0)
    assert outside == pytest.approx(100 * inside, rel=0.05)


def test_what_costs_little_may_grow_far_beyond_what_was_measured() -> None:
    model = fit("cpu", _rows())
    few, _ = model.ms([[("gemm", (1e6, 1e6, 1e6, 1e6, 0.0), 1)]], 0.0)
    many, _ = model.ms([[("gemm", (1e6, 1e6, 1e6, 1e7, 0.0), 1)]], 0.0)
    assert many < 1.5 * few


def test_nothing_computes_faster_than_the_fastest_call_seen() -> None:
    rows = [Observation((("gemm", (1e6, 1e3, size, 1e3, 0.0), 1),), 1e-5 * size) for size in (1e4, 2e4, 4e4)]
    ms, _ = fit("cpu", rows).ms([[("gemm", (1e9, 1e3, 1e4, 1e3, 0.0), 1)]], 0.0)
    assert ms == pytest.approx(100.0)


def test_a_class_never_measured_has_a_cost_and_a_wide_interval() -> None:
    ms, variance = CostModel("cpu").ms([[("norm", (1e6, 1e4), 1)]], 0.0)
    assert ms > 0
    assert variance**0.5 >= ms


def test_what_a_fused_call_does_after_its_layer_is_not_counted_twice() -> None:
    gemm, heavy = ("gemm", (1e5, 1e3, 1e3, 1e4, 0.0), 1), ("heavy", (1e3,), 1)
    alone = [Observation((gemm,), 1.0), Observation((heavy,), 0.5)] * 4
    both = [Observation((gemm, heavy), 1.5)] * 4
    model = fit("cpu", [*alone, *both])
    assert model.ms([[gemm]], 0.0)[0] == pytest.approx(1.0, rel=0.05)
    assert model.ms([[gemm, heavy]], 0.0)[0] == pytest.approx(1.5, rel=0.05)


def test_corrections_follow_real_runs_and_bend_outliers_back() -> None:
    model = CostModel("cpu")
    assert model.correction("piece") == (1.0, 0)
    for _ in range(20):
        model.observe("piece", 10.0, 20.0)
    assert model.correction("piece")[0] == pytest.approx(2.0, rel=1e-6)
    model.observe("piece", 10.0, 1e6)
    assert model.correction("piece")[0] < 2.5
    model.observe("piece", 10.0, 0.0)
    assert model.correction("piece")[1] == 21


def test_a_slow_moment_is_not_taken_for_a_slow_call() -> None:
    hurried = [row._replace(pace=2e-5 if place % 3 else 4e-5, ms=row.ms * (1 if place % 3 else 2)) for place, row in enumerate(_rows())]
    model, undisturbed = fit("cpu", hurried), fit("cpu", _rows())
    assert model.pace == pytest.approx(2e-5)
    for entries, *_ in _rows(80)[60:]:
        assert model.ms([entries], 0.0)[0] == pytest.approx(undisturbed.ms([entries], 0.0)[0], rel=0.02)
    model.observe("piece", 10.0, 20.0, 4e-5)
    assert model.correction("piece")[0] == pytest.approx(1.0, rel=1e-6)
    model.observe("another", 10.0, 20.0)
    assert model.correction("another")[0] == pytest.approx(2.0, rel=1e-6), "no pace is known"
    fresh = CostModel("cpu")
    fresh.observe("piece", 10.0, 20.0, 4e-5)
    assert fresh.correction("piece")[0] == pytest.approx(2.0, rel=1e-6), "nothing was timed that it could be held against"


def test_what_lies_in_a_cache_is_cheaper_up_to_its_size() -> None:
    rows = [row._replace(around=around, ms=row.ms + 1e-7 * around) for row in _rows() for around in (0.0, 1e5, 1e6)]
    model, call = fit("cpu", rows), [[("gemm", (1e4, 1e4, 1e4, 1e4, 0.0), 1)]]
    assert model.ms(call, 1e6)[0] - model.ms(call, 1e5)[0] == pytest.approx(0.09, rel=0.2)
    assert model.ms(call, 1e9)[0] == model.ms(call, 1e8)[0]


def test_a_few_rows_that_nothing_explains_spoil_no_curve() -> None:
    odd = [row._replace(ms=row.ms * factor) for factor in (50, 0.3) for row in _rows(4)]
    model = fit("cpu", [*_rows(), *odd])
    for entries, ms, *_ in _rows(100)[60:]:
        assert model.ms([entries], 0.0)[0] == pytest.approx(ms, rel=0.3)


def test_light_operators_of_a_fused_layer_are_amounts_of_the_layer() -> None:
    x, weight, bias = (4, 8), (6, 8), (6,)
    plain = work_of("linear", {}, [x, weight, bias], [(4, 6)], False)
    assert plain == [("gemm", (192.0, 32.0, 24.0, 48.0, 0.0))]
    assert work_of(LINEAR, {"act": "relu"}, [x, weight, bias], [(4, 6)], False) == [("gemm", (192.0, 32.0, 24.0, 48.0, 24.0))]
    assert work_of(LINEAR, {"act": "gelu"}, [x, weight, bias], [(4, 6)], False) == [*plain, ("heavy", (24.0,))]
    image, kernel = (2, 3, 4, 4), (5, 3, 3, 3)
    fused = work_of(CONV, {"act": "relu", "groups": 1}, [image, kernel, (5,), (2, 5, 4, 4)], [(2, 5, 4, 4)], False)
    assert [name for name, _ in fused] == ["conv"]
    assert fused[0][1][-1] == 2 * 160.0, "the other value is added, and the result cut off at zero"


def _lanes(graph: Graph, width: int) -> list[tuple[str, float, float, float]]:
    """(class, multiply-adds, multiply-adds in whole vectors, rows of images) of the convolutions of a group."""
    group = branches(graph)
    form, target, sizes = group[0].form, Target("cpu", "fast"), Sizes(2, 0)
    span = form.span(0, form.stages)
    code = Codes().single(span, target, sizes)
    if width > 1:
        code = Codes().group(span, target, sizes, width, ("same",), ("own",) * len(span.weights))
    first = [entries[0] for entries in work(code, 2, 0) if entries and "lanes" in AMOUNTS[entries[0][0]]]
    return [(family, *(amounts[AMOUNTS[family].index(name)] for name in ("flops", "lanes", "lines"))) for family, amounts, _ in first]


def test_channels_that_fill_no_vector_are_counted_as_if_they_did() -> None:
    source = random.Random(2)  # noqa: S311
    source.choice = min  # type: ignore[method-assign,assignment]
    model = TEMPLATES.model(KINDS["resnet"](source)[0], "folded")
    alone = _lanes(siblings(model, 1), 1)
    (first, flops, lanes, lines), (second, flops_2, lanes_2, lines_2), *_ = alone
    assert (first, second) == ("conv", "conv")
    assert lanes == pytest.approx(flops * 16 / 3 * 2), "3 channels to 8"
    assert lanes_2 == pytest.approx(4 * flops_2), "8 channels to 8"
    assert alone[-1][2] == pytest.approx(alone[-1][1]), "32 channels are whole vectors"
    assert (lines, lines_2, alone[-1][3]) == (2 * 16, 2 * 16, 2 * 4), "of two images, which become smaller"
    (joined, flops, lanes, lines), (grouped, flops_2, lanes_2, lines_2), *_ = _lanes(siblings(model, 2), 2)
    assert (joined, grouped) == ("conv", "grouped")
    assert lanes == pytest.approx(flops * 16 / 3), "side by side, two times 8 fill a vector"
    assert lanes_2 == pytest.approx(4 * flops_2), "in groups they do not"
    assert (lines, lines_2) == (2 * 16, 2 * 2 * 16), "side by side a row is made for both, in groups for each"
    assert in_lanes(0.0, 0, 3) == 0, "a layer without channels"


def test_a_deck_deals_every_option_before_any_again() -> None:
    deck = Deck(3)
    dealt = [deck.choice((8, 16, 32, 48)) for _ in range(8)]
    assert sorted(dealt[:4]) == sorted(dealt[4:]) == [8, 16, 32, 48]
    assert len({tuple(Deck(seed).choice((1, 2, 3)) for _ in range(3)) for seed in range(9)}) > 1, "the order is drawn"


def test_one_round_of_the_sweep_sees_every_class_of_the_costly_kinds() -> None:
    deck, seen = Deck(7), set()
    for make in KINDS.values():
        model = TEMPLATES.model(make(deck)[0], "folded")
        for width in (1, 2):
            for row in timed(siblings(model, width), Target("cpu", "fast"), 1, width, 4):
                seen.update(family for family, _, _ in row.entries)
    assert seen >= set(AMOUNTS) - {"free", "other"}


def test_it_survives_json_and_refuses_another_version() -> None:
    model = fit("cpu", _rows())
    model.observe("piece", 1.0, 3.0)
    document = json.loads(json.dumps(model.to_json()))
    again = CostModel.from_json(document)
    assert again == model
    with pytest.raises(ValueError, match="another version"):
        CostModel.from_json(document | {"version": 0})


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_of_the_sweep_is_timed_call_by_call(kind: str) -> None:
    program, _ = KINDS[kind](random.Random(1))  # noqa: S311
    graph = siblings(TEMPLATES.model(program, "folded"), 2)
    rows = list(timed(graph, Target("cpu", "fast"), 2, 2))
    assert all(row.ms > 0 for row in rows)
    assert any(row.entries[0][0] == "piece" for row in rows)
    for row in rows:
        for family, amounts, times in row.entries:
            assert len(amounts) == len(AMOUNTS[family])
            assert min(amounts, default=0) >= 0
            assert times >= 1
