"""The second choice for a file wall: where the kernel has no Landlock, the whole zygote starts inside bubblewrap."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence

from gpuworker.core.sandbox.lock import CUDA_DEVICES

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/sys")
_PROBE_SECONDS = 10


def find() -> str | None:
    """Path of a bubblewrap that works here, or None: a container or a setting often forbids what it needs."""
    path = shutil.which("bwrap")
    if path is None:
        return None
    probe = subprocess.run([*command(path, ()), sys.executable, "-S", "-c", ""], capture_output=True, timeout=_PROBE_SECONDS, check=False)
    return path if probe.returncode == 0 else None


def command(path: str, packages: Sequence[str]) -> list[str]:
    """The words to put before a command: read-only system, Python and our own `packages` (names of top-level packages).

    Nothing else of the machine's files is there, neither are its network, its processes or its devices but the GPU's.
    """
    words = [path, "--unshare-net", "--unshare-ipc", "--unshare-pid", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    own = [os.path.join(os.path.abspath(folder), package) for folder in sys.path for package in packages]
    for folder in dict.fromkeys((*_SYSTEM, sys.base_prefix, sys.prefix, *site.getsitepackages(), *own)):
        if os.path.exists(folder):
            words += ["--ro-bind", folder, folder]
    for device in CUDA_DEVICES:
        words += ["--dev-bind-try", device, device]
    return [*words, "--remount-ro", "/"]
