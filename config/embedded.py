"""The supervisor behind `./dev up`: PostgreSQL, web, workers and sweeper as children of one process.

A dead child is started again; a dead supervisor takes its children with it (parent-death signal); a second start on the
same data folder is refused (flock). One printed line per step.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from config import postgres

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "gpuworker" / "seed" / "files" / "manifest.json"
PR_SET_PDEATHSIG = 1
STARTED = time.monotonic()
RESTART_PAUSE = 1.0
_libc = ctypes.CDLL(None)


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


@dataclass(slots=True)
class Child:
    """A supervised process. `death_signal` is what the kernel sends it when the supervisor dies, and what ends it here."""

    name: str
    command: list[str]
    death_signal: signal.Signals
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0
    extra: dict[str, object] = field(default_factory=dict)

    def start(self, log_dir: Path, environment: dict[str, str]) -> None:
        def in_child() -> None:
            os.setpgid(0, 0)  # a Ctrl-C in the terminal reaches the supervisor only, which then stops children in order
            _libc.prctl(PR_SET_PDEATHSIG, int(self.death_signal))

        with (log_dir / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=ROOT,
                preexec_fn=in_child,
                **self.extra,  # type: ignore[call-overload]
            )
        self.started = time.monotonic()

    def ask_to_end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.death_signal)

    def wait_for_end(self, seconds: float = 10) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Starts everything in order, watches, stops in reverse order."""

    def __init__(self, data: Path, port: int, workers: int, host: str, seed: bool) -> None:
        self.data, self.port, self.workers, self.host, self.seed = data, port, workers, host, seed
        self.logs = data / "logs"
        self.children: list[Child] = []
        self.stopping = threading.Event()
        self.environment = dict(os.environ)

    def run(self) -> int:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        lock = (self.data / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"Modelshop already runs on {self.data}. Stop it, or choose another folder with --data.", file=sys.stderr)
            return 1
        (self.data / "processes.json").unlink(missing_ok=True)  # a killed supervisor leaves its own behind
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: self.stopping.set())
        try:
            self._start()
            self._watch()
            return 0
        except postgres.PostgresError as error:
            print(f"Cannot start PostgreSQL: {error}", file=sys.stderr)
            return 1
        except StartFailed as error:
            if self.stopping.is_set():
                return 0
            print(f"{error}", file=sys.stderr)
            return 1
        finally:
            self._stop()

    def _start(self) -> None:
        self.port = _claimable_port(self.host, self.port)
        temp = self.data / "tmp"
        temp.mkdir(mode=0o700, exist_ok=True)
        self.environment |= {
            "MODELSHOP_HOME": str(self.data),
            "TMPDIR": str(temp),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONUNBUFFERED": "1",
        }
        if not self.environment.get("DATABASE_URL"):
            self._start_postgres()
        self._manage("migrate", "--verbosity=0")
        say("database is up to date")
        self._spawn(
            "web",
            [
                sys.executable,
                "-m",
                "uvicorn",
                "config.asgi:application",
                "--host",
                self.host,
                "--port",
                str(self.port),
                "--log-level",
                "info",
                "--lifespan",
                "off",
                "--timeout-graceful-shutdown",
                "3",
            ],
            signal.SIGTERM,
        )
        for number in range(1, self.workers + 1):
            name = f"worker-{number}"
            self._spawn(
                name,
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "config",
                    "worker",
                    "-P",
                    "solo",
                    "-l",
                    "INFO",
                    "-n",
                    f"{name}@%h",
                    "--without-gossip",
                    "--without-mingle",
                    "--without-heartbeat",
                ],
                signal.SIGTERM,
            )
        self._spawn("sweeper", [sys.executable, "manage.py", "sweep"], signal.SIGTERM)
        url = f"http://{'localhost' if self.host in ('127.0.0.1', '::1', '0.0.0.0') else self.host}:{self.port}/"
        self._wait_for(url + "readyz")
        say(f"web answers at {url}")
        if self.seed and not self._seeded():
            self._manage("seed")
        self._write_pids()
        say("ready")
        print(f"\n  Modelshop   {url}\n  Data        {self.data}\n  Logs        {self.logs}", flush=True)
        for account in self._accounts():
            print(f"  Sign in     {account['username']:10} {account['password']}   {account['note']}", flush=True)
        print("  Stop        Ctrl-C\n", flush=True)

    def _seeded(self) -> bool:
        """Whether this very demo catalog was published before: saves starting Django to find nothing to do."""
        mark = self.data / "seeded"
        return mark.exists() and mark.read_text() == hashlib.sha256(MANIFEST.read_bytes()).hexdigest()

    def _accounts(self) -> list[dict[str, str]]:
        path = self.data / "demo-accounts.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def _start_postgres(self) -> None:
        server = postgres.locate(self.data)
        if server.prepare():
            say("database cluster made")
        child = Child("postgres", server.server_command(), signal.SIGINT, extra=server._as_user())
        child.start(self.logs, self.environment | {"TMPDIR": "/tmp"})
        self.children.append(child)
        assert child.process is not None
        server.wait_ready(child.process)
        server.ensure_database()
        self.environment["DATABASE_URL"] = server.url
        say("PostgreSQL is up")

    def _spawn(self, name: str, command: list[str], death_signal: signal.Signals) -> None:
        child = Child(name, command, death_signal)
        child.start(self.logs, self.environment)
        self.children.append(child)

    def _manage(self, *arguments: str) -> None:
        process = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment)
        while process.poll() is None:
            if self.stopping.is_set():
                process.terminate()
                process.wait()
                raise StartFailed("stopped while starting")
            time.sleep(0.05)
        if process.returncode:
            raise StartFailed(f"`manage.py {' '.join(arguments)}` failed with code {process.returncode}; see above and {self.logs}")

    def _wait_for(self, url: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.stopping.is_set():
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                web = next(child for child in self.children if child.name == "web")
                if web.process is not None and web.process.poll() is not None:
                    tail = (self.logs / "web.log").read_text(errors="replace")[-1500:]
                    raise StartFailed(f"The web process ended while starting:\n{tail}") from None
                if time.monotonic() > deadline:
                    raise StartFailed(f"{url} did not answer within {seconds:.0f} s; see {self.logs}/web.log") from None
                time.sleep(0.05)
        raise StartFailed("stopped while starting")

    def _watch(self) -> None:
        while not self.stopping.wait(0.2):
            for child in self.children:
                if child.process is None or child.process.poll() is None:
                    continue
                if time.monotonic() - child.started < RESTART_PAUSE:
                    continue  # do not spin on a child that dies at once
                child.restarts += 1
                say(f"{child.name} ended with code {child.process.returncode}, starting it again")
                if child.name == "postgres":
                    (postgres.locate(self.data)).prepare()
                child.start(self.logs, self.environment)
                self._write_pids()

    def _write_pids(self) -> None:
        """For tests and operators: name > process id, and the address."""
        state = {"supervisor": os.getpid(), "port": self.port, "database_url": self.environment.get("DATABASE_URL", "")}
        state |= {child.name: child.process.pid for child in self.children if child.process}
        temporary = self.data / "processes.json.new"
        temporary.write_text(json.dumps(state, indent=1))
        temporary.rename(self.data / "processes.json")

    def _stop(self) -> None:
        if self.children:
            say("stopping")
        # The database last: the others still write what they know. All of those at once, so that one does not wait for another.
        for together in ([c for c in self.children if c.name != "postgres"], [c for c in self.children if c.name == "postgres"]):
            for child in together:
                child.ask_to_end()
            for child in together:
                child.wait_for_end()
        (self.data / "processes.json").unlink(missing_ok=True)
        if self.children:
            say("stopped")


class StartFailed(Exception):
    """Something did not come up; the text says what and where to look."""


def _claimable_port(host: str, port: int) -> int:
    """The port to serve on; any free one for 0. Raises StartFailed when somebody else has it: their page would pass for ours."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended does not count
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartFailed(
                f"Cannot serve on {host}:{port}: {error.strerror}. Choose another port with --port, 0 for any free one."
            ) from error
        return int(probe.getsockname()[1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev up", description="Start Modelshop with everything it needs.")
    parser.add_argument("--port", type=int, default=8000, help="0 = any free port (default 8000)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("MODELSHOP_HOME", ROOT / ".modelshop")), help="data folder (default .modelshop)"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-seed", action="store_true", help="start with an empty catalog")
    options = parser.parse_args(argv)
    return Supervisor(options.data.resolve(), options.port, max(1, options.workers), options.host, not options.no_seed).run()


if __name__ == "__main__":
    sys.exit(main())
