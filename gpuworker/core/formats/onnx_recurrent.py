"""ONNX LSTM, GRU and RNN as torch's flat-weight layers: gates reordered, outputs put into ONNX's layout."""

from __future__ import annotations

import torch

from gpuworker.core.formats.onnx_node import Node, Result, ints_of
from gpuworker.core.program.build import Builder
from gpuworker.core.program.values import Value

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where torch's gates stand in ONNX's order: i f g o out of i o f c; r z n out of z r h."""
_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}

_MOVES = ("expand", "tile", "cast", "reshape", "slice", "permute")


def recurrent(n: Node) -> Result:
    """Outputs Y (T, directions, N, H), Y_h (directions, N, H) and, for LSTM, Y_c."""
    relu = _check(n)
    direction = n.text("direction", "forward")
    x = n.tensor(0)
    if n.integer("layout", 0):
        raise n.refuse("layout 1 (samples first)")
    weights = _weights(n)
    h0, c0 = _state(n, 5), _state(n, 6)
    if direction == "reverse":
        x = n.builder.emit("flip", [x], {"dims": [0]})
    attributes: dict[str, object] = {"bidirectional": direction == "bidirectional", "biases": n.has(3)}
    if n.op == "RNN":
        attributes["relu"] = relu
    states = [h0, c0] if n.op == "LSTM" else [h0]
    results = n.builder.emit_many(n.op.lower(), [x, *states, *weights], attributes, 3 if n.op == "LSTM" else 2)
    sequence = results[0]
    if direction == "reverse":
        sequence = n.builder.emit("flip", [sequence], {"dims": [0]})
    sizes = [n.builder.size(sequence, place) for place in range(2)]
    directions = 2 if direction == "bidirectional" else 1
    sequence = n.builder.reshape(sequence, [*sizes, directions, n.integer("hidden_size")])
    return [n.builder.permute(sequence, [0, 2, 1, 3]), *results[1:]]


def _check(n: Node) -> bool:
    """Refuse by name what torch's layers cannot do. Gives whether an RNN uses relu."""
    if "clip" in n.attributes or n.integer("input_forget", 0) or n.has(7):
        raise n.refuse("clip, input_forget or peepholes")
    if n.op == "GRU" and not n.integer("linear_before_reset", 0):
        raise n.refuse("linear_before_reset 0")
    if n.has(4):
        _check_lengths(n)
    directions = 2 if n.text("direction", "forward") == "bidirectional" else 1
    found = [name.lower() for name in n.text_list("activations")]
    if n.op == "RNN" and found and set(found) == {"relu"}:
        return True
    if found and found != _ACTIVATIONS[n.op] * directions:
        raise n.refuse(f"activations {found}")
    return False


def _check_lengths(n: Node) -> None:
    """Lengths per sample are the same as none at all when every one is the whole sequence."""
    lengths, steps = ints_of(n.item(4)), n.shape(n.tensor(0))[0]
    if lengths is None or steps is None or any(length != steps for length in lengths.values):
        raise n.refuse("sequence_lens")


def _weights(n: Node) -> list[Value]:
    kernel, recurrence = n.constant(1, "the weight"), n.constant(2, "the recurrent weight")
    bias = n.constant(3, "the bias") if n.has(3) else None
    hidden, flat = n.integer("hidden_size"), []
    gates = len(_GATES[n.op])
    directions = 2 if n.text("direction", "forward") == "bidirectional" else 1
    expected = (directions, gates * hidden)
    if kernel.dim() != 3 or tuple(kernel.shape[:2]) != expected or tuple(recurrence.shape) != (*expected, hidden):
        raise n.broken(f"weights of shapes {list(kernel.shape)} and {list(recurrence.shape)} do not fit hidden_size {hidden}")
    for direction in range(directions):
        parts = [_gates(n.op, kernel[direction], hidden), _gates(n.op, recurrence[direction], hidden)]
        if bias is not None:
            half = gates * hidden
            parts += [_gates(n.op, bias[direction, :half], hidden), _gates(n.op, bias[direction, half:], hidden)]
        flat += [n.builder.weight(part.contiguous()) for part in parts]
    return flat


def _gates(op: str, tensor: torch.Tensor, hidden: int) -> torch.Tensor:
    return torch.cat([tensor[place * hidden : (place + 1) * hidden] for place in _GATES[op]])


def _state(n: Node, place: int) -> Value | None:
    """An initial state; one that is all zeros is left out, which also frees the number of samples."""
    value = n.maybe(place)
    return None if value is None or is_zero_value(n.builder, value) else value


def is_zero_value(builder: Builder, value: Value) -> bool:
    """Whether a tensor is known to be all zeros, through operators that only move elements."""
    while value.constant is None and value.source is not None:
        step = builder.steps[value.source]
        if step.name == "full":
            return bool(step.attributes["value"] == 0)
        if step.name not in _MOVES or step.inputs[0] is None:
            return False
        value = step.inputs[0]
    return value.constant is not None and not bool(value.constant.any())
