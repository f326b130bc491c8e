"""Landlock: the kernel's file, network and signal wall for a process that gives up its own rights (Linux 5.13 and later).

Source: Documentation/userspace-api/landlock.rst. The three call numbers are the same on every machine.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from gpuworker.core.sandbox.kernel import system_call

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 15
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS = 0b11  # bind and connect of TCP
_SCOPES = 0b11  # abstract sockets, signals


def version() -> int:
    """The ABI version this kernel offers, 0 where there is none or it is switched off."""
    try:
        return system_call(_CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(read_only: Sequence[str] = (), devices: Sequence[str] = ()) -> int:
    """Shut this process off from every path but those beneath the given ones; needs no_new_privs. Returns the ABI in force.

    Raises OSError where the kernel refuses.
    """
    abi = version()
    if abi < 1:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    rights = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= abi)]
    words = [rights] + ([_NET_RIGHTS] if abi >= 4 else []) + ([_SCOPES] if abi >= 6 else [])
    attributes = struct.pack(f"<{len(words)}Q", *words)
    ruleset = system_call(_CREATE, attributes, len(attributes), 0)
    try:
        for path in read_only:
            _allow(ruleset, path, rights & (READ_FILE | READ_DIR | EXECUTE))
        for path in devices:
            _allow(ruleset, path, rights & (READ_FILE | READ_DIR | WRITE_FILE | IOCTL_DEV))
        system_call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= ~READ_DIR
        system_call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("<Qi", rights, parent), 0)
    finally:
        os.close(parent)
