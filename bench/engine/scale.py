"""Planning thousands of models, and storing a thousand fine-tunes."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.engine.contenders import TEMPLATES
from bench.engine.networks import Perceptron, network
from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.plan import Options
from gpuworker.core.engine.planner import plan, uncollected
from gpuworker.core.engine.recipes import slot_keys
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.templates import Model
from gpuworker.core.program.keys import content_key
from gpuworker.core.program.store import TensorStore, load

BLOCKS = 24


def fine_tunes(model: Model, count: int, blocks: int, seed: int = 0) -> list[Model]:
    """Fine-tunes of fine-tunes of a network of so many blocks: 30 % in full, the others of their last few blocks. No tensor is made."""
    source = random.Random(seed)  # noqa: S311 - a mix of models
    known = [list(model.weights)]
    for number in range(count):
        keys = list(source.choice(known))
        # A program names the weights of its last layer first.
        new = len(keys) if source.random() < 0.3 else 2 * source.randint(1, blocks // 2)
        keys[:new] = [f"{number:032x}{place:032x}" for place in range(new)]
        known.append(keys)
    return [Model(model.template, model.program, tuple(keys), slot_keys(model.template.slots, keys)) for keys in known[1:]]


@uncollected()
def planning(count: int, cost: CostModel) -> tuple[float, dict[str, Any]]:
    """Seconds from structures and keys to a plan: fine-tunes of fine-tunes of a network of 24 blocks, 30 % of them in full."""
    made = network(Perceptron(64, BLOCKS).eval(), (64,))
    models = fine_tunes(TEMPLATES.model(made.program, "folded"), count, BLOCKS)
    started = time.process_time()
    graph = Graph()
    for one in models:
        graph.add(one, ["x"])
    found = branches(graph)
    done = plan(graph, found, cost, Codes(), Options(budget=8 << 30), 256)
    seconds = time.process_time() - started
    blocks = graph.steps_added
    return seconds, {
        "models": count,
        "blocks": blocks,
        "different blocks": len(graph.nodes) - len(graph.feeds),
        "branches": len(found),
        "parts": len(done.parts),
        "seconds": seconds,
    }


def deduplicated(count: int) -> tuple[float, dict[str, Any]]:
    """Bytes of separate files over bytes of the store, for fine-tunes that differ in their head; on disk, and mapped and read."""
    trunk = {f"trunk.{place}": torch.randn(256, 256) for place in range(8)}
    separate = sum(tensor.nbytes for tensor in trunk.values()) * count
    with tempfile.TemporaryDirectory() as folder:
        store = TensorStore(Path(folder))
        places = store.write_pack({content_key(tensor): tensor for tensor in trunk.values()})
        for _ in range(count):
            head = torch.randn(10, 256)
            separate += head.nbytes
            places += store.write_pack({content_key(head): head})
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        files = {place.pack: store.open_pack(place.pack) for place in places}
        tensors = load(places, files)
        resident = sum(tensor.nbytes for tensor in tensors.values())
        for file in files.values():
            file.close()
    ratio = separate / max(disk, resident)
    return ratio, {
        "fine-tunes": count,
        "bytes of separate files": separate,
        "bytes on disk": disk,
        "bytes mapped": resident,
        "ratio": ratio,
    }
