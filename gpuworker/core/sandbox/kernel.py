"""The few Linux calls that Python has no function for. Each raises OSError with the kernel's own reason."""

from __future__ import annotations

import ctypes
import os
import struct

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 8, 22, 38
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAPABILITIES_V3 = 0x20080522
_SYS_CAPGET, _SYS_CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}.get(os.uname().machine, (-1, -1))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """A raw system call; integers are passed as longs, bytes as pointers."""
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def prctl(option: int, first: int, second: int = 0) -> None:
    if _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unshare(flags: int) -> None:
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def clear_environment() -> None:
    """Forget the environment in the C library as well, where native code would look."""
    os.environ.clear()
    _libc.clearenv()


def raise_permitted_capabilities() -> None:
    """Make effective what is permitted: a change of user clears the effective set."""
    header, data = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITIES_V3, 0)), ctypes.create_string_buffer(24)
    system_call(_SYS_CAPGET, header, data)
    words = list(struct.unpack("<6I", data.raw[:24]))
    words[0], words[3] = words[1], words[4]
    system_call(_SYS_CAPSET, header, ctypes.create_string_buffer(struct.pack("<6I", *words)))


def drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITIES_V3, 0))
    system_call(_SYS_CAPSET, header, ctypes.create_string_buffer(24))
