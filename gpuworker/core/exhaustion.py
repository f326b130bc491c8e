"""Telling a lack of memory from other failures: torch has no class of its own for it on the CPU."""

from __future__ import annotations

import torch

_PHRASES = ("DefaultCPUAllocator: can't allocate memory", "not enough memory: you tried to allocate", "can't start new thread")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory (or the right to another thread, which takes memory) ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in str(error) for phrase in _PHRASES)
