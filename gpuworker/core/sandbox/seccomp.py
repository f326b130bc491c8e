"""Seccomp: a list of the only system calls a child may make, with checks on the arguments where a call could do more.

The table was found by running torch, numpy, Pillow, pyarrow, onnx and tokenizers under the filter; numbers are those of the
kernel's headers (x86_64, aarch64), which a test compares. Everything not listed fails with EPERM, so that a library that
merely asks goes on; a call in a foreign instruction set ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from gpuworker.core.sandbox.kernel import PR_SET_SECCOMP, prctl

_MODE_FILTER = 2
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN, _AND = 0x20, 0x15, 0x35, 0x06, 0x54
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32_BIT = 0x40000000

CALLS: dict[str, tuple[int | None, int | None]] = {
    # descriptors the child was given
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "fstat": (5, 80), "close": (3, 57), "dup": (32, 23),
    "ftruncate": (77, 46), "fallocate": (285, 47), "fadvise64": (221, 223), "fsync": (74, 82), "fdatasync": (75, 83),
    "recvmsg": (47, 212), "recvfrom": (45, 207), "poll": (7, None), "ppoll": (271, 73), "pipe2": (293, 59), "eventfd2": (290, 19),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214),
    "mincore": (27, 232),
    # threads and signals of its own
    "futex": (202, 98), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96),
    "membarrier": (324, 283), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
    # clocks and facts about itself
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165), "getrandom": (318, 278),
    "getcpu": (309, 168), "sysinfo": (99, 179), "uname": (63, 160), "gettid": (186, 178), "getpid": (39, 172), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
}  # fmt: skip

# Opening the driver's files and talking to them; Landlock says which files.
CUDA_CALLS: dict[str, tuple[int | None, int | None]] = {
    "openat": (257, 56), "open": (2, None), "ioctl": (16, 29), "stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents64": (217, 61), "statfs": (137, 43), "fstatfs": (138, 44), "getcwd": (79, 17),
    "fcntl": (72, 25), "mlock": (149, 228), "munlock": (150, 229), "mbind": (237, 235), "get_mempolicy": (239, 236),
    "set_mempolicy": (238, 237), "sched_setaffinity": (203, 122), "memfd_create": (319, 279), "tgkill": (234, 131),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Check:
    """A call allowed only when `argument & mask` is one of `values`; looks at the low 32 bits, or the high ones."""

    numbers: tuple[int | None, int | None]
    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False


_REFUSALS: dict[str, tuple[tuple[int | None, int | None], int]] = {
    # "Unknown" makes the C library fall back to older calls that can be checked; "no terminal" is what files answer.
    "clone3": ((435, 435), errno.ENOSYS),
    "statx": ((332, 291), errno.ENOSYS),
    "ioctl": ((16, 29), errno.ENOTTY),
}


def _checks(own_pid: int, cuda: bool) -> dict[str, tuple[_Check, ...]]:
    checks: dict[str, tuple[_Check, ...]] = {
        # Threads only: a new process would lack CLONE_THREAD.
        "clone": (_Check((56, 220), 0, (0x10000,), mask=0x10000),),
        # An address of zero, both halves: only the channel it is connected to.
        "sendto": (_Check((44, 206), 4, (0,)), _Check((44, 206), 4, (0,), high=True)),
        # Names of threads and of memory areas.
        "prctl": (_Check((157, 167), 0, (15, 16, 0x53564D41)),),
        # Its own processor time, which the serving loop sets anew for each call; any other limit stays as it is.
        "prlimit64 of itself": (_Check((302, 261), 0, (0,)), _Check((302, 261), 1, (0,))),
    }
    if not cuda:
        # fstat() of the C library is this call with an empty path. Other paths find nothing where the root is empty, too.
        checks["newfstatat"] = (_Check((262, 79), 3, (0x1000,), mask=0x1000),)
        checks["fcntl"] = (_Check((72, 25), 1, (0, 1, 2, 3, 4, 1030, 1034)),)
        checks["tgkill"] = (_Check((234, 131), 0, (own_pid,)),)
    return checks


def allowed_calls(cuda: bool) -> int:
    """How many system calls the filter knows, on this machine; 0 where there is no table for it."""
    machine = _ARCHITECTURES.get(os.uname().machine)
    if machine is None:
        return 0
    tables = [CALLS] + ([CUDA_CALLS] if cuda else [])
    return sum(numbers[machine[1]] is not None for table in tables for numbers in table.values()) + len(_checks(0, cuda))


def program(machine: str, own_pid: int, cuda: bool) -> bytes:
    """The filter in classic BPF. Raises KeyError for a machine without a table."""
    architecture, column = _ARCHITECTURES[machine]
    lines = [_op(_LOAD, 4), _op(_JUMP_EQUAL, architecture, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, 0)]
    if machine == "x86_64":
        lines += [_op(_JUMP_ABOVE, _X32_BIT, 0, 1), _op(_RETURN, _KILL)]
    plain = CALLS | (CUDA_CALLS if cuda else {})
    for name, (numbers, code) in _REFUSALS.items():
        if name not in plain:
            lines += [_op(_JUMP_EQUAL, _number(numbers, column), 0, 1), _op(_RETURN, _ERRNO | code)]
    for numbers in plain.values():
        if numbers[column] is not None:
            lines += [_op(_JUMP_EQUAL, _number(numbers, column), 0, 1), _op(_RETURN, _ALLOW)]
    for group in _checks(own_pid, cuda).values():
        body = [line for check in group for line in _argument_lines(check)] + [_op(_RETURN, _ALLOW)]
        lines += [_op(_JUMP_EQUAL, _number(group[0].numbers, column), 0, len(body)), *body]
    return b"".join([*lines, _op(_RETURN, _ERRNO | errno.EPERM)])


def install(own_pid: int, cuda: bool) -> int:
    """Put the filter in force for good; needs no_new_privs and one thread. Returns the number of calls it allows.

    Raises OSError where the kernel refuses or the machine has no table.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    code = program(machine, own_pid, cuda)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(buffer)))
    prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(filter_))
    return allowed_calls(cuda)


def _argument_lines(check: _Check) -> list[bytes]:
    lines = [_op(_LOAD, 16 + 8 * check.argument + 4 * check.high)]
    if check.mask != 0xFFFFFFFF:
        lines.append(_op(_AND, check.mask))
    for index, value in enumerate(check.values):
        lines.append(_op(_JUMP_EQUAL, value, len(check.values) - index, 0))
    return [*lines, _op(_RETURN, _ERRNO | errno.EPERM)]


def _number(numbers: tuple[int | None, int | None], column: int) -> int:
    number = numbers[column]
    if number is None:
        raise KeyError("a call with no number on this machine")
    return number


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
