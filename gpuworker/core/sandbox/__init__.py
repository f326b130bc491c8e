"""Opening and executing uploads in a locked child process. Design: `zygote` (who forks), `lock` (the walls), `frames` (the wire)."""

from gpuworker.core.sandbox.contract import Limits, Reply, Request, RequestFile, SandboxDefect, StagedTensor, State, Walls
from gpuworker.core.sandbox.sandbox import Sandbox
from gpuworker.core.sandbox.session import Session

__all__ = ["Limits", "Reply", "Request", "RequestFile", "Sandbox", "SandboxDefect", "Session", "StagedTensor", "State", "Walls"]
