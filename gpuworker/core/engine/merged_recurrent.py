"""Recurrent layers of several models in step: one batched product per time step instead of one layer after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gpuworker.core.engine.kernels import Form
from gpuworker.core.engine.layouts import alike, to_stack
from gpuworker.core.engine.merge_call import Call, MergedKernel

Tensor = torch.Tensor


def recurrent(call: Call) -> MergedKernel | None:
    """LSTM and GRU from a zero state, in torch's order of weights. All weights differ between members."""
    name, a, g = call.step.kind.name, call.attributes, call.g
    states = 2 if name == "lstm" else 1
    if any(lie is not None for lie in call.lies[1 : 1 + states]) or any(lie != "own" for lie in call.lies[1 + states :]):
        return None
    lie = call.lie(0)
    if lie in (None, "own") or call.rank(0) != 3:
        return None
    assert lie is not None
    turn, cell = to_stack(lie, g), lstm_steps if name == "lstm" else gru_steps
    per_layer, ways = 4 if a["biases"] else 2, 2 if a["bidirectional"] else 1
    forms = {place: Form("turned_stack") for place in range(1 + states, len(call.lies))}
    for place in forms:
        shape = call.shapes[place]
        assert shape is not None
        if len(shape) == 1:
            forms[place] = Form("lined_up", (2,))
    results, first = call.step.kind.outputs, a["batch_first"]
    lies = alike("stack", results)

    def run(x: Tensor, *rest: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        weights = rest[states:]
        x = turn(x)
        x = x.transpose(1, 2) if first else x
        last: list[tuple[Tensor, ...]] = []
        for layer in range(a["layers"]):
            outputs = []
            for way in range(ways):
                place = (layer * ways + way) * per_layer
                sequence, state = cell(x.flip(1) if way else x, weights[place : place + per_layer])
                outputs.append(sequence.flip(1) if way else sequence)
                last.append(state)
            x = outputs[0] if ways == 1 else torch.cat(outputs, -1)
        sequence = x.transpose(1, 2) if first else x
        found = (sequence, *(torch.stack([state[place] for state in last], 1) for place in range(states)))
        return found[:results] if results > 1 else sequence

    return MergedKernel(run, forms, lies)


def lstm_steps(x: Tensor, weights: Sequence[Tensor | None]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """x (g, T, N, I); weights: input (g, I, 4H), hidden (g, H, 4H), biases (g, 1, 4H). Gives (g, T, N, H) and (h, c)."""
    given, turned, bias = _input_part(x, weights)
    g, length, samples = x.shape[:3]
    size = turned.shape[1]
    h = x.new_zeros(g, samples, size)
    c = x.new_zeros(g, samples, size)
    outputs = []
    for step in range(length):
        gates = torch.baddbmm(given[:, step], h, turned)
        gates = gates if bias is None else gates.add_(bias)
        entry, forget, cell, output = gates.chunk(4, -1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(entry) * torch.tanh(cell)
        h = torch.sigmoid(output) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


def gru_steps(x: Tensor, weights: Sequence[Tensor | None]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `lstm_steps`, with three gates."""
    given, turned, bias = _input_part(x, weights)
    g, length, samples = x.shape[:3]
    size = turned.shape[1]
    h = x.new_zeros(g, samples, size)
    outputs = []
    for step in range(length):
        hidden = torch.bmm(h, turned)
        hidden = hidden if bias is None else hidden.add_(bias)
        r_in, z_in, n_in = given[:, step].chunk(3, -1)
        r_hidden, z_hidden, n_hidden = hidden.chunk(3, -1)
        reset, update = torch.sigmoid(r_in + r_hidden), torch.sigmoid(z_in + z_hidden)
        new = torch.tanh(n_in + reset * n_hidden)
        h = (h - new) * update + new
        outputs.append(h)
    return torch.stack(outputs, 1), (h,)


def _input_part(x: Tensor, weights: Sequence[Tensor | None]) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the inputs bring to the gates at all time steps (g, T, N, gates), the hidden weight, the hidden bias."""
    entry, hidden, *biases = weights
    assert entry is not None and hidden is not None
    g, length, samples = x.shape[:3]
    flat = x.reshape(g, length * samples, -1)
    given = torch.baddbmm(biases[0], flat, entry) if biases and biases[0] is not None else torch.bmm(flat, entry)
    return given.view(g, length, samples, -1), hidden, biases[1] if biases else None
