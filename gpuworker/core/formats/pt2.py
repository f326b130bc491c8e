"""torch.export archives: JSON graph to Program through an allow-list of ATen operators.

torch's own loader is never called: it unpickles sample inputs and flagged weights, runs guard code and evaluates size
expressions as Python. Here those parts are skipped, refused, or read by a parser that knows nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import torch

from gpuworker.core.errors import UnreadableModel, UnsupportedOperator
from gpuworker.core.formats import pt2_math, pt2_nn, pt2_shape
from gpuworker.core.formats.batch import Attempt, open_batch
from gpuworker.core.formats.facts import ReadModel, facts_of
from gpuworker.core.formats.pt2_call import FIX, PLAIN_MATH, SIZE_MATH, Call, Handler, schema_defaults
from gpuworker.core.formats.pt2_file import Exported, broken, dtype_of, load, only, open_shape
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import MAX_NAME, Input
from gpuworker.core.program.ops.kind import DTYPE_NAMES
from gpuworker.core.program.values import Value

_ATEN = "torch.ops.aten."
_OPERATOR = "_operator."
_IGNORED = frozenset(
    {
        "torch.ops.aten._assert_tensor_metadata.default",
        "torch.ops.aten._assert_scalar.default",
        "torch.ops.aten._assert_async.msg",
        "torch.ops.aten.sym_constrain_range_for_size.default",
        "torch.ops.aten.sym_constrain_range.default",
        "_operator.ge",
        "_operator.le",
        "_operator.gt",
        "_operator.lt",
        "_operator.eq",
        "_operator.ne",
    }
)
HANDLERS: dict[str, Handler] = {**pt2_math.HANDLERS, **pt2_nn.HANDLERS, **pt2_shape.HANDLERS}
_DEFAULTS: dict[str, Mapping[str, Any]] = {target: schema_defaults(target) for target in HANDLERS}
_VIEWS = frozenset(
    (
        *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "t", "numpy_T", "permute", "movedim"),
        *("expand", "expand_as", "slice", "narrow", "select", "split", "split_with_sizes", "chunk", "unbind"),
        *("contiguous", "detach", "alias", "dropout", "to"),
    )
)


def read(files: Mapping[str, BinaryIO], config: Mapping[str, Any] | None = None) -> ReadModel:
    """Read one .pt2 archive. `config` is not used.

    Raises UnreadableModel, FormatRefused (pickled weights), UnsupportedOperator (naming every missing one) or LimitExceeded.
    """
    if len(files) != 1:
        raise UnreadableModel("One archive is expected.", detail=f"Found {sorted(files)}.", fix="Upload the .pt2 file alone.")
    exported = load(next(iter(files.values())))
    _check_operators(exported.graph["nodes"])
    try:
        inputs, bound = _signature(exported)
        program, tensors, note = open_batch(inputs, lambda ports, declared: _convert(exported, bound, ports, declared))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError, OverflowError) as error:
        raise broken(f"{type(error).__name__}: {error}") from error
    facts = facts_of(program, "pt2", f"torch {exported.torch_version}".strip(), exported.opset, notes=(note,) if note else ())
    return ReadModel(program, tensors, facts)


def _split(target: str) -> tuple[str, bool]:
    """("name.overload" of the pure operator, whether the call changes its first argument)."""
    name, _, overload = target.removeprefix(_ATEN).partition(".")
    if f"{name}.{overload}" not in HANDLERS and name.endswith("_") and f"{name[:-1]}.{overload}" in HANDLERS:
        return f"{name[:-1]}.{overload}", True
    return f"{name}.{overload}", False


def _check_operators(nodes: Sequence[Any]) -> None:
    missing: set[str] = set()
    for node in nodes:
        target = node.get("target") if isinstance(node, dict) else None
        if not isinstance(target, str) or len(target) > MAX_NAME:
            raise broken("A node names no operator.")
        known = target in _IGNORED or (target.startswith(_OPERATOR) and target.removeprefix(_OPERATOR) in (*SIZE_MATH, "getitem"))
        if not known and not (target.startswith(_ATEN) and _split(target)[0] in HANDLERS):
            missing.add(target.removeprefix("torch.ops."))
    if missing:
        names = ", ".join(sorted(missing)[:40])
        raise UnsupportedOperator("The model needs operators that are not supported.", detail=names, fix=FIX)


def _signature(exported: Exported) -> tuple[tuple[Input, ...], dict[str, Any]]:
    """The program's inputs, and what every other graph input is bound to: a tensor, or a plain constant."""
    inputs: list[Input] = []
    bound: dict[str, Any] = {}
    metas = exported.graph["tensor_values"]
    for spec in exported.signature["input_specs"]:
        kind, facts = only(spec)
        if kind == "user_input":
            tag, arg = only(facts["arg"])
            if tag == "as_tensor":
                meta = metas[arg["name"]]
                inputs.append(Input(str(arg["name"]), DTYPE_NAMES[dtype_of(meta["dtype"])], open_shape(meta["sizes"])))
            elif tag != "as_none":
                raise broken(f"A model input is a {tag}; only tensors can be fed.")
            continue
        keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
        if kind not in keys:
            raise UnsupportedOperator("The model has an input that cannot be fed.", detail=kind[:80], fix=FIX)
        name = facts[keys[kind]]
        tensor = exported.tensors.get(f"weights/{name}", exported.tensors.get(f"constants/{name}"))
        if tensor is None:
            raise UnreadableModel(
                "A weight of the model is missing.", detail=f"{str(name)[:200]!r} is not in the archive.", fix="Save the model again."
            )
        bound[facts["arg"]["name"]] = tensor
    if not inputs:
        raise broken("The model has no tensor input.")
    return tuple(inputs), bound


