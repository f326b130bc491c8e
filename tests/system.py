"""A whole Modelshop in processes of its own, as `./dev up` starts it: for browser, fault and load tests, and the web benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg2

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


class System:
    """Start, look at, hurt and stop one instance. `environment` reaches every process of it."""

    def __init__(self, data: Path, *, seed: bool, workers: int = 1, environment: dict[str, str] | None = None) -> None:
        self.data = data
        arguments = ["--port", "0", "--data", str(data), "--workers", str(workers), *([] if seed else ["--no-seed"])]
        outside = {
            key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "MODELSHOP_HOME", "MODELSHOP_TEST_SERVER")
        }
        self.environment = outside | (environment or {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.embedded", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def wait_ready(self, seconds: float = 180) -> System:
        wait_until(lambda: self._died() or self.processes()["supervisor"] == self.process.pid, seconds, "the start")
        self.url = f"http://127.0.0.1:{self.processes()['port']}"
        return self

    def processes(self) -> dict[str, Any]:
        """Process ids by name, `port` and `database_url`."""
        return dict(json.loads((self.data / "processes.json").read_text()))

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> int:
        """Signal one child and wait until the supervisor has started another in its place; returns the new process id."""
        old = self.processes()[name]
        os.kill(old, sig)
        return wait_until(lambda: new if (new := self.processes()[name]) != old else 0, 30, f"a new {name}")

    def manage(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a management command inside the instance."""
        environment = self.environment | {"DATABASE_URL": self.processes()["database_url"], "MODELSHOP_HOME": str(self.data)}
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """Run code with Django set up; what it prints comes back."""
        return self.manage("shell", "--no-imports", "-c", code).strip()

    def client(self, token: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def settle(self) -> None:
        """Wait for what is measured in the background: a search takes the calibration that it finds at its start."""
        query = "SELECT count(*) FROM jobs_job WHERE kind LIKE 'catalog.%%' AND state IN ('queued', 'running')"
        wait_until(lambda: self.one(query) == 0, 280, "the runs on probes and the calibrations to end", every=1)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query; waits out a database that is being started again."""

        def ask() -> list[tuple[Any, ...]] | None:
            try:
                connection = psycopg2.connect(self.processes()["database_url"])
            except psycopg2.OperationalError:
                return None
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(query, parameters)
                    return [*cursor.fetchall(), ()]
            except psycopg2.OperationalError:
                return None
            finally:
                connection.close()

        return wait_until(ask, 60, "the database")[:-1]

    def one(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def log(self, name: str) -> str:
        return (self.data / "logs" / f"{name}.log").read_text(errors="replace")

    def stop(self) -> str:
        """Ctrl-C; returns what was printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.output += self.process.communicate(timeout=60)[0] or ""
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.output

    def _died(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the supervisor ended with {self.process.returncode}:\n{self.process.communicate()[0]}")
        return False


def wait_until(look: Callable[[], T], seconds: float, what: str, every: float = 0.1) -> T:
    """The first true value of `look`; fails naming `what` when none came in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (httpx.TransportError, json.JSONDecodeError, FileNotFoundError):
            pass
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
