"""The supervisor: killed, stopped, started twice, with several workers, and as a normal user."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.instance import Instance
from tests.faults.test_search import SHARE, assert_nothing_lost
from tests.system import ROOT, System, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(instance: Instance) -> Instance:
    """The same data folder, now with two workers."""
    instance.restart(workers=2, JOB_LEASE_SECONDS="10")
    return instance


NO_MORE = "no message is taken any more"


def drain(instance: Instance, pid: int, draining: bool) -> None:
    """What the button on the workers' page does."""
    instance.code(
        "from accounts.models import User; from jobs.services import worker_drain; "
        f"worker_drain(worker=prepare.Worker.objects.get(pid={pid}), draining={draining}, actor=User.objects.get(username='operator'))"
    )


@contextmanager
def held(pid: int) -> Iterator[None]:
    """The process does nothing inside."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def alive(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it may end between two looks
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def test_both_workers_take_jobs(pair: Instance, undisturbed: dict[str, Any]) -> None:
    first, second = pair.search(), pair.search()

    def both() -> bool:
        jobs = [pair.job(search) for search in (first, second)]
        assert not any(state == "succeeded" for state, _, _ in jobs), "one ended before the other began"
        return all(state == "running" for state, _, _ in jobs)

    wait_until(both, 30, "both searches to run")
    assert pair.job(first)[2] != pair.job(second)[2]
    assert pair.ended(first) == pair.ended(second) == "finished"
    assert pair.board(first) == pair.board(second) == undisturbed


def test_a_worker_that_is_stopped_hands_its_job_to_another_at_once(pair: Instance, undisturbed: dict[str, Any]) -> None:
    search = pair.search()
    screen = pair.watch_until(search, SHARE)
    state, _, holder = pair.job(search)
    pid = int(holder.rsplit(":", 1)[1])
    assert state == "running" and pid in (pair.system.processes()["worker-1"], pair.system.processes()["worker-2"])
    query = "SELECT lease_until, started FROM jobs_job WHERE kind = 'search.run' AND subject_id = %s"
    lease_until, _ = pair.system.rows(query, search)[0]
    since = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: pair.job(search)[1] == 2 and pair.job(search)[0] != "queued", 60, "the second attempt")
    pair.figures["handed over"] = round(time.monotonic() - since, 1)
    assert pair.job(search)[2] != holder
    assert pair.system.rows(query, search)[0][1] < lease_until, "nobody had to wait for the lease to end"
    assert_nothing_lost(pair, search, undisturbed, screen)
    assert pair.job(search)[1] == 2, "no attempt was used up on the way"
    assert pair.system.one("SELECT deaths FROM jobs_job WHERE kind = 'search.run' AND subject_id = %s", search) == 0


def test_a_draining_worker_leaves_its_messages_to_the_other_at_once(pair: Instance) -> None:
    """The other is held until the draining one has had its chance to take the message."""
    processes = pair.system.processes()
    draining, other = processes["worker-1"], processes["worker-2"]
    ready = "SELECT count(*) FROM jobs_worker WHERE pid IN (%s, %s)"
    wait_until(lambda: pair.system.one(ready, draining, other) == 2, 60, "a worker that was started again just now")
    shut = pair.system.log("worker-1").count(NO_MORE)
    drain(pair, draining, True)
    with held(other):
        search = pair.search("small_set")
        query = "SELECT lease_until, started, worker FROM jobs_job WHERE kind = 'search.run' AND subject_id = %s"
        resent = pair.system.rows(query, search)[0][0]
        wait_until(lambda: pair.system.log("worker-1").count(NO_MORE) > shut, 30, "the draining worker to shut its door")
    assert pair.ended(search) == "finished"
    _, started, worker = pair.system.rows(query, search)[0]
    assert worker.endswith(f":{other}") and started < resent, "the sweeper had to send it again"

    drain(pair, other, True)
    drain(pair, draining, False)
    again = pair.search("small_set")
    assert pair.ended(again) == "finished"
    assert pair.job(again)[2].endswith(f":{draining}"), "it takes work again"
    drain(pair, other, False)


def test_a_second_supervisor_is_refused(pair: Instance) -> None:
    command = [sys.executable, "-m", "config.embedded", "--port", "0", "--data", str(pair.data)]
    done = subprocess.run(command, cwd=ROOT, env=pair.system.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "already runs" in done.stderr and "--data" in done.stderr
    assert pair.api("GET", "/api/searches/"), "the first one goes on"


def test_supervisor_killed(pair: Instance, undisturbed: dict[str, Any]) -> None:
    """Nothing of it is left running; a new start on the same folder finishes what was under way."""
    search = pair.search()
    screen = pair.watch_until(search, SHARE)
    family = pair.family()
    assert len(family) >= 8, "PostgreSQL, web, sweeper, workers and their sandboxes"
    since = time.monotonic()
    pair.system.process.send_signal(signal.SIGKILL)
    pair.system.process.wait()
    wait_until(lambda: not alive(family), 20, "the children to end")
    pair.figures["children gone"] = round(time.monotonic() - since, 1)
    # A number in PostgreSQL's lock file that now belongs to somebody else must not keep it from starting.
    lock = pair.data / "postgres" / "data" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getpid()), str(lock.parent), *["0"] * 5]) + "\n")
    stale = pair.data / "processes.json"
    assert json.loads(stale.read_text())["supervisor"] == pair.system.process.pid
    again = System(pair.data, seed=False, workers=2, environment=pair.environment)
    wait_until(lambda: not stale.exists(), 60, "the list of the killed processes to go, so that nobody reads an old port", every=0.01)
    pair.system = again.wait_ready(300)
    assert_nothing_lost(pair, search, undisturbed, screen)


def test_ctrl_c_ends_everything(pair: Instance) -> None:
    search = pair.search()
    pair.watch_until(search, SHARE / 5)
    family = pair.family()
    since = time.monotonic()
    printed = pair.system.stop()
    seconds = time.monotonic() - since
    pair.figures["ctrl-c"] = round(seconds, 1)
    print("\nseconds:", pair.figures)
    assert pair.system.process.returncode == 0
    assert "stopped" in printed and "Traceback" not in printed
    assert seconds < 15
    assert not alive(family)
    assert not (pair.data / "processes.json").exists()


def _as_nobody() -> tuple[str, dict[str, str], dict[str, Any]] | None:
    """A Python, its environment and the account under which `nobody` runs the product; None where nothing of it is readable to others."""
    account = pwd.getpwnam("nobody")
    user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{ROOT}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    system = shutil.which(f"python{sys.version_info.major}.{sys.version_info.minor}", path=environment["PATH"])
    for python in (str(Path(sys.executable).resolve()), system):
        with suppress(OSError):
            probe = [python or "", "-c", "import django, torch, config.embedded"]
            if subprocess.run(probe, cwd=ROOT, env=environment, capture_output=True, **user).returncode == 0:  # type: ignore[call-overload]
                return python or "", environment, user
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="this test drops from root to a normal user; the suite itself already runs as one")
def test_runs_as_a_normal_user() -> None:
    found = _as_nobody()
    if found is None:
        pytest.skip("no Python here whose program and packages a normal user may read")
    python, environment, user = found
    data = Path(tempfile.mkdtemp(prefix="modelshop-nobody-"))
    os.chown(data, user["user"], user["group"])
    command = [python, "-m", "config.embedded", "--port", "0", "--data", str(data), "--no-seed"]
    environment |= {"HOME": str(data)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **user)
    try:
        wait_until(lambda: (data / "processes.json").exists() or process.poll() is not None, 240, "the start")
        assert process.poll() is None, process.communicate()[0]
        family = psutil.Process(process.pid).children(recursive=True)
        assert {child.username() for child in family} == {"nobody"}
        url = json.loads((data / "processes.json").read_text())["database_url"]
        code = "from tests.faults.prepare import first_samples; first_samples()"
        inside = environment | {"DATABASE_URL": url, "MODELSHOP_HOME": str(data)}
        manage = [python, "manage.py", "shell", "--no-imports", "-c", code]
        done = subprocess.run(manage, cwd=ROOT, env=inside, capture_output=True, text=True, timeout=200, **user)
        assert done.returncode == 0, done.stderr
        grade, n = done.stdout.split()[-2:]
        assert grade != "broken" and n == "40", "its sandbox stands, and the worker reads samples in it"
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output
        assert not alive(family)
    finally:
        if process.poll() is None:
            process.kill()
        shutil.rmtree(data, ignore_errors=True)