def _convert(exported: Exported, bound: Mapping[str, torch.Tensor], ports: tuple[Input, ...], declared: int | None) -> Attempt:
    builder = Builder(ports, declared_batch=declared)
    env: dict[str, Any] = {item.name: value for item, value in zip(ports, builder.inputs, strict=True)}
    env |= {name: builder.weight(tensor) for name, tensor in bound.items()}
    nodes = exported.graph["nodes"]
    families = _Families(nodes)
    for place, node in enumerate(nodes):
        if node["target"] not in _IGNORED:
            _node(node, place, env, builder, families)
    outputs: list[tuple[str, Value]] = []
    for spec in exported.signature["output_specs"]:
        kind, facts = only(spec)
        if kind != "user_output":
            raise UnsupportedOperator(
                "The model changes its own state while running.", detail=kind[:80], fix="Call model.eval() before exporting."
            )
        tag, arg = only(facts["arg"])
        if tag == "as_tensor":
            outputs.append((f"output_{len(outputs)}", env[arg["name"]]))
    if not outputs:
        raise broken("The model has no tensor output.")
    return Attempt(builder, tuple(outputs))


def _node(node: Mapping[str, Any], place: int, env: dict[str, Any], builder: Builder, families: _Families) -> None:
    target = node["target"]
    args = {item["name"]: _argument(item["arg"], env) for item in node["inputs"]}
    if target.startswith(_OPERATOR):
        _bind(node["outputs"], [_size_math(target.removeprefix(_OPERATOR), list(args.values()), builder)], env)
        return
    name, in_place = _split(target)
    call = Call(name, {**_DEFAULTS.get(name, {}), **args}, builder)
    result = HANDLERS[name](call)
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    if in_place:
        changed = only(node["inputs"][0]["arg"], ("as_tensor",))[1]["name"]
        stale = families.used_later(changed, place)
        if stale:
            raise call.refuse(f"it changes {changed!r} in place while {stale!r} shares its memory")
        env[changed] = results[0]
    _bind(node["outputs"], results, env)


class _Families:
    """Which names share memory, so that a change in place of one is refused when another is read afterwards."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        self._family: dict[str, str] = {}
        self._last: dict[str, int] = {}
        for place, node in enumerate(nodes):
            operator = _split(node["target"])[0].partition(".")[0]
            read = [name for item in node["inputs"] for name in _names(item["arg"])]
            self._last |= dict.fromkeys(read, place)
            if operator in _VIEWS and read:
                root = self._family.get(read[0], read[0])
                for output in node["outputs"]:
                    self._family |= dict.fromkeys(_names(output), root)

    def used_later(self, name: str, place: int) -> str | None:
        root = self._family.get(name, name)
        members = [other for other, family in self._family.items() if family == root] + [root]
        return next((other for other in members if other != name and self._last.get(other, -1) > place), None)


def _names(argument: Mapping[str, Any]) -> list[str]:
    tag, value = only(argument)
    if tag == "as_tensor":
        return [value["name"]]
    return [item["name"] for item in value if isinstance(item, dict) and "name" in item] if tag == "as_tensors" else []


def _size_math(name: str, args: list[Any], builder: Builder) -> Any:
    if name == "getitem":
        return args[0][args[1]]
    if any(isinstance(item, float) for item in args):
        return PLAIN_MATH[name](*args)
    return builder.math(SIZE_MATH[name], args[0], args[1])


_PLAIN = frozenset({"as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools", "as_strings"})
_NON_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def _argument(argument: object, env: Mapping[str, Any]) -> Any:
    tag, value = only(argument)
    if tag == "as_float" and isinstance(value, str):
        return _NON_FINITE[value]
    if tag in _PLAIN:
        return value
    if tag == "as_tensor":
        return env[value["name"]]
    if tag in ("as_tensors", "as_nested_tensors"):
        return [env[item["name"]] for item in value]
    if tag == "as_optional_tensors":
        return [_argument(item, env) for item in value]
    if tag in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        inner, found = only(value)
        return env[found] if inner == "as_name" else found
    if tag in ("as_sym_ints", "as_sym_floats"):
        return [_argument({tag[:-1]: item}, env) for item in value]
    if tag == "as_scalar_type":
        return dtype_of(value)
    if tag in ("as_none", "as_device", "as_layout", "as_memory_format"):
        return None
    raise broken(f"Unexpected argument of kind {tag[:40]!r}.")


def _bind(outputs: Sequence[Any], results: Sequence[Any], env: dict[str, Any]) -> None:
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        outputs = [{"as_tensor": item} for item in outputs[0]["as_tensors"]]
    for output, result in zip(outputs, results, strict=False):
        tag, value = only(output)
        if tag == "as_tensor":
            env[value["name"]] = result
        elif tag in ("as_sym_int", "as_sym_float"):
            env[value["as_name"]] = result
