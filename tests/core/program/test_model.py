"""Programs as data: what is written can be read, and nothing else can."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.errors import LimitExceeded, UnreadableModel
from gpuworker.core.program.build import Builder
from gpuworker.core.program.execute import run
from gpuworker.core.program.keys import class_keys, value_keys
from gpuworker.core.program.model import MAX_OPS, Input, Program

UNARY = ("relu", "tanh", "sigmoid", "neg", "abs")
BINARY = ("add", "mul", "maximum")


def small() -> tuple[Program, dict[str, torch.Tensor]]:
    builder = Builder((Input("x", "float32", (None, 4)),))
    hidden = builder.emit("linear", [builder.inputs[0], builder.weight(torch.eye(4)), builder.weight(torch.ones(4))])
    hidden = builder.emit("clamp", [hidden], {"low": -math.inf, "high": 1.0})
    return builder.finish([("y", builder.emit("relu", [hidden]))])


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, dict[str, torch.Tensor]]:
    """Random graphs of element-wise operators, linear layers and reshapes over one input."""
    builder = Builder((Input("x", "float32", (None, 4)),))
    values = [builder.inputs[0]]
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(("unary", "binary", "linear", "view")))
        value = draw(st.sampled_from(values))
        if kind == "unary":
            values.append(builder.emit(draw(st.sampled_from(UNARY)), [value]))
        elif kind == "binary":
            values.append(builder.emit(draw(st.sampled_from(BINARY)), [value, draw(st.sampled_from(values))]))
        elif kind == "linear":
            weight = torch.full((4, 4), draw(st.floats(-1, 1, width=32)))
            values.append(builder.emit("linear", [value, builder.weight(weight)]))
        else:
            values.append(builder.reshape(builder.reshape(value, [-1, 2, 2]), [-1, 4]))
    return builder.finish([("y", values[-1]), ("z", draw(st.sampled_from(values)))])


@settings(max_examples=40, deadline=None)
@given(programs())
def test_json_round_trip_is_exact_and_runs_the_same(made: tuple[Program, dict[str, torch.Tensor]]) -> None:
    program, tensors = made
    again = Program.from_json(json.dumps(program.to_json(), allow_nan=False))
    assert again == program
    assert value_keys(again) == value_keys(program)
    assert class_keys(again) == class_keys(program)
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    before, after = (run(item, tensors, {"x": x}) for item in (program, again))
    assert all(torch.equal(before[name], after[name]) for name in before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_document_is_refused_or_still_a_program(data: st.DataObject) -> None:
    document = small()[0].to_json()
    place, parents = document, []
    while isinstance(place, (dict, list)) and place and (not parents or data.draw(st.booleans())):
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        parents.append((place, key))
        place = place[key]
    parent, key = parents[-1]
    parent[key] = data.draw(JSON)
    try:
        program = Program.from_json(document)
    except (UnreadableModel, LimitExceeded):
        return
    assert Program.from_json(program.to_json()) == program


def _changed(path: tuple[str | int, ...], value: object) -> dict[str, object]:
    document = copy.deepcopy(small()[0].to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("ops", 0, "op"), "from_file", "unknown operator"),
        (("ops", 0, "inputs"), ["v2.0", "w0", "w1"], "before it exists"),
        (("ops", 0, "inputs"), ["v0.0", "w0", "w1"], "before it exists"),
        (("ops", 0, "inputs"), ["x0", "w9", "w1"], "before it exists"),
        (("ops", 0, "inputs"), ["x0"], "wrong number of inputs"),
        (("ops", 0, "inputs"), ["__class__", "w0"], "value name"),
        (("ops", 0, "attributes"), {"path": "/etc/passwd"}, "unknown attribute"),
        (("ops", 1, "attributes"), {"low": "x", "high": 1.0}, "bad attribute"),
        (("ops", 0, "outputs"), 7, "wrong number of results"),
        (("weights", 0, "key"), "../../secret", "weight key"),
        (("weights", 0, "shape"), [-4, 4], "bad shape"),
        (("inputs", 0, "dtype"), "complex64", "unknown dtype"),
        (("inputs", 0, "name"), "n" * 401, "bad name"),
        (("outputs",), [], "no output"),
        (("opset",), 99, "another operator set"),
        (("fixed_batch",), -1, "fixed batch"),
        (("extra",), 1, "malformed"),
    ],
)
def test_each_broken_part_is_named(path: tuple[str | int, ...], value: object, says: str) -> None:
    with pytest.raises(UnreadableModel, match=says):
        Program.from_json(_changed(path, value))


def test_caps_hold_before_anything_is_built() -> None:
    document = small()[0].to_json()
    document["ops"] = [document["ops"][0]] * (MAX_OPS + 1)
    with pytest.raises(LimitExceeded, match="ops"):
        Program.from_json(document)


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(UnreadableModel, match="not JSON"):
        Program.from_json("[" * 100_000)
