"""The allocator's settings, seen in a process of their own: how many pages a large result costs when it is made again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpuworker.core.allocator import keep_pages

_FAULTS = """
import resource, sys, torch
from gpuworker.core.allocator import keep_pages
if sys.argv[1] == "keep":
    assert keep_pages()
torch.set_num_threads(1)
x = torch.ones(10 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    y = x + 1
    del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _FAULTS, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not keep_pages(), reason="this C library has no mallopt")
def test_a_large_result_made_again_costs_few_pages() -> None:
    left = _faults("leave")
    assert left > 1000, "else there is nothing to be set"
    assert _faults("keep") < left / 3, "up to a dozen times, by where the heap begins, it finds another place before it keeps to one"
