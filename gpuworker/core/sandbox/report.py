"""What the walls are worth, in one word and in sentences for the operator's page."""

from __future__ import annotations

from collections.abc import Mapping

from gpuworker.core.sandbox.contract import Grade, Walls

_NOBODY = 65534
_NAMES = {
    "landlock": "Landlock",
    "seccomp": "The list of system calls",
    "namespaces:network": "A network of its own",
    "namespaces:user": "A user namespace",
    "namespaces:root": "An empty root directory",
    "uid": "Another user",
    "uid:capabilities": "Dropping capabilities",
    "rlimits": "Limits on memory, processor time and files",
    "descriptors": "Its own descriptors only, and no core for others to read",
    "no_new_privileges": "The ban on new privileges",
}


def grade_of(landlock_abi: int, allowed_calls: int, bubblewrap: bool) -> Grade:
    """Confined = a file wall and the system call filter; one of them = partly; neither = only limits stand."""
    files = landlock_abi > 0 or bubblewrap
    if files and allowed_calls:
        return "confined"
    return "partly confined" if files or allowed_calls else "unconfined"


def sentences_of(walls: Walls, missing: Mapping[str, str], cuda: bool) -> tuple[str, ...]:
    """What stands, then what is missing and why. missing: wall -> the kernel's reason."""
    lines = []
    if walls.landlock:
        extras = [name for name, since in (("TCP", 4), ("signals and abstract sockets", 6)) if walls.landlock >= since]
        paths = "every path but libraries and the GPU's device files" if cuda else "every path"
        lines.append(f"Landlock (version {walls.landlock}) shuts off {', '.join([paths, *extras])}.")
    paths_too = "" if cuda else ", or opens a path"
    if walls.seccomp:
        lines.append(f"Only {walls.seccomp} system calls are allowed: none makes a socket or a process{paths_too}.")
    if walls.bubblewrap:
        lines.append("Bubblewrap shows a read-only view of the libraries and nothing else.")
    if walls.empty_root:
        lines.append("The root directory is empty.")
    if walls.network_namespace:
        lines.append("It has a network of its own without any interface that leads outside.")
    if walls.uid == _NOBODY:
        lines.append("It runs as nobody.")
    if walls.rlimits:
        what = "Memory, processor time, file size" if "AS" in walls.rlimits else "Processor time, file size (not memory)"
        lines.append(f"{what}, open files and core dumps are limited.")
    return (*lines, *(f"Missing: {_NAMES[name]} ({reason})." for name, reason in missing.items()))
