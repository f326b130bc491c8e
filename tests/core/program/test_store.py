"""The tensor store: content addresses, immutable packs, mapping without copying."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gpuworker.core.errors import UnreadableModel
from gpuworker.core.program.keys import content_key
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.program.store import TensorStore, load


def tensors() -> dict[str, torch.Tensor]:
    made = [torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES.values()]
    made += [torch.tensor(1.5), torch.empty(0, 4), torch.tensor(True), torch.randn(3, 5).t(), torch.randn(2, 3).to(torch.bfloat16)]
    return {content_key(item): item for item in made}


def test_every_dtype_comes_back_bit_by_bit(tmp_path: Path) -> None:
    store, given = TensorStore(tmp_path), tensors()
    places = store.write_pack(given)
    with store.open_pack(places[0].pack) as pack:
        found = load(places, {places[0].pack: pack})
    assert found.keys() == given.keys()
    for key, tensor in given.items():
        assert found[key].dtype == tensor.dtype and found[key].shape == tensor.shape
        assert content_key(found[key]) == key


def test_a_pack_is_a_safetensors_file(tmp_path: Path) -> None:
    store = TensorStore(tmp_path)
    value = torch.randn(7, 3)
    (place,) = store.write_pack({content_key(value): value})
    assert torch.equal(safetensors.torch.load_file(store.path(place.pack))[place.key], value)
    many = store.write_pack(tensors())
    assert content_key(safetensors.torch.load_file(store.path(many[0].pack))[many[0].key]) == many[0].key


def test_mapped_tensors_share_the_file_and_cannot_change_it(tmp_path: Path) -> None:
    store, value = TensorStore(tmp_path), torch.zeros(1024)
    (place,) = store.write_pack({content_key(value): value})
    with store.open_pack(place.pack) as pack:
        found = load([place], {place.pack: pack})[place.key]
    found[0] = 5.0
    with store.open_pack(place.pack) as pack:
        assert load([place], {place.pack: pack})[place.key][0] == 0


def test_numpy_arrays_are_taken(tmp_path: Path) -> None:
    array = np.arange(4, dtype=np.float32)
    key = content_key(torch.from_numpy(array))
    assert TensorStore(tmp_path).write_pack({key: array})[0].nbytes == 16


def test_a_wrong_key_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the content"):
        TensorStore(tmp_path).write_pack({"0" * 64: torch.zeros(2)})
    assert not list(tmp_path.rglob("*.safetensors"))


def test_keys_tell_dtype_shape_and_content_apart() -> None:
    keys = {content_key(item) for item in (torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.ones(4))}
    assert len(keys) == 4
    turned = torch.randn(3, 5).t()
    assert content_key(turned) == content_key(turned.contiguous())


def test_a_place_outside_its_pack_is_refused(tmp_path: Path) -> None:
    store, value = TensorStore(tmp_path), torch.zeros(8)
    (place,) = store.write_pack({content_key(value): value})
    for lie in ({"offset": place.offset + 8}, {"offset": -1}, {"nbytes": 8}, {"shape": (1 << 40,)}):
        with store.open_pack(place.pack) as pack, pytest.raises(UnreadableModel):
            load([dataclasses.replace(place, **lie)], {place.pack: pack})


def test_pack_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64"):
        TensorStore(tmp_path).open_pack("../" * 5 + "etc/passwd")


def test_a_deleted_pack_stays_readable_where_it_is_mapped(tmp_path: Path) -> None:
    store, value = TensorStore(tmp_path), torch.ones(8)
    (place,) = store.write_pack({content_key(value): value})
    with store.open_pack(place.pack) as pack:
        found = load([place], {place.pack: pack})
    store.delete_pack(place.pack)
    assert torch.equal(found[place.key], value) and not store.path(place.pack).exists()
    store.delete_pack(place.pack)
