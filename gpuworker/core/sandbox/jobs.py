"""The jobs a child may be asked for, by name. Nothing else runs in a sandbox: only a name goes over the wire.

A module of this shape (`JOBS`) is imported by the zygote before it forks, together with all that its jobs import: a locked
child can open no file, so that an import inside a job fails.
"""

from __future__ import annotations

import numpy as np
import torch

from gpuworker.core import formats, modalities
from gpuworker.core.sandbox.contract import Job, Reply, Request, State
from gpuworker.core.work import execution, footprints, models, planned, samples


def ping(state: State, request: Request) -> Reply:
    """Answer with what came in, and with a small product of matrices to show that torch works behind the walls."""
    product = torch.eye(4) @ torch.arange(16, dtype=torch.float32).reshape(4, 4)
    sizes = {file.name: file.size for file in request.files}
    return Reply({"echo": dict(request.meta), "sizes": sizes}, {"product": np.asarray(product), **request.arrays})


def warm_up() -> None:
    """Called by the zygote before the first fork: whatever the jobs' libraries load late is loaded then."""
    formats.warm_up()
    modalities.warm_up()
    planned.warm_up()


JOBS: dict[str, Job] = {
    "ping": ping,
    "read_model": models.read_model,
    "try_model": models.try_model,
    "guess_samples": samples.guess_samples,
    "read_samples": samples.read_samples,
    "load_samples": samples.load_samples,
    "sign_reference": samples.sign_reference,
    "probe_features": samples.probe_features,
    "take_samples": samples.take_samples,
    "run_rows": execution.run_rows,
    "make_plan": planned.make_plan,
    "run_plan": planned.run_plan,
    "calibrate_costs": planned.calibrate_costs,
    "model_footprint": footprints.model_footprint,
}
