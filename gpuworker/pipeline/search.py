"""Running a search: prior order from signatures, then all candidates over growing prefixes of the samples, with live rows.

Everything worth keeping is saved as it appears (predictions per chunk, failures, boards), under the job's lease. A run
that takes over from a dead worker reads what is there and asks only for the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from django.conf import settings
from django.utils import timezone
from numpy.typing import NDArray

from catalog.labels import label_columns
from gpuworker.core import ranking
from gpuworker.core.errors import ExecutionFailed, UserError
from gpuworker.core.probes import settle
from gpuworker.core.protocols import TargetView
from gpuworker.core.ranking import Board, Event, Failed, Measured, Scored, board, prior, rank
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.pipeline.arrays import load_arrays
from gpuworker.pipeline.boards import board_save, left_row, prior_save
from gpuworker.pipeline.devices import corrections_save, cost_of, this_device
from gpuworker.pipeline.grounds import grounds_of
from gpuworker.pipeline.lease import Cancelled, Lease
from gpuworker.pipeline.planned import CHUNK, Made, PlanBroken, PlannedRun, Step, fitting
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner
from gpuworker.pipeline.views import candidate_views
from jobs.models import JobState
from search.board import share_done
from search.events import Planned, event_add
from search.metrics import metric_of
from search.models import OUT_OF_RACE, Candidate, CandidateState, PredictionChunk, Search, SearchPlan, SearchState
from search.ranks import shown_ranks
from search.services import search_end

log = logging.getLogger(__name__)
PLANS = 2  # of one attempt: after one that broke whoever broke it has failed by name, and the next may do
FIRST_BOARDS_EVERY = 0.8  # seconds between boards while the first rung is still running, or more where a board takes long:
BOARD_SHARE = 5.0  # at most one part in so many of that time goes into boards
SHORT_SECONDS = 1.0  # in a run that takes no longer, boards between the first rung and the last are not worth their tenths of a second


def run_search(lease: Lease) -> None:
    """Job search.run."""
    try:
        _run(lease)
    except Exception:
        if Search.objects.filter(pk=lease.job.subject_id).exists():
            raise
        # Deleted meanwhile, with its samples and predictions: whatever went wrong went wrong for that.
        raise Cancelled from None


def _run(lease: Lease) -> None:
    search = Search.objects.select_related("sample_set", "owner").get(pk=lease.job.subject_id)
    with lease.write():
        _begin(search, lease.job.attempt)
    # The child reads samples and programs and plans them while this process looks at signatures and probes.
    with Runner(search.sample_set.batch_path) as runner, ThreadPoolExecutor(1, "plan") as aside:
        run = SearchRun(lease, search, runner, aside)
        if search.prior_at is None:
            run.prior()
        elif run.grounds.document != search.probes:  # withdrawn meanwhile
            with lease.write():
                Search.objects.filter(pk=search.pk).update(probes=run.grounds.document)
                search.probes = run.grounds.document
        run.measure()


def _begin(search: Search, attempt: int) -> None:
    """Also from an earlier end: the job of a stopped or failed search can be started again. Runs in the caller's transaction."""
    again = search.started is not None
    stopped = search.candidates.filter(state=CandidateState.STOPPED)
    rows = list(stopped.values_list("pk", flat=True))
    stopped.update(state=CandidateState.QUEUED)
    fields = {
        "state": SearchState.RUNNING, "stage": "Comparing behaviour signatures", "started": search.started or timezone.now(),
        "finished": None, "error_title": "", "error_detail": "", "error_fix": "",
    }  # fmt: skip
    event_add(search, "resumed" if again else "started", {"attempt": attempt}, rows=rows, fields=fields)


def search_ended(lease: Lease, state: JobState, error: UserError | None) -> None:
    """End the search's row with its job, if it was not deleted meanwhile."""
    search = Search.objects.filter(pk=lease.job.subject_id).first()
    if search is None:
        return
    final = {JobState.SUCCEEDED: SearchState.FINISHED, JobState.CANCELLED: SearchState.STOPPED}.get(state, SearchState.FAILED)
    search_end(search=search, state=final, kind_by=search.owner.get_username() if state == JobState.CANCELLED else "", error=error)


