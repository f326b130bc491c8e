"""Working out what a stored program takes by itself, inside the sandbox: its structure is enough, no tensor is read."""

from __future__ import annotations

from gpuworker.core import input_spec
from gpuworker.core.engine.footprint import footprint
from gpuworker.core.engine.kernels import Target
from gpuworker.core.program.model import Program
from gpuworker.core.sandbox.contract import Reply, Request, State
from gpuworker.core.work.planned import open_length
from gpuworker.core.work.trial import synthetic_batch


def model_footprint(state: State, request: Request) -> Reply:
    """Analyse a program for inputs as long as those of the loaded batch, or of samples made up from its spec.

    meta: program, spec, device. Reply meta: footprint (engine/footprint.py). Raises Unforeseen where nothing can be said of it, and
    ExecutionFailed when the samples do not fit.
    """
    spec = input_spec.parse(request.meta["spec"])
    program = Program.from_json(request.meta["program"])
    batch = state.get("batch") or synthetic_batch(spec)
    length = open_length(state, batch, spec, program)
    return Reply({"footprint": footprint(program, length, Target(str(request.meta["device"]), "fast")).to_json()})
