"""From the builder's steps to a checked Program: biases joined, dead code dropped, equal steps merged, values renumbered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from gpuworker.core.program.keys import weight_of
from gpuworker.core.program.model import Input, Op, Output, Program, Weight, json_value
from gpuworker.core.program.values import Value


class StepLike(Protocol):
    name: str
    inputs: tuple[Value | None, ...]
    sizes: tuple[Value, ...]
    attributes: Mapping[str, Any]
    results: tuple[Value, ...]


def finish(
    declared: Sequence[Input],
    inputs: Sequence[Value],
    steps: Sequence[StepLike],
    outputs: Sequence[tuple[str, Value]],
    fixed_batch: int | None,
) -> tuple[Program, dict[str, torch.Tensor]]:
    """The canonical program and its tensors by content key."""
    alias = _join_biases(steps, outputs)
    writer = _Writer(inputs, steps, alias)
    ports = tuple(Output(name, writer.name(value)) for name, value in outputs)
    return Program(tuple(declared), tuple(writer.weights), tuple(writer.ops), ports, fixed_batch), writer.tensors


def _join_biases(steps: Sequence[StepLike], outputs: Sequence[tuple[str, Value]]) -> dict[int, Value]:
    """Turn linear or conv followed by adding one constant per channel into a layer with a bias. Gives id(sum) -> layer."""
    uses = Counter(id(value) for step in steps for value in (*step.inputs, *step.sizes) if value is not None)
    uses.update(id(value) for _, value in outputs)
    alias: dict[int, Value] = {}
    for step in steps:
        if step.name != "add" or len(step.results) != 1:
            continue
        for layer, bias in (step.inputs, step.inputs[::-1]):
            if layer is None or bias is None or bias.constant is None or layer.source is None or layer.constant is not None:
                continue
            if id(layer) in alias:
                continue
            maker = steps[layer.source]
            vector = _channel_vector(maker, layer, step.results[0], bias.constant)
            if vector is None or uses[id(layer)] != 1:
                continue
            maker.inputs = (*maker.inputs[:2], vector)
            alias[id(step.results[0])] = layer
            break
    return alias


def _channel_vector(maker: StepLike, layer: Value, total: Value, bias: torch.Tensor) -> Value | None:
    if maker.name not in ("linear", "conv") or len(maker.inputs) > 2 or layer.rank is None or layer.rank != total.rank:
        return None
    weight = maker.inputs[1]
    if weight is None or weight.constant is None or weight.constant.dtype != bias.dtype or bias.dim() > layer.rank:
        return None
    channels = weight.constant.shape[0]
    after = 0 if maker.name == "linear" else layer.rank - 2
    shape = [1] * (layer.rank - bias.dim()) + list(bias.shape)
    place = layer.rank - 1 - after
    if shape[place] != channels or any(size != 1 for dim, size in enumerate(shape) if dim != place):
        return None
    vector = bias.reshape(-1)
    meta = torch.empty(vector.shape, dtype=vector.dtype, device="meta")
    return Value((meta, meta), constant=vector)


class _Writer:
    """Visits what the outputs need, operands first, and names everything in that order."""

    def __init__(self, inputs: Sequence[Value], steps: Sequence[StepLike], alias: Mapping[int, Value]) -> None:
        self.ops: list[Op] = []
        self.weights: list[Weight] = []
        self.tensors: dict[str, torch.Tensor] = {}
        self._steps = steps
        self._alias = alias
        self._ports = {id(value): f"x{place}" for place, value in enumerate(inputs)}
        self._named: dict[int, str] = {}
        self._weight_places: dict[str, int] = {}
        self._tensor_names: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._same: dict[str, int] = {}

    def name(self, value: Value) -> str:
        """The value's name, after writing all it needs. Iterative: a program may be thousands of operators deep."""
        value = self._alias.get(id(value), value)
        stack = [value]
        while stack:
            top = stack[-1]
            waiting = [] if self._ready(top) is not None else self._operands(top)
            waiting = [item for item in waiting if self._ready(item) is None]
            if waiting:
                stack.extend(reversed(waiting))
            else:
                self._write(top)
                stack.pop()
        ready = self._ready(value)
        assert ready is not None
        return ready

    def _operands(self, value: Value) -> list[Value]:
        if value.source is None:
            return []
        step = self._steps[value.source]
        return [self._alias.get(id(item), item) for item in (*step.inputs, *step.sizes) if item is not None]

    def _ready(self, value: Value | None) -> str | None:
        if value is None:
            return None
        value = self._alias.get(id(value), value)
        if value.constant is not None:
            return self._weight(value.constant)
        if id(value) in self._ports:
            return self._ports[id(value)]
        place = self._places.get(value.source) if value.source is not None else None
        return None if place is None else f"v{place}.{value.result}"

    def _weight(self, tensor: torch.Tensor) -> str:
        if id(tensor) not in self._tensor_names:
            weight = weight_of(tensor)
            if weight.key not in self._weight_places:
                self._weight_places[weight.key] = len(self.weights)
                self.weights.append(weight)
                self.tensors[weight.key] = tensor
            self._tensor_names[id(tensor)] = f"w{self._weight_places[weight.key]}"
        return self._tensor_names[id(tensor)]

    def _write(self, value: Value) -> None:
        if value.source is None or value.source in self._places or value.constant is not None:
            return
        step = self._steps[value.source]
        op = Op(
            step.name,
            tuple(self._ready(item) for item in step.inputs),
            step.attributes,
            tuple(name for item in step.sizes if (name := self._ready(item)) is not None),
            len(step.results),
        )
        same = json.dumps(
            [op.name, op.inputs, op.sizes, op.outputs, {key: json_value(item) for key, item in op.attributes.items()}], sort_keys=True
        )
        if same not in self._same:
            self._same[same] = len(self.ops)
            self.ops.append(op)
        self._places[value.source] = self._same[same]
