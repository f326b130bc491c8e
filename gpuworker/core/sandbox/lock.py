"""The walls around a child, put up by the child itself before it reads its first request. The order matters: see `lock`."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import site
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gpuworker.core.sandbox import kernel, landlock, seccomp
from gpuworker.core.sandbox.contract import Limits, Walls
from gpuworker.core.sandbox.report import grade_of, sentences_of

NOBODY = 65534
CHANNEL_FD = 3
# Beside torch's own threads: pools of the table readers and of the linear algebra library.
EXTRA_THREADS = 64
OMITTABLE = frozenset({"landlock", "seccomp", "namespaces", "uid", "rlimits", "descriptors"})
CUDA_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/nvidia-caps") + tuple(
    f"/dev/nvidia{index}" for index in range(16)
)


@dataclass(slots=True)
class _Report:
    """What came of each wall; `missing` maps its name to the kernel's reason."""

    missing: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, omit: frozenset[str], wall: Callable[[], int | None]) -> int:
        """Put a wall up. Returns what it reports (1 for None), or 0 when it cannot stand here."""
        if name.split(":")[0] in omit:
            self.missing[name] = "left out by the caller"
            return 0
        try:
            result = wall()
        except OSError as error:
            self.missing[name] = error.strerror or str(error)
            return 0
        self.missing.pop(name, None)
        return 1 if result is None else result


def shed_descriptors(channel_fd: int, null_fd: int, empty_root_fd: int) -> int:
    """Keep three null streams, the channel as descriptor 3 and the empty root as the returned one; close all others."""
    moved_channel = fcntl.fcntl(channel_fd, fcntl.F_DUPFD_CLOEXEC, 64)
    moved_root = fcntl.fcntl(empty_root_fd, fcntl.F_DUPFD_CLOEXEC, 64)
    for stream in range(3):
        os.dup2(null_fd, stream)
    os.dup2(moved_channel, CHANNEL_FD, inheritable=False)
    root = os.dup2(moved_root, CHANNEL_FD + 1, inheritable=False)
    os.closerange(CHANNEL_FD + 2, max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20))
    return root


def lock(limits: Limits, zygote_pid: int, empty_root_fd: int, omit: frozenset[str], bubblewrap: bool) -> Walls:
    """Give up every right the jobs do not need and say which walls stand.

    Namespaces come first, since they need rights: root makes its network before it becomes nobody; a user namespace gives
    a normal user the right to a network and an empty root, and every child its own count of processes. Then limits. The
    parent-death signal comes after every change of user, which clears it; the system call filter last, since it forbids
    putting up any other wall.
    """
    report = _Report()
    cuda, used = limits.device == "cuda", _address_space()
    network = os.getuid() == 0 and report.attempt("namespaces:network", omit, _own_network)
    if os.getuid() == 0:
        report.attempt("uid", omit, _become_nobody)
    own_users = report.attempt("namespaces:user", omit, lambda: kernel.unshare(kernel.CLONE_NEWUSER))
    network = network or report.attempt("namespaces:network", omit, _own_network)
    empty_root = 0 if cuda else report.attempt("namespaces:root", omit, lambda: _empty_root(empty_root_fd))
    os.close(empty_root_fd)
    report.attempt("uid:capabilities", omit, kernel.drop_capabilities)
    rlimits: dict[str, int] = {}
    report.attempt("rlimits", omit, lambda: rlimits.update(_set_rlimits(limits, bool(own_users), used)))
    no_new = report.attempt("no_new_privileges", frozenset(), lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))
    abi = report.attempt("landlock", omit, lambda: landlock.restrict(_libraries(), CUDA_DEVICES) if cuda else landlock.restrict())
    report.attempt("descriptors", omit, lambda: kernel.prctl(kernel.PR_SET_DUMPABLE, 0))
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote_pid:
        os._exit(1)
    calls = report.attempt("seccomp", omit, lambda: seccomp.install(os.getpid(), cuda))
    walls = Walls(
        landlock=abi,
        seccomp=calls,
        network_namespace=bool(network),
        user_namespace=bool(own_users),
        empty_root=bool(empty_root),
        bubblewrap=bubblewrap,
        uid=os.getuid(),
        no_new_privileges=bool(no_new),
        rlimits=rlimits,
        grade=grade_of(abi, calls, bubblewrap),
        sentences=(),
    )
    return replace(walls, sentences=sentences_of(walls, report.missing, cuda))


def _own_network() -> None:
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)


def _become_nobody() -> None:
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.raise_permitted_capabilities()


def _empty_root(fd: int) -> None:
    """Make a deleted, empty directory the root: even asking whether a path exists finds nothing."""
    os.fchdir(fd)
    os.chroot(".")


def _address_space() -> int:
    """Bytes of address space in use: torch alone maps some hundred megabytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _set_rlimits(limits: Limits, own_users: bool, used: int) -> dict[str, int]:
    """Returns name -> limit in force. A mapped file takes two descriptors. Processor time is set by the serving loop, for each call."""
    wanted = {
        "CORE": (resource.RLIMIT_CORE, 0),
        "FSIZE": (resource.RLIMIT_FSIZE, limits.output),
        "NOFILE": (resource.RLIMIT_NOFILE, 2 * limits.open_files + 64),
    }
    if limits.device == "cpu":
        wanted["AS"] = (resource.RLIMIT_AS, used + limits.memory)
    if own_users:
        wanted["NPROC"] = (resource.RLIMIT_NPROC, limits.threads + EXTRA_THREADS)
    in_force = {"CPU": limits.cpu_s}
    for name, (number, value) in wanted.items():
        ceiling = resource.getrlimit(number)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(number, (value, value))
        in_force[name] = value
    return in_force


def allow_cpu(seconds: int) -> None:
    """Let this process use so much more processor time from now on; SIGXCPU ends it after that."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _libraries() -> list[str]:
    """What the CUDA libraries read while they load kernels."""
    facts = [f"/proc/{name}" for name in ("self", "cpuinfo", "meminfo", "devices", "modules", "driver")]
    return [sys.base_prefix, *site.getsitepackages(), "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/sys", "/opt/nvidia", *facts]
