"""Candidates run as one plan in the sandboxed child (work/planned.py): rows come back as they are made, candidate by candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.engine.plan import Plan
from gpuworker.core.errors import ExecutionFailed, UserError
from gpuworker.core.sandbox import Reply, SandboxDefect
from gpuworker.pipeline.sandboxed import MIB, PlanGone, RunnableVersion, Runner, device
from search.costs import sandbox_bytes

CHUNK = 256
STEP_SECONDS = 0.25  # after so long the child comes back with what it has
PACKS = 900  # files that one plan may open
APART = 512 * MIB  # of the sandbox's memory, for all that is neither weights nor activations


class PlanBroken(Exception):
    """The plan cannot go on; its candidates can be run one by one."""


@dataclass(frozen=True, slots=True)
class Made:
    """Rows of one candidate from sample `start` on. seconds: spent on it."""

    candidate: int
    start: int
    log_probs: NDArray[np.float32]
    seconds: float


Step = list[Made | tuple[int, UserError]]
"""What the child came back with: rows, and who failed why."""


def fitting(versions: Sequence[RunnableVersion]) -> list[int]:
    """Those that one plan can hold, taken in order: their files open, and their tensors, each counted once, in half of the memory.

    A version that takes a quarter of it for a single sample is left out: it would leave no room for the others.
    """
    packs: set[str] = set()
    seen: set[str] = set()
    memory, held, taken = sandbox_bytes(), 0, []
    for index, version in enumerate(versions):
        more = {place["key"]: int(place["nbytes"]) for place in version.places if place["key"] not in seen}
        files, size = {place["pack"] for place in version.places} - packs, sum(more.values())
        if len(packs) + len(files) <= PACKS and held + size <= memory // 2 and version.memory_bytes <= memory // 4:
            packs |= files
            seen |= more.keys()
            held += size
            taken.append(index)
    return taken


class PlannedRun:
    """The plan of one attempt at a search.

    versions: by candidate. order: the candidates it holds, by their numbers in the plan. refused: those that cannot be fed these
    samples. worked: part > milliseconds. exact: shared work is done once, but nothing is merged and nothing rounded otherwise.
    stored, worked: of an earlier attempt. cost: the device's cost model as JSON, None where it was never measured. Raises PlanBroken.
    """

    def __init__(
        self,
        runner: Runner,
        versions: Mapping[int, RunnableVersion],
        samples: int,
        *,
        exact: bool = False,
        stored: Mapping[str, Any] | None = None,
        worked: Mapping[str, float] = MappingProxyType({}),
        cost: Mapping[str, Any] | None = None,
    ) -> None:
        self._runner, self._asked = runner, list(versions)
        bytes_held = sum({place["key"]: int(place["nbytes"]) for v in versions.values() for place in v.places}.values())
        options: dict[str, Any] = {
            "device": device(),
            "chunk": CHUNK,
            "budget": max(sandbox_bytes() - bytes_held - APART, 64 * MIB),
        }
        if exact:
            options |= {"layout": "plain", "widths": (1,)}
        asked = {"samples": samples, "options": options, "cost": cost, "plan": stored}
        self.labels = {key: len(version.spec["labels"]) for key, version in versions.items()}
        self.costs: dict[str, tuple[float, int]] = {}
        with _child():
            reply = runner.make_plan(list(versions.values()), asked)
            self.refused = {self._asked[item["model"]]: _error(item) for item in reply.meta["refused"]}
            self.order = [self._asked[number] for number in reply.meta["models"]]
            self.plan = Plan.from_json(reply.meta["plan"]).to_json()
            self.drawing: list[dict[str, Any]] = list(reply.meta["drawing"])
        self.worked = dict(worked) if self.plan == stored else {}

    def run(self, wanted: Mapping[int, int], stop: int, gone: Sequence[int], aside: Executor, check: Callable[[], None]) -> Iterator[Step]:
        """Bring candidates to sample `stop`. wanted: candidate > its first sample that is missing. gone: those that take no more part.

        The child begins at once, and makes the next step while its caller looks at one. Yields after every step, also without news.
        aside: the one thread that waits for the child. check: called before every further step; what it raises ends the run. Iterating
        raises PlanBroken.
        """
        place = {candidate: number for number, candidate in enumerate(self._asked)}
        others = [number for candidate, number in place.items() if candidate not in wanted]
        begin = {
            "start": min(wanted.values()),
            "stop": stop,
            "have": {str(place[candidate]): start for candidate, start in wanted.items()} | {str(number): stop for number in others},
            "gone": [place[candidate] for candidate in gone if candidate in place],
        }
        first = aside.submit(self._runner.run_plan, begin, STEP_SECONDS)
        return self._steps(first, dict(wanted), lambda: aside.submit(self._runner.run_plan, None, STEP_SECONDS), check)

    def _steps(
        self, step: Future[Reply] | None, reached: dict[int, int], ask: Callable[[], Future[Reply]], check: Callable[[], None]
    ) -> Iterator[Step]:
        while step is not None:
            with _child():
                reply = step.result()
                found = self._found(reply, reached)
                done = bool(reply.meta["done"])
            check()
            step = None if done else ask()
            yield found

    def _found(self, reply: Reply, reached: dict[int, int]) -> Step:
        for part, ms in reply.meta["worked"]:
            self.worked[str(int(part))] = self.worked.get(str(int(part)), 0.0) + float(ms)
        self.costs |= {str(key): (float(mean), int(runs)) for key, (mean, runs) in reply.meta["costs"].items()}
        found: Step = [(self._asked[item["model"]], _error(item)) for item in reply.meta["failed"]]
        for number, item in enumerate(reply.meta["rows"]):
            made = self._made(item, reply.arrays[f"r{number}"], reached)
            if made is not None:
                found.append(made)
        return found

    def _made(self, item: Mapping[str, Any], rows: NDArray[np.float32], reached: dict[int, int]) -> Made | None:
        """Rows that are new: a chunk that others needed whole brings some candidates rows that they have."""
        candidate, start, stop = self._asked[item["model"]], int(item["start"]), int(item["stop"])
        if rows.shape != (stop - start, self.labels[candidate]) or rows.dtype != np.float32 or start > reached[candidate]:
            raise ValueError(f"rows {start} to {stop} of candidate {candidate} are not what was asked for")
        first, reached[candidate] = reached[candidate], max(stop, reached[candidate])
        return Made(candidate, first, rows[first - start :], float(item["ms"]) / 1000) if stop > first else None


@contextlib.contextmanager
def _child() -> Iterator[None]:
    """Whatever goes wrong in the child or with its answer breaks the plan: running the models one by one finds out whose fault it is."""
    try:
        yield
    except (UserError, SandboxDefect, PlanGone, KeyError, ValueError, TypeError, IndexError) as error:
        raise PlanBroken(f"{type(error).__name__}: {error}") from error


def _error(item: Mapping[str, Any]) -> UserError:
    return ExecutionFailed(str(item["title"]), detail=str(item["detail"]), fix=str(item["fix"]))
