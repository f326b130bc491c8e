"""A plan as it is drawn: its parts, what each reads, which models it serves, and what it is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.operators import OPAQUE, gives_size
from gpuworker.core.engine.plan import Plan
from gpuworker.core.engine.stages import Branch

MOST = 2_000
"""Parts that are described; of larger plans the dearest."""


def drawing(graph: Graph, branches: Sequence[Branch], plan: Plan) -> list[dict[str, Any]]:
    """JSON-safe, in the order the parts run.

    part: its number in the plan. reads: parts whose results it takes. models: numbers of those it serves, by branch: a branch of
    several models is work they share, several branches are siblings. width: how many siblings run as one. operators: [name,
    count] of one branch, the most frequent first. ms: predicted for all samples.
    """
    place = {number: part for part, item in enumerate(plan.parts) for number in item.branches}
    shown = sorted(range(len(plan.parts)), key=lambda part: -plan.parts[part].ms)[:MOST]
    rounds = plan.samples / plan.chunk
    drawn = []
    for number in sorted(shown):
        part = plan.parts[number]
        own = [branches[branch] for branch in part.branches]
        names = Counter(graph.nodes[node].kind.name for node in own[0].nodes if not gives_size(graph.nodes[node].kind.name))
        drawn.append(
            {
                "part": number,
                "reads": sorted({place[parent] for branch in own for parent in branch.parents}),
                "models": [list(branch.members) for branch in own],
                "width": part.width,
                "operators": [[name, count] for name, count in names.most_common()],
                "opaque": OPAQUE in names,
                "ms": rounds * part.ms,
            }
        )
    return drawn
