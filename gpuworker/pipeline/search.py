"""Running a search: prior order from signatures, then all candidates over growing prefixes of the samples, with live rows.

Everything worth keeping is saved as it appears (predictions per chunk, failures, boards), under the job's lease. A run
that takes over from a dead worker reads what is there and asks only for the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from django.utils import timezone
from numpy.typing import NDArray

from catalog.labels import label_columns
from gpuworker.core.errors import ExecutionFailed, UserError
from gpuworker.core.probes import settle
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.ranking import Board, Event, Failed, Measured, Planned, Scored, board, prior, rank
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.core.signatures.columns import in_label_order
from gpuworker.pipeline.arrays import load_arrays
from gpuworker.pipeline.boards import board_save, left_row, prior_save
from gpuworker.pipeline.grounds import grounds_of
from gpuworker.pipeline.lease import Cancelled, Lease
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner
from jobs.models import JobState
from search.board import share_done
from search.events import event_add
from search.metrics import metric_of
from search.models import OUT_OF_RACE, Candidate, CandidateState, PredictionChunk, Search, SearchState
from search.ranks import shown_ranks
from search.services import search_end

log = logging.getLogger(__name__)
CHUNK = 256
FIRST_BOARDS_EVERY = 0.8  # seconds between boards while the first rung is still running, or more where a board takes long:
BOARD_SHARE = 5.0  # at most one part in so many of that time goes into boards


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
    run = SearchRun(lease, search)
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
    """One attempt at one search. Candidates are taken in prior order; `views` grow as predictions arrive."""

    def __init__(self, lease: Lease, search: Search) -> None:
        self.lease = lease
        self.search = search
        self.metric = metric_of(search.metric, search.labels)
        self.candidates = list(
            search.candidates.select_related("version__signature", "version__model").defer("version__program").order_by("prior_rank", "pk")
        )
        self.grounds = grounds_of(search)
        self._read_views()

    def _read_views(self) -> None:
        arrays, probes = load_arrays(self.search.sample_set.signature), self.grounds.probes
        # Settled once, so that every board of this run shares what was worked out between samples and probes.
        self.target = settle(TargetView(self.search.n_samples, arrays, self.grounds.features, probes.view if probes else None))
        self.views = [
            CandidateView(
                _signature_of(candidate, self.search.labels),
                self._known(candidate),
                probes.of(candidate.version_id) if probes else None,
                probes.sources.get(candidate.version_id, ()) if probes else (),
            )
            for candidate in self.candidates
        ]
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
        self.versions: dict[int, RunnableVersion] = {}
        next_board = time.monotonic() + FIRST_BOARDS_EVERY
        with Runner(self.search.sample_set.batch_path) as self.runner:
            try:
                for event in self._race():
                    self.lease.check()
                    match event:
                        case Planned():
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

    def _race(self) -> Iterator[Event]:
        return rank(
            self.target,
            self.views,
            self._predict,
            failed=self.failed,
            scorers=self.search.scorers,
            calibration=self.grounds.calibration,
            metric=self.metric,
            drop=self.search.drop_level,
            left=self.left,
            decided=self.search.rungs_done,
        )

    def _board(self) -> Board:
        """Of what has been predicted so far, between two rungs."""
        grounds = self.grounds.calibration
        return board(self.target, self.views, self.search.scorers, calibration=grounds, metric=self.metric, left=self.left)

    def _predict(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        """Predictions of one candidate, in chunks on a fixed grid, each saved before the next; returned as stored, so that
        a resumed run sees the same numbers as an undisturbed one."""
        candidate = self.candidates[index]
        if candidate.state == CandidateState.QUEUED:
            Candidate.objects.filter(pk=candidate.pk).update(state=CandidateState.RUNNING)
            candidate.state = CandidateState.RUNNING
        parts: list[NDArray[np.float32]] = []
        for low in range(start, stop, CHUNK):
            self.lease.check()
            parts.append(self._chunk(candidate, low, min(low + CHUNK, stop)))
        rows = np.concatenate(parts)
        view = self.views[index]
        known = rows if view.log_probs is None else np.concatenate([view.log_probs, rows])
        self.views[index] = replace(view, log_probs=known)
        return rows

    def _chunk(self, candidate: Candidate, start: int, stop: int) -> NDArray[np.float32]:
        version = self.versions.get(candidate.pk)
        if version is None:
            version = self.versions[candidate.pk] = RunnableVersion.of(candidate.version)
        try:
            rows, seconds = self.runner.run_rows(version, start, stop)
        except SandboxDefect as defect:
            log.error("candidate %s of search %s: %s\n%s", candidate.pk, self.search.pk, defect, defect.trace)
            raise ExecutionFailed(
                "The model could not be run: something broke on our side.",
                detail="The operator finds the cause in the worker's log.",
                fix="Retry this row.",
            ) from defect
        stored = rows[:, label_columns(candidate.version.labels, self.search.labels)].astype("<f2")
        with self.lease.write():
            PredictionChunk.objects.create(candidate=candidate, start=start, stop=stop, log_probs=stored.tobytes(), seconds=seconds)
            candidate.samples_done, candidate.seconds = stop, candidate.seconds + seconds
            Candidate.objects.filter(pk=candidate.pk).update(samples_done=stop, seconds=candidate.seconds)
            self.search.compute_seconds += seconds
            Search.objects.filter(pk=self.search.pk).update(compute_seconds=self.search.compute_seconds)
        return stored.astype(np.float32)

    def _first_board(self) -> None:
        """Rows appear while the first rung still runs; in later rungs the common prefix has not grown yet."""
        if self.search.samples_done == 0:
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
            self.lease.job.report_progress(share, self.search.stage)

    def _known(self, candidate: Candidate) -> NDArray[np.float32] | None:
        """What an earlier attempt saved: the chunks from 0 without a gap."""
        parts: list[NDArray[np.float32]] = []
        end = 0
        for chunk in candidate.chunks.order_by("start"):
            if chunk.start != end:
                break
            rows = np.frombuffer(bytes(chunk.log_probs), "<f2").reshape(chunk.stop - chunk.start, len(self.search.labels))
            parts.append(rows.astype(np.float32))
            end = chunk.stop
        candidate.samples_done = end
        return np.concatenate(parts) if parts else None


def _signature_of(candidate: Candidate, search_labels: list[str]) -> dict[str, NDArray[np.generic]]:
    """The stored arrays, those with one entry per label in the order of the search, as the predictions are."""
    signature = getattr(candidate.version, "signature", None)
    return in_label_order(load_arrays(signature.arrays), label_columns(candidate.version.labels, search_labels)) if signature else {}
