"""The second choice for a file wall: where the kernel has no Landlock, the whole zygote starts inside bubblewrap."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/sys")
_PROBE_SECONDS = 10


def find() -> str | None:
    """Path of a bubblewrap that works here, or None: a container or a setting often forbids what it needs."""
    path = shutil.which("bwrap")
    if path is None:
        return None
    probe = subprocess.run(
        [*_command(path, ["/usr"], cuda=False), sys.executable, "-S", "-c", ""], capture_output=True, timeout=_PROBE_SECONDS, check=False
    )
    return path if probe.returncode == 0 else None


def command(path: str, modules: Sequence[str], cuda: bool) -> list[str]:
    """The words to put before a command: read-only system and Python, an empty /tmp, no network, no other process in sight."""
    return _command(path, modules, cuda)


def _command(path: str, modules: Sequence[str], cuda: bool) -> list[str]:
    words = [path, "--unshare-net", "--unshare-ipc", "--unshare-pid", "--proc", "/proc", "--tmpfs", "/tmp"]
    words += ["--dev-bind" if cuda else "--dev", "/dev", "/dev"] if cuda else ["--dev", "/dev"]
    shown = dict.fromkeys((*_SYSTEM, sys.base_prefix, sys.prefix, *site.getsitepackages(), *(os.path.abspath(part) for part in modules if part)))
    for folder in shown:
        if os.path.exists(folder):
            words += ["--ro-bind", folder, folder]
    return words
