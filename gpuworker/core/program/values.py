"""What the builder knows about a value before anything runs: constant or not, and its shape at two probe sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(eq=False, slots=True)
class Value:
    """A tensor or a size inside a builder.

    probes: the value at each probe size, as a tensor on the meta device (shape and dtype only) or an int; None = not known.
    constant: the tensor itself when it does not depend on the inputs. source: index of the step that makes it, or None.
    """

    probes: tuple[Any, Any]
    constant: torch.Tensor | None = None
    source: int | None = None
    result: int = 0
    port: int | None = None
    is_size: bool = False

    @property
    def known(self) -> bool:
        return self.probes[0] is not None and self.probes[1] is not None

    @property
    def rank(self) -> int | None:
        return self.probes[0].dim() if self.known and not self.is_size else None

    @property
    def dtype(self) -> torch.dtype | None:
        return self.probes[0].dtype if self.known and not self.is_size else None

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """Sizes that are the same at both probes; None in place of one that is not, or instead of all when nothing is known."""
        if not self.known or self.is_size or self.probes[0].dim() != self.probes[1].dim():
            return None
        return tuple(a if a == b else None for a, b in zip(self.probes[0].shape, self.probes[1].shape, strict=True))


Dim = int | Value
"""A size: known, or a value computed while running."""
