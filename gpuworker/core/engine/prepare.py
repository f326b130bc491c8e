"""Weights in the forms kernels want them, made once and kept as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch

from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Form
from gpuworker.core.engine.recipes import make

Tensor = torch.Tensor
Read = Callable[[str], Tensor]
"""A program's weight by its content key. Raises KeyError or what reading raises."""


def _packed(weight: Tensor, options: Sequence[Any]) -> Tensor:
    pads, stride, dilation, groups, size = options
    if weight.dim() == 3:
        weight = weight.unsqueeze(2)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight.contiguous(memory_format=torch.channels_last), list(pads), list(stride), list(dilation), groups, list(size)
    )
    return packed


def _lined_up(parts: Sequence[Tensor], rank: int) -> Tensor:
    """(g, 1, ..., 1, sizes): stacked so that each broadcasts as a tensor of that rank would."""
    stacked = torch.stack(list(parts))
    return stacked.reshape(stacked.shape[0], *(1,) * (rank - stacked.dim() + 1), *stacked.shape[1:])


FORMS: Mapping[str, Callable[[Sequence[Tensor], Sequence[Any]], Tensor]] = {
    "plain": lambda parts, options: parts[0],
    "turned": lambda parts, options: parts[0].t().contiguous(),
    "packed": lambda parts, options: _packed(parts[0] if len(parts) == 1 else torch.cat(list(parts)), options),
    "packed_rows": lambda parts, options: torch.ops.mkldnn._reorder_linear_weight(parts[0].contiguous(), options[0]),
    "stacked": lambda parts, options: torch.stack(list(parts)),
    "lined_up": lambda parts, options: _lined_up(parts, options[0]),
    "turned_stack": lambda parts, options: torch.stack([part.t() for part in parts]),
    "joined": lambda parts, options: torch.cat(list(parts)),
    "each": lambda parts, options: parts[0],
}
"""name > (the tensors of the group's members, options) > one tensor. Those of a single model take the first."""


AS_THEY_ARE = frozenset({"plain", "each"})


class Prepared:
    """Weights of one graph on one device. keep: bytes of prepared forms to keep; the least recently used go first."""

    def __init__(self, graph: Graph, read: Read, device: str, keep: int) -> None:
        self.graph, self.read, self._device, self._keep = graph, read, torch.device(device), keep
        self._kept: OrderedDict[Hashable, tuple[list[Tensor], int]] = OrderedDict()
        self.bytes = 0

    def bundle(self, key: Hashable, wanted: Sequence[tuple[Form, Sequence[int]]]) -> list[Tensor]:
        """The weights of one piece of work. key: names it. wanted: for each a form and the graph's weights it is made of."""
        found = self._kept.get(key)
        if found is None:
            with torch.inference_mode():
                tensors = [FORMS[form.name]([self.plain(weight) for weight in weights], form.options) for form, weights in wanted]
            size = sum(self._own_bytes(form, weights, tensor) for (form, weights), tensor in zip(wanted, tensors, strict=True))
            found = self._kept[key] = tensors, size
            self.bytes += size
            while self.bytes > self._keep and len(self._kept) > 1:
                _, (_, gone) = self._kept.popitem(last=False)
                self.bytes -= gone
        else:
            self._kept.move_to_end(key)
        return found[0]

    def plain(self, weight: int) -> Tensor:
        """As the program has it, or as its recipe makes it."""
        facts = self.graph.weights[weight]
        model = self.graph.models[facts.model]
        made = make(model.template.slots, facts.number, lambda place: self.read(model.weights[place]))
        return made.to(self._device)

    def _own_bytes(self, form: Form, weights: Sequence[int], tensor: Tensor) -> int:
        """Weights taken as they are lie in the mapped file; on the CPU they cost nothing of their own."""
        as_it_is = form.name in AS_THEY_ARE and self.graph.weights[weights[0]].slot.recipe is None
        if as_it_is and tensor.device.type == "cpu":
            return 0
        return tensor.untyped_storage().nbytes() if tensor.layout == torch.strided else tensor.numel() * tensor.element_size()

    def clear(self) -> None:
        """Let go of all, and so of the files behind them."""
        self._kept.clear()
        self.bytes = 0
