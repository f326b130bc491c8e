"""The C library's allocator, told to keep what was given back to it.

By default glibc asks the system for every large result anew and gives it back at once, so that each of its pages is cleared and faulted
in again: a third of the time of large batches. (mallopt(3); M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.)
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_KEPT, _LARGEST = 1 << 29, 1 << 28
"""Bytes kept at the end of the heap, and of the largest block that comes from it: half a GiB, and a quarter."""


def keep_pages() -> bool:
    """For this process and those it forks. False where the C library has no such settings; nothing is changed then."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST))