class SearchRun:
    """One attempt at one search. Candidates are taken in prior order; `views` grow as predictions arrive. aside: where a plan is made."""

    def __init__(self, lease: Lease, search: Search, runner: Runner, aside: Executor) -> None:
        self.lease = lease
        self.search = search
        self.runner = runner
        self.aside = aside
        self.metric = metric_of(search.metric, search.labels)
        self.candidates = list(
            search.candidates.select_related("version__signature", "version__model").defer("version__program").order_by("prior_rank", "pk")
        )
        self.versions: dict[int, RunnableVersion] = {}
        self.planned: PlannedRun | None = None
        self.planning: Future[PlannedRun] | None = None
        self.plans_left = PLANS if settings.SEARCH_EXECUTION != "loop" else 0
        self._begin_plan()
        self.grounds = grounds_of(search)
        self._read_views()

    def _read_views(self) -> None:
        arrays, probes = load_arrays(self.search.sample_set.signature), self.grounds.probes
        # Settled once, so that every board of this run shares what was worked out between samples and probes.
        target = TargetView(self.search.n_samples, arrays, self.grounds.features, probes.view if probes else None)
        self.target = settle(target, probes.fits if probes else None)
        self.views = candidate_views(self.search, self.candidates, probes)
        self.left = {
            index: left_row(index, candidate)
            for index, candidate in enumerate(self.candidates)
            if candidate.state == CandidateState.ELIMINATED
        }
        self.failed = [index for index, candidate in enumerate(self.candidates) if candidate.state == CandidateState.FAILED]

    def prior(self) -> None:
        """Order the candidates by their signatures alone and show that at once."""
        started = time.perf_counter()
        scores = prior(self.target, self.views)
        with self.lease.write():
            prior_save(self.search, self.candidates, scores, self.grounds.document, seconds=time.perf_counter() - started)
        order = sorted(range(len(scores)), key=lambda index: (scores[index].position, self.candidates[index].pk))
        self.candidates = [self.candidates[index] for index in order]
        self.views = [self.views[index] for index in order]

    def measure(self) -> None:
        """Run what is missing, rung by rung. On a stop the board of what is there is saved before the search ends."""
        self.places = {candidate.pk: index for index, candidate in enumerate(self.candidates)}
        next_board = time.monotonic() + FIRST_BOARDS_EVERY
        try:
            self._take_plan()
            for event in self._race():
                self.lease.check()
                match event:
                    case ranking.Planned():
                        self.lease.progress(0.0, f"{len(self.candidates)} candidates")
                    case Measured() if (begun := time.monotonic()) > next_board:
                        self._first_board()
                        now = time.monotonic()
                        next_board = now + max(FIRST_BOARDS_EVERY, BOARD_SHARE * (now - begun))
                    case Failed(index, error):
                        self._fail(index, error)
                    case Scored(rung, scored):
                        self._save(scored, rung)
                        self.left |= {index: scored.rows[index] for index in scored.left}
        except Cancelled:
            self._save(self._board(), last=True)
            raise
        if self.planned is not None:
            corrections_save(self.planned.costs)

    def _race(self) -> Iterator[Event]:
        return rank(
            self.target,
            self.views,
            self._execute,
            failed=self.failed,
            scorers=self.search.scorers,
            calibration=self.grounds.calibration,
            metric=self.metric,
            drop=self.search.drop_level,
            left=self.left,
            decided=self.search.rungs_done,
            short=self._short,
        )

    def _short(self) -> bool:
        """Whether running all candidates to the end is sure to take less time than the boards between: on a measured device a plan that
        holds them all foretells it. It is kept with the search, so whoever takes over comes to the same answer."""
        plan = self.search.plan
        if not plan or plan["one_by_one"] or plan["high"] >= SHORT_SECONDS:
            return False
        return SearchPlan.objects.filter(search=self.search, measured=True).exists()

    def _board(self) -> Board:
        """Of what has been predicted so far, between two rungs."""
        grounds = self.grounds.calibration
        return board(self.target, self.views, self.search.scorers, calibration=grounds, metric=self.metric, left=self.left)

    def _execute(self, wanted: Mapping[int, int], stop: int) -> Iterator[tuple[int, NDArray[np.float32] | UserError]]:
        """Bring candidates to sample `stop`: by the plan, which begins at once, and one by one those that it does not hold or cannot
        finish."""
        if self.planned is None and self.plans_left:  # the one before broke
            self._begin_plan()
            self._take_plan()
        asked = {self.candidates[index].pk: start for index, start in wanted.items()}
        mine = {pk: asked[pk] for pk in self.planned.order if pk in asked} if self.planned is not None else {}
        if self.planned is None or not mine:
            return self._found(wanted, stop, iter(()))
        self._mark_running([self.places[pk] for pk in mine])
        gone = [candidate.pk for candidate in self.candidates if candidate.state in OUT_OF_RACE]
        return self._found(wanted, stop, self.planned.run(mine, stop, gone, self.aside, self.lease.check))

    def _found(self, wanted: Mapping[int, int], stop: int, steps: Iterator[Step]) -> Iterator[tuple[int, NDArray[np.float32] | UserError]]:
        waiting = dict(wanted)
        try:
            for index, found in self._by_plan(steps, wanted, stop):
                del waiting[index]
                yield index, found
        except PlanBroken as broken:
            log.warning("search %s: the plan broke, its candidates go on one by one: %s", self.search.pk, broken)
            self.planned = None
        for index in waiting:
            try:
                self._alone(index, stop)
            except UserError as error:
                yield index, error
            else:
                yield index, self._rows(index, wanted[index], stop)

    def _begin_plan(self) -> None:
        """Have all candidates planned, also those that are done: a run that is taken up again then finds the plan it had."""
        if not self.plans_left or all(c.state in OUT_OF_RACE or c.samples_done >= self.search.n_samples for c in self.candidates):
            return
        self.plans_left -= 1
        owners = {candidate.version_id: candidate.pk for candidate in self.candidates}
        versions = {owners[pk]: version for pk, version in RunnableVersion.of_all(owners).items()}
        order = sorted(versions)
        held = {order[place]: versions[order[place]] for place in fitting([versions[pk] for pk in order])}
        self.device = this_device()
        self.measured = cost_of(self.device) is not None
        kept = SearchPlan.objects.filter(search=self.search).first()
        self.planning = self.aside.submit(
            PlannedRun,
            self.runner,
            held,
            self.search.n_samples,
            exact=settings.SEARCH_EXECUTION == "exact",
            stored=kept.plan if kept else None,
            worked=kept.worked if kept else {},
            cost=self.device.cost if self.measured else None,
        )

    def _take_plan(self) -> None:
        """Wait for the plan and show it."""
        if self.planning is None:
            return
        planning, self.planning = self.planning, None
        try:
            self.planned = planning.result()
        except PlanBroken as broken:
            log.warning("search %s: no plan, its candidates run one by one: %s", self.search.pk, broken)
            self.plans_left = 0
        else:
            self._show_plan(self.planned)

    def _show_plan(self, planned: PlannedRun) -> None:
        predicted = planned.plan["predicted"]
        told: Planned = {
            "candidates": len(planned.order),
            "one_by_one": len(self.candidates) - len(planned.order),
            "seconds": predicted["ms"] / 1000,
            "low": predicted["low"] / 1000,
            "high": predicted["high"] / 1000,
            "shared": predicted["shared"],
            "memory_bytes": predicted["peak_bytes"] + predicted["weight_bytes"],
        }
        facts = {
            "plan": planned.plan,
            "drawing": planned.drawing,
            "candidates": planned.order,
            "device": self.device.name,
            "measured": self.measured,
        }
        with self.lease.write():
            SearchPlan.objects.update_or_create(search=self.search, defaults=facts)
            event_add(self.search, "planned", told, fields={"plan": told})

    def _by_plan(
        self, steps: Iterator[Step], wanted: Mapping[int, int], stop: int
    ) -> Iterator[tuple[int, NDArray[np.float32] | UserError]]:
        """Rows are saved as they come, a step's at once. Raises PlanBroken; what was saved by then is known to `_rows`."""
        for pk, error in self.planned.refused.items() if self.planned is not None else ():
            if self.places[pk] in wanted:
                yield self.places[pk], error
        for step in steps:
            self._store([item for item in step if isinstance(item, Made)])
            for item in step:
                if not isinstance(item, Made):
                    pk, error = item
                    yield self.places[pk], error
                elif item.start + len(item.log_probs) >= stop:
                    index = self.places[item.candidate]
                    yield index, self._rows(index, wanted[index], stop)

    def _alone(self, index: int, stop: int) -> None:
        """One candidate in chunks on a fixed grid, each saved before the next. Raises UserError when it cannot."""
        candidate, view = self.candidates[index], self.views[index]
        self._mark_running([index])
        if candidate.pk not in self.versions:
            self.versions[candidate.pk] = RunnableVersion.of(candidate.version)
        start = 0 if view.log_probs is None else len(view.log_probs)
        for low in range(start, stop, CHUNK):
            self.lease.check()
            try:
                rows, seconds = self.runner.run_rows(self.versions[candidate.pk], low, min(low + CHUNK, stop))
            except SandboxDefect as defect:
                log.error("candidate %s of search %s: %s\n%s", candidate.pk, self.search.pk, defect, defect.trace)
                raise ExecutionFailed(
                    "The model could not be run: something broke on our side.",
                    detail="The operator finds the cause in the worker's log.",
                    fix="Retry this row.",
                ) from defect
            self._store([Made(candidate.pk, low, rows, seconds)])

    def _mark_running(self, indexes: Iterable[int]) -> None:
        begun = [self.candidates[index] for index in indexes if self.candidates[index].state == CandidateState.QUEUED]
        if begun:
            Candidate.objects.filter(pk__in=[candidate.pk for candidate in begun]).update(state=CandidateState.RUNNING)
        for candidate in begun:
            candidate.state = CandidateState.RUNNING

    def _store(self, made: Sequence[Made]) -> None:
        """Save predictions; kept as stored, so that a resumed run sees the same numbers as an undisturbed one."""
        if not made:
            return
        chunks = []
        for item in made:
            index = self.places[item.candidate]
            candidate, view = self.candidates[index], self.views[index]
            rows = item.log_probs[:, label_columns(candidate.version.labels, self.search.labels)].astype("<f2")
            stop = item.start + len(rows)
            chunks.append(PredictionChunk(candidate=candidate, start=item.start, stop=stop, log_probs=rows.tobytes(), seconds=item.seconds))
            known = rows.astype(np.float32)
            self.views[index] = replace(view, log_probs=known if view.log_probs is None else np.concatenate([view.log_probs, known]))
            candidate.samples_done, candidate.seconds = stop, candidate.seconds + item.seconds
        with self.lease.write():
            PredictionChunk.objects.bulk_create(chunks)
            Candidate.objects.write({chunk.candidate for chunk in chunks}, ["samples_done", "seconds"])
            self.search.compute_seconds += sum(item.seconds for item in made)
            Search.objects.filter(pk=self.search.pk).update(compute_seconds=self.search.compute_seconds)

    def _rows(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        known = self.views[index].log_probs
        assert known is not None
        return known[start:stop]

    def _first_board(self) -> None:
        """Rows appear while the first rung still runs; in later rungs the common prefix has not grown yet, and once all have rows the
        rung's own board follows."""
        waiting = any(candidate.samples_done == 0 for candidate in self.candidates if candidate.state not in OUT_OF_RACE)
        if self.search.samples_done == 0 and waiting:
            self._save(self._board())

    def _fail(self, index: int, error: UserError) -> None:
        """The row says why. Those that shared its rank are sent with it: their bracket is another now."""
        candidate, ranks = self.candidates[index], shown_ranks(self.candidates)
        self.views[index] = replace(self.views[index], log_probs=None)
        with self.lease.write():
            Candidate.objects.filter(pk=candidate.pk).update(
                state=CandidateState.FAILED, error_title=error.title[:300], error_detail=error.detail, error_fix=error.fix,
                predicted=None, low=None, high=None, p_best=None, rank_from=None, rank_to=None, why=error.title[:400],
            )  # fmt: skip
            candidate.state = CandidateState.FAILED
            moved = [pk for pk, rank in shown_ranks(self.candidates).items() if ranks[pk] != rank]
            event_add(
                self.search,
                "candidate_failed",
                {"candidate": candidate.pk, "title": error.title, "detail": error.detail, "fix": error.fix},
                rows=[candidate.pk, *moved],
            )

    def _save(self, scored: Board, rung: int = 0, *, last: bool = False) -> None:
        """rung: after which it was scored, 0 for a board between rungs. Who leaves with it is written together with it."""
        done = min((c.samples_done for c in self.candidates if c.state not in OUT_OF_RACE), default=0)
        share = share_done([(c.state, c.samples_done, c.seconds) for c in self.candidates], self.search.n_samples)
        with self.lease.write(last=last):
            board_save(self.search, self.candidates, scored, done, rungs=max(rung, self.search.rungs_done))
            if self.planned is not None:  # what its pieces took so far, for the page
                SearchPlan.objects.filter(search=self.search).update(worked=self.planned.worked)
            self.lease.job.report_progress(share, self.search.stage)
