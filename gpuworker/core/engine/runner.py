"""Running a plan: a generator of rows, failures and checkpoints over a range of samples.

The caller goes from rung to rung (`run` on growing ranges), drops models in between, and closes the generator to stop.
What was given before is not computed again: models that have their rows are left out, and so is whatever only they need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from gpuworker.core.engine.cache import ResultCache
from gpuworker.core.engine.clock import Pace, clock_of
from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.estimate import touched, work
from gpuworker.core.engine.events import Checkpoint, Event, Failed, Rows, Worked
from gpuworker.core.engine.execute import Bound, Group, Values
from gpuworker.core.engine.graph import Graph, bitmap
from gpuworker.core.engine.plan import Part, Plan
from gpuworker.core.engine.planner import graph_key
from gpuworker.core.engine.prepare import Prepared, Read
from gpuworker.core.engine.quarantine import FAILURES, alone
from gpuworker.core.engine.stages import Branch
from gpuworker.core.engine.templates import RESULTS
from gpuworker.core.engine.trees import Tree, trees
from gpuworker.core.engine.widths import piece_key

ALONE = 64
"""Samples at once for a model that runs by itself: what was too much for a chunk may fit."""
Feed = Callable[[str, int, int], torch.Tensor]
"""(feed key, start, stop) > the inputs of samples start to stop."""


class PlanRunner:
    """One plan on one device.

    read: a weight by its content key. codes, cost: kept by a worker from plan to plan; `cost` learns from every run. cache:
    results of earlier runs on the same feeds.
    """

    def __init__(
        self,
        graph: Graph,
        branches: Sequence[Branch],
        plan: Plan,
        read: Read,
        codes: Codes,
        *,
        cost: CostModel | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        if graph_key(graph) != plan.key:
            raise ValueError("the plan is for other models")
        self._graph, self._branches, self._plan, self._codes = graph, branches, plan, codes
        self._cost, self._cache, self._around = cost, cache, graph.elements
        self._prepared = Prepared(graph, read, plan.device, plan.keep)
        self._sizes = Sizes(plan.chunk, plan.length)
        self._groups: dict[tuple[int, ...], Group] = {}
        self._warm: set[int] = set()
        self._curves: dict[tuple[int, int], float] = {}
        self._clock, self._pace = clock_of(plan.device), Pace(plan.device)
        self._trees = trees(plan.parts, branches)
        planned = {model for tree in self._trees for model in tree.models}
        # A model that only hands its inputs on has no branch.
        self._by_itself = bitmap(model for model in range(len(graph.models)) if model not in planned)
        if self._by_itself:
            self._trees.append(Tree((), tuple(self._models(self._by_itself))))
        self._number = {part.branches: number for number, part in enumerate(plan.parts)}
        self._gone = 0
        self._spent = [0.0] * len(graph.models)
        self._values: Values = {}
        self._count = 0  # samples of the chunk under way
        self._took = 0.0  # by the part under way; its caller's pauses between two pieces do not count

    def drop(self, models: Collection[int]) -> None:
        """Leave these out from the next piece of work on."""
        self._gone |= bitmap(models)

    def run(self, feed: Feed, start: int, stop: int, have: Mapping[int, int] | None = None) -> Iterator[Event]:
        """Samples start to stop. have: for models that were run before, the sample up to which their rows are known.

        Chunks lie on a fixed grid, so that a run that is taken up again computes what an undisturbed one does.
        """
        known = have or {}
        for tree in self._trees:
            models = tree.models
            for low in range(start - start % self._plan.chunk, stop, self._plan.chunk):
                first, high = max(low, start), min(low + self._plan.chunk, stop)
                wanted = bitmap(model for model in models if known.get(model, 0) < high) & ~self._gone
                if wanted:
                    yield from self._chunk(tree.parts, feed, first, high, wanted)
                    done = tuple(model for model in models if wanted >> model & 1 and not self._gone >> model & 1)
                    yield Checkpoint(done, high)

    def _chunk(self, parts: Sequence[Part], feed: Feed, start: int, stop: int, wanted: int) -> Iterator[Event]:
        self._count = stop - start
        found = self._cached(wanted, start, stop)
        needed = self._needed(parts, wanted & ~self._by_itself, found)
        readers = Counter(value for number in needed for value in set(self._branches[number].inputs))
        readers.update(value for model in self._models(wanted) for _, value in self._graph.outputs[model])
        self._values = dict(found)
        yield from self._given(wanted, readers, start, stop, set())
        for model in self._models(wanted & self._by_itself):
            yield self._alone(model, feed, start, stop)
        for part in parts:
            own = [self._branches[number] for number in part.branches if number in needed and self._alive(number, wanted)]
            if own:
                self._feed(own[0], feed, start, stop)
                made: set[int] = set()
                self._took = 0.0
                failed = yield from self._part(own, part, readers, made)
                self._keep(made, start, stop, self._took / len(own))
                yield from self._given(wanted, readers, start, stop, made)
                for model in failed:
                    if wanted >> model & 1 and not self._gone >> model & 1:
                        self._by_itself |= 1 << model
                        yield self._alone(model, feed, start, stop)
            for number in part.branches:
                if number in needed:
                    self._read(set(self._branches[number].inputs), readers)

    def _feed(self, branch: Branch, feed: Feed, start: int, stop: int) -> None:
        """What the branch reads of the inputs. What cannot be made stays away: the models that want it run by themselves and say why."""
        for key, node in self._graph.feeds.items():
            value = node * RESULTS
            if value in branch.inputs and value not in self._values:
                with suppress(*FAILURES):
                    self._values[value] = feed(key, start, stop).to(self._plan.device)

    def _read(self, found: Collection[int], readers: Counter[int]) -> None:
        """These values were read once more; those that nobody waits for any longer are let go of."""
        for value in found:
            readers[value] -= 1
            if readers[value] <= 0:
                self._values.pop(value, None)

    def _part(self, own: Sequence[Branch], part: Part, readers: Counter[int], made: set[int]) -> Generator[Worked, None, list[int]]:
        """Run branches together; one that fails is found by halving. Gives the models that must run by themselves."""
        try:
            yield from self._group(own, part, readers)
        except FAILURES:
            if len(own) == 1:
                return list(own[0].members)
            half, failed = len(own) // 2, []
            for some in (own[:half], own[half:]):
                failed += yield from self._part(some, part, readers, made)
            return failed
        made.update(branch.value(place) for branch in own for place in branch.form.outputs)
        return []

    def _group(self, own: Sequence[Branch], part: Part, readers: Counter[int]) -> Iterator[Worked]:
        values = self._values
        if any(value not in values for value in own[0].inputs):
            # What it reads was not made: the branch or the feed that makes it failed, and its models run by themselves.
            raise RuntimeError("an input is missing")
        key = tuple(branch.number for branch in own)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self._prepared, self._codes, self._plan.target, self._sizes, own, part.segments)
        last = frozenset(value for value in own[0].inputs if readers[value] == 1) if len(own) == 1 else frozenset()
        before = self._pace.recent()
        started = self._clock()
        for bound in group.run(values, last):
            ms = 1000 * (self._clock() - started)
            after = self._pace.recent()
            self._took += ms
            self._account(group, bound, ms, (before + after) / 2)
            yield Worked(self._number[part.branches], ms)
            before = self._pace.recent()
            started = self._clock()

    def _account(self, group: Group, bound: Bound, ms: float, pace: float) -> None:
        """Note what a piece took. The first run of a piece lays out weights and is no measure."""
        for branch in group.branches[bound.first : bound.first + bound.count]:
            for member in branch.members:
                self._spent[member] += ms / bound.count / len(branch.members)
        if self._cost is None or group.opaque:
            return
        if id(bound) in self._warm:
            self._cost.observe(piece_key(bound.stage.code_key, bound.count, self._count), self._expected(bound), ms, pace)
        self._warm.add(id(bound))

    def _expected(self, bound: Bound) -> float:
        """Milliseconds of a piece for the samples of this chunk, as curves alone have it."""
        assert self._cost is not None
        key = id(bound), self._count
        if key not in self._curves:
            calls = work(bound.code, self._count, self._plan.length)
            self._curves[key] = self._cost.ms(calls, max(self._around, touched(calls)))[0]
        return self._curves[key]

    def _given(self, wanted: int, readers: Counter[int], start: int, stop: int, made: set[int]) -> Iterator[Event]:
        """Rows of the models whose outputs are all there, now that `made` are (none made: those the cache or the feeds gave)."""
        models = {member for value in made for member in self._readers_of(value)} if made else set(self._models(wanted))
        values = self._values
        for model in sorted(models):
            outputs = self._graph.outputs[model]
            if not (wanted & ~self._gone & ~self._by_itself) >> model & 1 or any(value not in values for _, value in outputs):
                continue
            if not made or any(value in made for _, value in outputs):
                rows = {name: _named(values[value], name) for name, value in outputs}
                self._read([value for _, value in outputs], readers)
                yield self._rows(model, rows, start, stop)

    def _rows(self, model: int, outputs: Mapping[str, torch.Tensor], start: int, stop: int) -> Rows:
        ms, self._spent[model] = self._spent[model], 0.0
        return Rows(model, start, stop, outputs, ms)

    def _alone(self, model: int, feed: Feed, start: int, stop: int) -> Event:
        """The plain loop's word on one model: its rows, or its error by name."""
        started = self._clock()
        fed = dict(zip((item.name for item in self._graph.models[model].program.inputs), self._graph.fed[model], strict=True))
        result = alone(
            self._graph.models[model],
            self._prepared.read,
            lambda: {name: feed(key, start, stop) for name, key in fed.items()},
            self._plan.device,
            min(self._plan.chunk, ALONE),
        )
        self._spent[model] += 1000 * (self._clock() - started)
        if isinstance(result, Exception):
            self._gone |= 1 << model
            return Failed(model, result)
        return self._rows(model, result, start, stop)

    def _needed(self, parts: Sequence[Part], wanted: int, found: Values) -> set[int]:
        """Branches that must run: some wanted model has them, and what they make is not at hand."""
        asked = {value for model in self._models(wanted) for _, value in self._graph.outputs[model] if value not in found}
        needed: set[int] = set()
        for part in reversed(parts):
            for number in part.branches:
                branch = self._branches[number]
                if any(branch.value(place) in asked for place in branch.form.outputs):
                    needed.add(number)
                    asked.update(value for value in branch.inputs if value not in found)
        return needed

    def _cached(self, wanted: int, start: int, stop: int) -> Values:
        if self._cache is None:
            return {}
        found: Values = {}
        for branch in self._branches:
            if any(wanted >> member & 1 for member in branch.members):
                for place in branch.form.outputs:
                    result = self._cache.get(self._key(branch.value(place), start, stop))
                    if result is not None:
                        found[branch.value(place)] = result
        return found

    def _keep(self, made: set[int], start: int, stop: int, ms: float) -> None:
        """Offer results to the cache. ms: what making one of them took."""
        if self._cache is not None:
            for value in made:
                if isinstance(self._values.get(value), torch.Tensor):
                    self._cache.put(self._key(value, start, stop), self._values[value], ms)

    def _key(self, value: int, start: int, stop: int) -> tuple[object, ...]:
        return self._plan.device, self._plan.layout, self._graph.key(value // RESULTS), value % RESULTS, start, stop

    def _readers_of(self, value: int) -> list[int]:
        return self._models(self._graph.nodes[value // RESULTS].members)

    def _alive(self, number: int, wanted: int) -> bool:
        alive = wanted & ~self._gone & ~self._by_itself
        return any(alive >> member & 1 for member in self._branches[number].members)

    @staticmethod
    def _models(members: int) -> list[int]:
        return [place for place in range(members.bit_length()) if members >> place & 1]


def _named(value: Any, name: str) -> torch.Tensor:
    """An output by name; a program that ran as a whole gives all of its outputs at once."""
    result: torch.Tensor = value[name] if isinstance(value, Mapping) else value
    return result
