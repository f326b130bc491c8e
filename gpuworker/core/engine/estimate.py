"""What a compiled piece of work costs, in closed form from its traces: amounts of work, and bytes alive at its worst moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpuworker.core.engine.code import Code, Trace
from gpuworker.core.engine.operators import BINARY, CONV, LINEAR, OPAQUE, POINTWISE, gives_size
from gpuworker.core.engine.prepare import AS_THEY_ARE
from gpuworker.core.engine.probe import evaluate
from gpuworker.core.engine.templates import ValueFacts
from gpuworker.core.engine.work import AMOUNTS, TOUCHED, in_lanes

_TEMPORARIES = frozenset(
    {"softplus", "mish", "where", "prelu", "resize", "lp_normalize", "tree_ensemble", "hard_sigmoid", "selu", "thresholded_relu"}
)
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
Amounts = tuple[float, ...]
Entry = tuple[str, Amounts, int]
"""Cost class, amounts in the order of AMOUNTS, how many times."""


def work(code: Code, samples: int, length: int) -> list[list[Entry]]:
    """Per call what it does for that many samples; then one more entry for starting the piece itself."""
    found = [call_work(trace, code.width, samples, length) for trace in code.traces]
    values = len(code.outputs) * code.width
    return [*found, [("piece", (float(len(code.traces)), float(code.inputs + len(code.needs)), float(values)), 1)]]


def touched(calls: Iterable[Sequence[Entry]]) -> float:
    """Elements of the tensors that calls read and write."""
    return sum(
        times * sum(amount for name, amount in zip(AMOUNTS[family], amounts, strict=True) if name in TOUCHED)
        for entries in calls
        for family, amounts, times in entries
    )


def call_work(trace: Trace, width: int, samples: int, length: int) -> list[Entry]:
    """Of one call for `width` members."""
    parts = [
        (family, tuple(max(0.0, evaluate(amount, samples, length)) for amount in amounts))
        for family, amounts in trace.step.work
        if family != "free"
    ]
    if width == 1 or all(lie in (None, "same", "common") for lie in trace.lies):
        return [(family, amounts, 1) for family, amounts in parts]
    if trace.alone:
        return [(family, amounts, width) for family, amounts in parts] + _stacking(trace, width, samples, length)
    found = []
    for place, (family, amounts) in enumerate(parts):
        rule = _RULES.get(trace.step.kind.name) if place == 0 else None
        found.append((*(rule(trace, family, amounts, width) if rule is not None else (family, _times(family, amounts, width))), 1))
    return found


def _stacking(trace: Trace, width: int, samples: int, length: int) -> list[Entry]:
    """Results of members that ran one by one are copied side by side."""
    elements = sum(evaluate(facts.elements, samples, length) for facts in trace.step.facts)
    return [("copy", (width * max(0.0, elements),), 1)]


def _times(family: str, amounts: Amounts, width: int, once: Sequence[str] = ()) -> Amounts:
    return tuple(amount if name in once else amount * width for name, amount in zip(AMOUNTS[family], amounts, strict=True))


def _linear(trace: Trace, family: str, amounts: Amounts, width: int) -> tuple[str, Amounts]:
    if trace.lies[1] == "common":
        return family, _times(family, amounts, width, ("weights",))
    if trace.lies[0] == "same":
        return family, _times(family, amounts, width, ("read",))
    flops, read, written, weights, after = amounts
    return "bmm", (width * flops, width * (read + weights), width * written, float(width), width * after)


def _conv(trace: Trace, family: str, amounts: Amounts, width: int) -> tuple[str, Amounts]:
    if family != "conv":
        return family, _times(family, amounts, width)
    if trace.lies[1] == "common":
        return family, _times(family, amounts, width, ("weights",))
    if trace.lies[0] == "same" and trace.step.kind.attributes["groups"] == 1:
        made, given = trace.step.operands[1].shape(1, 1)[:2]
        *most, _, lines, after = _times(family, amounts, width, ("read", "lines"))
        return family, (*most, in_lanes(most[0], width * made, given), lines, after)
    return "grouped", (*_times(family, amounts, width), float(width))


def _recurrent(trace: Trace, family: str, amounts: Amounts, width: int) -> tuple[str, Amounts]:
    return "cells", _times("cells", amounts, width, ("steps",))


_RULES: dict[str, Callable[[Trace, str, Amounts, int], tuple[str, Amounts]]] = {
    "linear": _linear,
    LINEAR: _linear,
    "conv": _conv,
    CONV: _conv,
    "lstm": _recurrent,
    "gru": _recurrent,
}


def input_bytes(code: Code, samples: int, length: int) -> int:
    """Bytes of the values handed in, each counted once for each member it differs for."""
    seen: dict[int, int] = {}
    for trace in code.traces:
        for place, register in enumerate(trace.arguments):
            if 0 <= register < code.inputs and register not in seen:
                seen[register] = _bytes(trace.step.operands[place], trace.lies[place], code.width, samples, length)
    return sum(seen.values())


def output_bytes(code: Code, samples: int, length: int) -> int:
    """Bytes of the values handed on."""
    facts = {
        target: (made, lie) for trace in code.traces for target, made, lie in zip(trace.targets, trace.step.facts, trace.made, strict=True)
    }
    return sum(_bytes(*facts[register], code.width, samples, length) for register in code.outputs)


def peak_bytes(code: Code, samples: int, length: int) -> int:
    """The most bytes alive at one moment beyond inputs and weights: results, and what calls use inside themselves."""
    holds: dict[int, int] = {}  # register > the register whose memory it lies in
    size: dict[int, int] = {}
    users: dict[int, int] = {}
    alive = most = 0
    for trace in code.traces:
        operands = trace.step.operands
        for target, facts, lie in zip(trace.targets, trace.step.facts, trace.made, strict=True):
            holder = _holder(trace, facts, holds, code)
            if holder is None:
                size[target] = _bytes(facts, lie, code.width, samples, length)
                alive += size[target]
                holder = target
            holds[target] = holder
            users[holder] = users.get(holder, 0) + 1
        given = [
            _bytes(operand, lie, code.width, samples, length) if lie not in ("own", "common", None) else 0
            for operand, lie in zip(operands, trace.lies, strict=False)
        ]
        made = sum(_bytes(facts, "stack", code.width, samples, length) for facts in trace.step.facts)
        most = max(most, alive + _scratch(trace, code.width, given, made))
        for register in trace.free:
            holder = holds.get(register)
            if holder is not None:
                users[holder] -= 1
                if users[holder] == 0:
                    alive -= size.get(holder, 0)
    return most


def _holder(trace: Trace, facts: ValueFacts, holds: dict[int, int], code: Code) -> int | None:
    """The register whose memory a result lies in; None when it has memory of its own."""
    if trace.over is not None:
        return holds.get(trace.over, trace.over)
    if facts.source is None or gives_size(trace.step.kind.name) or trace.alone:
        return None
    first = trace.arguments[0] if trace.arguments else -1
    if first < 0 or (code.width > 1 and trace.step.kind.name == "reshape" and trace.lies[0] == "wide"):
        return None
    return holds.get(first, first)


def _scratch(trace: Trace, width: int, given: Sequence[int], made: int) -> int:
    """Bytes a call takes and gives back before it ends: operands laid out anew, intermediate results."""
    name, total = trace.step.kind.name, sum(given)
    if trace.alone:
        return made
    if trace.packed:
        # Packed convolutions read channels-last as it is; what lies member by member is first put side by side.
        return sum(size for size, lie in zip(given, trace.lies, strict=False) if lie == "stack")
    if name in _GATES:
        return _recurrent_scratch(trace, width, total, made)
    if name in _TEMPORARIES:
        return made + total
    if name in (CONV, "conv", "conv_transpose", "max_pool", "avg_pool"):
        return max(total, made)
    if name in ("linear", LINEAR):
        return total if trace.lies[0] == "wide" else 0
    if name == "attention":  # members that lie one after the other become samples as they lie
        return made + (total if "wide" in trace.lies else 0)
    viewed = "wide" not in trace.lies and all(facts.source is not None for facts in trace.step.facts)
    if width > 1 and any(lie in ("wide", "stack") for lie in trace.lies) and not viewed and name not in POINTWISE and name not in BINARY:
        return total
    if name in ("matmul", "einsum"):
        return total
    if name == "embedding":
        return 2 * total
    return made // 16 if name in ("layer_norm", "rms_norm", "group_norm", "instance_norm") else 0


def _recurrent_scratch(trace: Trace, width: int, total: int, made: int) -> int:
    """What the gates of all time steps take, and the buffers of single steps: 21 of them in torch's kernel, 5 in the merged one."""
    dims = trace.step.operands[0].dims
    steps = max(1, round(dims[1 if trace.step.kind.attributes["batch_first"] else 0][0]))
    if width > 1 and trace.step.kind.name != "rnn":
        return (_GATES[trace.step.kind.name] + 1) * made + 5 * made // steps
    return 6 * made + total + 21 * made // steps


def _bytes(facts: ValueFacts, lie: str | None, width: int, samples: int, length: int) -> int:
    """Of a value, for all members of a group."""
    if facts.size or lie is None:
        return 0
    single = facts.item * max(0, round(evaluate(facts.elements, samples, length)))
    return single if lie in ("same", "common") else single * width


def weight_bytes(code: Code) -> int:
    """Bytes of the weights laid out anew for one run of the piece; those taken as they are stand in the mapped file."""
    total = 0
    for trace in code.traces:
        for place, register in enumerate(trace.arguments):
            need = code.needs[register - code.inputs] if 0 <= register - code.inputs < len(code.needs) else None
            if need is not None and need.form.name not in AS_THEY_ARE:
                facts = trace.step.operands[place]
                total += facts.item * round(facts.elements[0]) * (code.width if need.own else 1)
    return total


def is_opaque(code: Code) -> bool:
    """A program that runs as one step, about which nothing is known beforehand."""
    return code.traces[0].step.kind.name == OPAQUE
