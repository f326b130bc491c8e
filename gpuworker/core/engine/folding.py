"""Rewrites that change results within rounding: normalisation folded into layers, patterns made one operator, layers fused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gpuworker.core.engine.draft import Draft, Ref, Step
from gpuworker.core.engine.operators import ACTIVATIONS, CONV, LINEAR
from gpuworker.core.engine.probe import Probed
from gpuworker.core.engine.recipes import Recipe, Slot
from gpuworker.core.program.keys import content_key
from gpuworker.core.program.model import Program

Constants = Callable[[Ref | None], float | None]
_HALF, _ROOT = 0.5, math.sqrt(2.0)


def scalar_keys(program: Program, head_sizes: Sequence[int] = ()) -> Constants:
    """The numbers behind those 0-d weights that patterns ask for, known by their content keys alone."""
    wanted = {0.5, 1.0, _ROOT, 1 / _ROOT}
    wanted |= {size**power for size in head_sizes for power in (-0.5, -0.25, 0.25, 0.5)}
    known = {content_key(torch.tensor(number, dtype=torch.float32)): number for number in wanted}
    numbers = [known.get(weight.key) if not weight.shape else None for weight in program.weights]

    def constant(ref: Ref | None) -> float | None:
        return numbers[ref.number] if ref is not None and ref.kind == "w" and ref.number < len(numbers) else None

    return constant


class Folder:
    """One draft being folded. Each pass looks for its pattern at every step, then the draft is settled."""

    def __init__(self, draft: Draft, probed: Probed, constant: Constants) -> None:
        self.draft, self.probed, self.constant = draft, probed, constant
        self.uses: Counter[Ref] = draft.uses()

    def run(self) -> None:
        for rewrite in (self._gelu, self._attention, self._global_mean, self._norm, self._layer_norm):
            self._everywhere(rewrite)
        self._everywhere(self._fuse)

    def _everywhere(self, rewrite: Callable[[int, Step], None]) -> None:
        for number in self.draft.order():
            step = self.draft.steps[number]
            if step is not None:
                rewrite(number, step)
        self.draft.settle()
        self.uses = self.draft.uses()

    def _alone(self, ref: Ref | None, name: str) -> Step | None:
        """The step of that name that makes a value nobody else uses."""
        step = self.draft.step(ref)
        return step if ref is not None and step is not None and step.name == name and self.uses[ref] == 1 else None

    def _with_constant(self, ref: Ref | None, name: str) -> Iterator[tuple[Ref, float]]:
        """A lone product, sum or quotient with a known number: (the other operand, the number)."""
        step = self._alone(ref, name)
        if step is not None:
            left, right = step.inputs
            for one, other in ((left, right), (right, left)) if name != "div" else ((left, right),):
                number = self.constant(other)
                if one is not None and number is not None:
                    yield one, number

    def _gelu(self, number: int, step: Step) -> None:
        """x/2 (1 + erf(x / sqrt 2)) in the orders exporters write it."""
        if step.name != "mul":
            return
        made = Ref("v", number)
        for inner, half in self._products(step):
            product = self._alone(inner, "mul")
            if half == _HALF and product is not None:
                x = self._erf_pair(product)
                if x is not None:
                    self._become_gelu(made, x)
        for half_ref, other in (step.inputs, step.inputs[::-1]):
            for x, half in self._with_constant(half_ref, "mul"):
                if half == _HALF and self._erf_of(other) == x:
                    self._become_gelu(made, x)

    def _products(self, step: Step) -> Iterator[tuple[Ref, float]]:
        for one, other in (step.inputs, step.inputs[::-1]):
            number = self.constant(other)
            if one is not None and number is not None:
                yield one, number

    def _erf_pair(self, product: Step) -> Ref | None:
        for one, other in (product.inputs, product.inputs[::-1]):
            if one is not None and self._erf_of(other) == one:
                return one
        return None

    def _erf_of(self, ref: Ref | None) -> Ref | None:
        """x when the value is 1 + erf(x / sqrt 2)."""
        for total, one in self._with_constant(ref, "add"):
            erf = self._alone(total, "erf")
            if one != 1.0 or erf is None:
                continue
            for x, root in (*self._with_constant(erf.inputs[0], "div"), *self._with_constant(erf.inputs[0], "mul")):
                divided = self.draft.step(erf.inputs[0])
                if divided is not None and root == (_ROOT if divided.name == "div" else 1 / _ROOT):
                    return x
        return None

    def _become_gelu(self, made: Ref, x: Ref) -> None:
        self.draft.steps[made.number] = Step("gelu", {"approximate": "none"}, [x], [])

    def _attention(self, number: int, step: Step) -> None:
        """softmax(q k' * scale + mask) v, with scales before or after the product."""
        if step.name != "matmul":
            return
        softmax = self._alone(step.inputs[0], "softmax")
        if softmax is None or self.probed.rank(Ref("v", number)) != 4 or softmax.attributes["dim"] != 3:
            return
        scores, mask = softmax.inputs[0], None
        added = self._alone(scores, "add")
        if added is not None:
            scores, mask = added.inputs
            if self._scaled(scores)[0] is None or self.draft.step(self._scaled(scores)[0]) is None:
                scores, mask = mask, scores
        scores, scale = self._scaled(scores)
        product = self._alone(scores, "matmul")
        if product is None:
            return
        q, first = self._scaled(product.inputs[0])
        k, second = self._scaled(product.inputs[1])
        turned = self.draft.step(k)
        if q is None or turned is None or turned.name != "permute" or tuple(turned.attributes["dims"]) != (0, 1, 3, 2):
            return
        attributes: dict[str, Any] = {"causal": False, "scale": scale * first * second}
        self.draft.steps[number] = Step("attention", attributes, [q, turned.inputs[0], step.inputs[1], *([mask] if mask else [])], [])
        size = self.probed.fixed(q)[-1]
        if size is not None and math.isclose(attributes["scale"], size**-0.5, rel_tol=1e-6):
            attributes["scale"] = None

    def _scaled(self, ref: Ref | None) -> tuple[Ref | None, float]:
        """(x, c) when the value is c times x, else (the value, 1)."""
        for x, number in self._with_constant(ref, "mul"):
            return x, number
        for x, number in self._with_constant(ref, "div"):
            return x, 1 / number
        return ref, 1.0

    def _global_mean(self, number: int, step: Step) -> None:
        """Adaptive average pooling to one place is a mean over space; dropping its sizes of 1 belongs to it."""
        if step.name == "adaptive_pool" and not step.attributes["largest"] and set(step.attributes["dims"]) == {1}:
            dims = tuple(range(2, 2 + len(step.attributes["dims"])))
            self.draft.steps[number] = Step("mean", {"dims": dims, "keepdim": True}, list(step.inputs), [])
        elif step.name == "reshape":
            mean = self._alone(step.inputs[0], "mean")
            if mean is None or not mean.attributes["keepdim"] or not mean.attributes["dims"]:
                return
            assert step.inputs[0] is not None
            kept = [
                tuple(size for dim, size in enumerate(shape) if dim not in mean.attributes["dims"])
                for shape in self.probed.shapes(step.inputs[0])
            ]
            if tuple(kept) == self.probed.shapes(Ref("v", number)):
                self.draft.steps[number] = Step("mean", {"dims": mean.attributes["dims"], "keepdim": False}, list(mean.inputs), [])

    def _norm(self, number: int, step: Step) -> None:
        """Batch normalisation behind a layer becomes part of the layer."""
        if step.name != "batch_norm" or any(ref is not None and ref.kind != "w" for ref in step.inputs[1:]):
            return
        layer = self._alone(step.inputs[0], "conv") or self._alone(step.inputs[0], "linear")
        if layer is None or not self._constant_float(layer) or self.probed.rank(Ref("v", number)) == 2 and layer.name != "linear":
            return
        if layer.name == "linear" and self.probed.rank(Ref("v", number)) != 2:
            return
        weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
        assert weight is not None
        scale, shift, mean, variance = step.inputs[1:]
        assert mean is not None and variance is not None
        slot = self.draft.slots[weight.number]
        new = [
            self._derive("norm_weight", {"eps": step.attributes["eps"], "dim": 0}, (weight, scale, variance), slot.shape),
            self._derive("norm_bias", {"eps": step.attributes["eps"]}, (bias, scale, shift, mean, variance), slot.shape[:1]),
        ]
        self.draft.steps[number] = Step(layer.name, layer.attributes, [layer.inputs[0], *new], [])

    def _layer_norm(self, number: int, step: Step) -> None:
        """Scale and shift of a layer normalisation move into the linear layers that alone use it."""
        if step.name != "layer_norm" or len(step.inputs) < 2 or step.inputs[1] is None or step.attributes["rank"] != 1:
            return
        made, (x, scale, shift) = Ref("v", number), (*step.inputs, None)[:3]
        users = [user for user in self.draft.steps if user is not None and made in user.operands()]
        if len(users) != self.uses[made] or scale is None or scale.kind != "w" or any(name == made for _, name in self.draft.outputs):
            return
        if any(user.name != "linear" or user.inputs[0] != made or not self._constant_float(user) for user in users):
            return
        for user in users:
            weight, bias = user.inputs[1], user.inputs[2] if len(user.inputs) > 2 else None
            assert weight is not None
            shape = self.draft.slots[weight.number].shape
            columns = self._derive("scaled_columns", {}, (weight, scale), shape)
            if shift is not None:
                bias = self._derive("shifted_bias", {}, (weight, bias, shift), shape[:1])
            user.inputs = [made, columns, *([bias] if bias is not None else [])]
        step.inputs = [x]

    def _constant_float(self, layer: Step) -> bool:
        refs = layer.inputs[1:]
        return all(ref is None or (ref.kind == "w" and self.draft.slots[ref.number].dtype == "float32") for ref in refs)

    def _derive(self, name: str, options: dict[str, float], sources: tuple[Ref | None, ...], shape: tuple[int, ...]) -> Ref:
        recipe = Recipe(name, json.dumps(options, sort_keys=True), tuple(None if ref is None else ref.number for ref in sources))
        return self.draft.add_slot(Slot("float32", shape, None, recipe))

    def _fuse(self, number: int, step: Step) -> None:
        """layer > add > activation, each used by the next alone, as one operator."""
        made, act = Ref("v", number), step.name if step.name in ACTIVATIONS else ""
        if act == "gelu" and step.attributes["approximate"] != "none":
            return
        if act:
            below = step.inputs[0]
            layer = self._alone(below, CONV) or self._alone(below, "conv") or self._alone(below, "linear")
            if layer is None or layer.attributes.get("act"):
                return
            self._become(made, layer, act, layer.inputs[3] if len(layer.inputs) > 3 else None)
        elif step.name == "add":
            one, other = step.inputs
            # The layer that comes last: what it is added to is ready by then.
            pairs = sorted(((one, other), (other, one)), key=lambda pair: -pair[0].number if pair[0] is not None else 0)
            for below, rest in pairs:
                layer = self._alone(below, "conv")
                if layer is None or rest is None or below is None or rest.kind != "v":
                    continue
                if self.probed.shapes(below) == self.probed.shapes(rest) and self.probed.dtype(below) == self.probed.dtype(rest):
                    self._become(made, layer, "", rest)
                    return

    def _become(self, made: Ref, layer: Step, act: str, other: Ref | None) -> None:
        name = LINEAR if layer.name == "linear" else CONV
        inputs = [*layer.inputs, None, None][:3]
        self.draft.steps[made.number] = Step(name, {**layer.attributes, "act": act}, [*inputs, *([other] if other is not None else [])], [])
