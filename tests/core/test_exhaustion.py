"""Telling a lack of memory from other failures."""

from __future__ import annotations

from gpuworker.core.errors import UserError
from gpuworker.core.exhaustion import out_of_memory


def test_a_reader_that_ran_out_of_memory_met_no_malformed_file() -> None:
    try:
        try:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        except RuntimeError as error:
            raise UserError("A node of the model is malformed.", detail="MatMul", fix="Export it again.") from error
    except UserError as error:
        assert out_of_memory(error)
    assert not out_of_memory(UserError("A node of the model is malformed.", detail="MatMul", fix="Export it again."))
    assert out_of_memory(MemoryError()) and not out_of_memory(ValueError("memory"))
