"""Telling a lack of memory from other failures: torch has no class of its own for it on the CPU."""

from __future__ import annotations

import torch

_PHRASES = ("DefaultCPUAllocator: can't allocate memory", "not enough memory: you tried to allocate", "can't start new thread")


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or what caused it, says that memory (or the right to another thread, which takes memory) ran out: a reader
    that fails for it may take it for a mistake of the file."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in str(error) for phrase in _PHRASES):
            return True
        error = error.__cause__
    return False
