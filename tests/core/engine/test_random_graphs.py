"""Random networks: whatever their shape, a plan gives what the loop gives, in any order of models and in chunks of any size."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuworker.core.engine.plan import Options
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value
from tests.core.engine import nets
from tests.core.engine.planned import Bench
from tests.core.engine.running import EXACT, FAST, assert_close, assert_equal, run_all

UNARY = ("relu", "tanh", "sigmoid", "gelu", "silu", "abs", "softmax", "neg")
BINARY = ("add", "sub", "mul", "maximum")


def _build(shape_seed: int) -> Callable[[Builder, Value, Callable[..., Value]], Value]:
    """A network of up to ten steps over values of (N, 6) and (N, 4, 6), with shared operands and dead ends."""

    def build(b: Builder, x: Value, w: Callable[..., Value]) -> Value:
        source = random.Random(shape_seed)  # noqa: S311
        values = [x, b.emit("linear", [x, w("first", 6, 6), w("first.bias", 6)])]
        for step in range(source.randint(3, 10)):
            kind, one, other = source.randrange(6), source.choice(values), source.choice(values)
            if kind == 0:
                made = b.emit("linear", [one, w(f"l{step}", 6, 6), w(f"b{step}", 6)])
            elif kind == 1:
                made = b.emit(source.choice(UNARY), [one])
            elif kind == 2:
                made = b.emit(source.choice(BINARY), [one, other])
            elif kind == 3:
                made = b.emit("layer_norm", [one, w(f"s{step}.weight", 6), w(f"h{step}", 6)])
            elif kind == 4:
                made = b.emit("mul", [one, w(f"v{step}", 6)])
            else:
                deep = b.reshape(b.emit("linear", [one, w(f"d{step}", 24, 6)]), [0, 4, 6])
                deep = b.emit("attention", [b.emit("linear", [deep, w(f"q{step}", 6, 6)]), deep, deep])
                made = b.emit("mean", [deep], {"dims": [1]})
            values.append(made)
        return b.emit("linear", [b.emit("add", [values[-1], values[-2]]), w("head", 3, 6), w("head.bias", 3)])

    return build


def _models(shape_seed: int, count: int, tuned: int) -> list[nets.Made]:
    """One structure; of the weights those whose name is drawn are each model's own, the rest are common."""

    def one(seed: int) -> nets.Made:
        def build(b: Builder, x: Value, w: Callable[..., Value]) -> Value:
            def weight(name: str, *shape: int) -> Value:
                own = random.Random(f"{name}{shape_seed}").randrange(10) < tuned  # noqa: S311
                return b.weight(nets.weight(name, shape, seed if own else 0))

            return _build(shape_seed)(b, x, weight)

        return nets.one(build, Input("x", "float32", (None, 6)), seed)

    return [one(seed) for seed in range(count)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=st.integers(0, 10_000), count=st.integers(1, 5), tuned=st.integers(0, 10), width=st.integers(1, 5))
def test_any_graph_gives_what_the_loop_gives(shape: int, count: int, tuned: int, width: int) -> None:
    models = _models(shape, count, tuned)
    inputs = nets.samples(models[0][0], 3, seed=shape)
    expected = nets.loop(models, inputs, 3)
    assert_equal(run_all(models, inputs, EXACT).outputs, expected)
    assert_close(run_all(models, inputs, EXACT, width).outputs, expected, rtol=1e-4, atol=1e-5)
    assert_close(run_all(models, inputs, FAST, width, whole=True).outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [3, 17, 99])
def test_neither_the_order_of_candidates_nor_the_chunk_changes_a_score(shape: int) -> None:
    models = _models(shape, 5, 5)
    inputs = nets.samples(models[0][0], 13)
    expected = nets.loop(models, inputs, 13)
    for chunk in (1, 4, 13):
        options = Options(chunk=chunk, layout="plain")
        assert_close(Bench(models, inputs, options).all_rows(), expected)
        assert_close(Bench(models[::-1], inputs, options).all_rows()[::-1], expected)
