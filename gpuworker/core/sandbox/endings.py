"""What the worker says when a call failed: the child's own word, or the way it died, as an error a person understands."""

from __future__ import annotations

import signal
from typing import Any

from gpuworker.core.errors import (
    ExecutionFailed,
    FormatRefused,
    Incompatible,
    LimitExceeded,
    SpecError,
    TrialFailed,
    UnreadableModel,
    UnreadableSamples,
    UnsupportedOperator,
    UserError,
)
from gpuworker.core.sandbox.contract import Limits, SandboxDefect
from gpuworker.core.sandbox.process import Ending

USER_ERRORS: dict[str, type[UserError]] = {
    kind.code: kind
    for kind in (
        UserError,
        ExecutionFailed,
        FormatRefused,
        Incompatible,
        LimitExceeded,
        SpecError,
        TrialFailed,
        UnreadableModel,
        UnreadableSamples,
        UnsupportedOperator,
    )
}
_SMALLER = "Use a smaller model, or fewer or smaller samples."
_MAX_TEXT = 4_000


def error_of(job: str, error: Any, limits: Limits) -> tuple[Exception, bool]:
    """The exception for an error that a child reported, and whether that child may go on. `error` is not to be trusted."""
    if not isinstance(error, dict):
        return ExecutionFailed("The sandboxed process did not behave.", detail=f"{job}: its error cannot be read."), False
    kind, detail = error.get("kind"), _text(error, "detail")
    if kind == "user":
        known = USER_ERRORS.get(_text(error, "code"), UserError)
        return known(_text(error, "title"), detail=detail, fix=_text(error, "fix")), True
    if kind == "memory":
        found = f"{job}: {_amount(limits.memory)} allowed. {detail}".strip()
        return LimitExceeded("The memory limit was reached.", detail=found, fix=_SMALLER), False
    if kind == "output":
        return LimitExceeded("The result file is too large.", detail=f"{job}: {_amount(limits.output)} allowed.", fix=_SMALLER), False
    return SandboxDefect(f"{job}: {detail}", _text(error, "trace")), False


def error_of_ending(job: str, ending: Ending, limits: Limits) -> UserError:
    """The exception for a child that died instead of answering."""
    if ending.signal == signal.SIGXCPU:
        return LimitExceeded("The processor time limit was reached.", detail=f"{job}: {limits.cpu_s} s allowed.", fix=_SMALLER)
    if ending.signal == signal.SIGXFSZ:
        return LimitExceeded("The result file is too large.", detail=f"{job}: {_amount(limits.output)} allowed.", fix=_SMALLER)
    used = f"It used {_amount(ending.peak_bytes)} of memory at most, {_amount(limits.memory)} were allowed."
    if ending.signal == signal.SIGSYS:
        return ExecutionFailed("The sandboxed process was ended.", detail=f"{job}: it made a forbidden system call.")
    if ending.signal == signal.SIGKILL:
        why = "the system killed it, which it does when the machine's memory runs out."
        return LimitExceeded("The sandboxed process was ended.", detail=f"{job}: {why} {used}", fix=_SMALLER)
    if ending.signal:
        name = signal.Signals(ending.signal).name
        return ExecutionFailed("The sandboxed process crashed.", detail=f"{job}: {name}. {used}", fix="Check the file. " + _SMALLER)
    return ExecutionFailed("The sandboxed process did not behave.", detail=f"{job}: it ended without an answer (exit code {ending.code}).")


def _text(error: dict[str, Any], key: str) -> str:
    value = error.get(key)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _amount(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"
