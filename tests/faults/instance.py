"""A running instance with a person in it: acts over REST, watches over the socket, looks at rows through SQL."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from tests.system import System, wait_until

ENDED = ("finished", "stopped", "failed")
CANDIDATE = (
    "version_id, state, position, prior_rank, prior_scores, scores, predicted, low, high, why, "
    "p_best, rank_from, rank_to, samples_done, error_title"
)


@dataclass(slots=True)
class Screen:
    """What a browser holds: it applies each message as board.js does."""

    seq: int = 0
    rows: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    final: bool = False

    def apply(self, message: dict[str, Any]) -> None:
        if message["type"] == "ping":
            return
        if message["type"] == "snapshot":
            self.rows = {}
        self.rows |= message["rows"]
        self.seq, self.order, self.final = message["seq"], message["order"], message["final"]

    @property
    def shown(self) -> tuple[dict[str, str], list[str], bool]:
        return self.rows, self.order, self.final


class Instance:
    """One data folder; `system` is replaced when the supervisor is started again.

    Two searches are compared to the bit, so nothing is merged: what a plan merges depends on what the one before it took.
    """

    def __init__(self, data: Path, *, workers: int = 1, prepare: str = "main()", **environment: str) -> None:
        self.data, self.workers = data, workers
        self.environment = {"SEARCH_EXECUTION": "exact", "DEVICE_SECONDS": "0"} | environment
        self.figures: dict[str, float] = {}
        self.start(seed=True)
        prepared = self.code(f"prepare.{prepare}")
        self.facts: dict[str, Any] = json.loads(prepared.splitlines()[-1])

    def start(self, *, seed: bool = False) -> None:
        self.system = System(self.data, seed=seed, workers=self.workers, environment=self.environment).wait_ready(300)

    def restart(self, *, workers: int, **environment: str) -> None:
        """End it in good order and start it again with other settings."""
        self.system.stop()
        self.workers, self.environment = workers, self.environment | environment
        self.start()

    def api(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """A REST call; waits out a web process that is being started again."""

        def call() -> Any:
            with self.system.client(self.facts["token"]) as client:
                answer = client.request(method, path, json=body or None)
            return answer if answer.status_code < 500 else None

        answer = wait_until(call, 30, f"an answer to {method} {path}")
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def search(self, sample_set: str = "sample_set") -> int:
        """A search whose candidates all run to the end, so that there is enough to disturb."""
        return int(self.api("POST", "/api/searches/", sample_set=self.facts[sample_set], drop_level=None)["id"])

    def code(self, line: str) -> str:
        return self.system.python(f"from tests.faults import prepare; {line}")

    @contextmanager
    def socket(self, search: int, after: int = 0) -> Iterator[ClientConnection]:
        address = f"{self.system.url.replace('http', 'ws')}/ws/searches/{search}/?after={after}"
        headers = {"Cookie": f"sessionid={self.facts['session']}"}
        with connect(address, additional_headers=headers, origin=self.system.url, open_timeout=10, close_timeout=1) as socket:  # type: ignore[arg-type]
            yield socket

    def watch(self, search: int, screen: Screen, seconds: float = 120) -> Screen:
        """Follow the board until it is final, connecting again whenever the socket ends, as a browser does."""
        deadline = time.monotonic() + seconds
        while not screen.final:
            assert time.monotonic() < deadline, f"the board is not final; rows: {self.progress(search):.0%}"
            with suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError), self.socket(search, screen.seq) as socket:
                while not screen.final:
                    screen.apply(json.loads(socket.recv(timeout=8)))
            time.sleep(0.1)
        return screen

    def watch_until(self, search: int, share: float, screen: Screen | None = None) -> Screen:
        """Follow the socket until this share of all predictions is saved; the search must still run then."""
        screen = screen or Screen()
        with self.socket(search, screen.seq) as socket:
            while self.progress(search) < share:
                with suppress(TimeoutError):
                    screen.apply(json.loads(socket.recv(timeout=0.1)))
                assert not screen.final, "the search ended before it could be disturbed: give it more to do"
        return screen

    def ended(self, search: int, seconds: float = 120) -> str:
        return str(wait_until(lambda: (state := self.state(search)) in ENDED and state, seconds, f"the end of search {search}"))

    def state(self, search: int) -> str:
        return str(self.system.one("SELECT state FROM search_search WHERE id = %s", search))

    def job(self, subject: int, kind: str = "search.run") -> tuple[str, int, str]:
        """(state, attempt, worker) of the latest job."""
        found = self.system.rows(
            "SELECT state, attempt, worker FROM jobs_job WHERE kind = %s AND subject_id = %s ORDER BY id DESC LIMIT 1", kind, subject
        )
        return found[0][0], found[0][1], found[0][2]

    def progress(self, search: int) -> float:
        share = self.system.one(
            "SELECT coalesce(sum(c.samples_done), 0)::float / greatest(1, count(*) * min(s.n_samples)) "
            "FROM search_candidate c JOIN search_search s ON s.id = c.search_id WHERE s.id = %s",
            search,
        )
        return float(share)

    def board(self, search: int) -> dict[str, Any]:
        """The final board without what may differ between two runs: times, and which rungs the estimate's history shows."""
        rows = self.system.rows(f"SELECT {CANDIDATE}, history, id FROM search_candidate WHERE search_id = %s ORDER BY version_id", search)
        versions = {row[-1]: row[0] for row in rows}
        query = "SELECT verdict, state, samples_done, n_samples FROM search_search WHERE id = %s"
        verdict, state, done, n = self.system.rows(query, search)[0]
        verdict = dict(verdict) | {"leaders": [versions[pk] for pk in verdict["leaders"]]}
        names = [name.strip() for name in CANDIDATE.split(",")]
        table = [dict(zip(names, row, strict=False)) | {"last_estimate": row[-2][-1] if row[-2] else None} for row in rows]
        return {"rows": table, "verdict": verdict, "state": state, "samples_done": done, "n": n}

    def assert_scored_once(self, search: int) -> None:
        """Every candidate that did not fail has each sample exactly once, and its seconds are those of its saved chunks."""
        chunks = self.system.rows(
            "SELECT k.candidate_id, k.start, k.stop FROM search_predictionchunk k JOIN search_candidate c ON c.id = k.candidate_id "
            "WHERE c.search_id = %s ORDER BY 1, 2",
            search,
        )
        n = self.system.one("SELECT n_samples FROM search_search WHERE id = %s", search)
        candidates = [row[0] for row in self.system.rows("SELECT id FROM search_candidate WHERE search_id = %s", search)]
        for candidate in candidates:
            spans = [(start, stop) for owner, start, stop in chunks if owner == candidate]
            assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])], f"gap or overlap: {spans}"
            assert spans[-1][1] == n
        counted, kept = self.system.rows(
            "SELECT (SELECT compute_seconds FROM search_search WHERE id = %s), "
            "(SELECT sum(k.seconds) FROM search_predictionchunk k JOIN search_candidate c ON c.id = k.candidate_id WHERE c.search_id = %s)",
            search,
            search,
        )[0]
        assert abs(counted - kept) < 1e-6 * max(1, len(chunks)), "forward passes were paid for that left no rows, or the other way round"

    def assert_told_once(self, search: int) -> None:
        """Events are numbered without a gap, the boards grow, and there is one end."""
        events = self.system.rows("SELECT seq, kind, payload FROM search_searchevent WHERE search_id = %s ORDER BY seq", search)
        assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
        assert self.system.one("SELECT last_seq FROM search_search WHERE id = %s", search) == len(events)
        kinds = [kind for _, kind, _ in events]
        assert [kinds.count(kind) for kind in ("queued", "started", "prior", "finished")] == [1, 1, 1, 1], kinds
        assert kinds[-1] == "finished"
        seen = [payload["samples"] for _, kind, payload in events if kind == "rung"]
        assert seen == sorted(seen)

    def family(self) -> list[psutil.Process]:
        """The supervisor's processes, down to the sandbox's children."""
        return psutil.Process(self.system.process.pid).children(recursive=True)

    def close(self) -> None:
        with suppress(Exception):
            self.system.stop()
        if self.system.process.poll() is None:
            self.system.process.send_signal(signal.SIGKILL)
            self.system.process.wait()
