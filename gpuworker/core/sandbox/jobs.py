"""The jobs a child may be asked for, by name. Nothing else runs in a sandbox: only a name goes over the wire.

A module of this shape (`JOBS`) is imported by the zygote before it forks, together with all that its jobs import: a locked
child can open no file, so that an import inside a job fails.
"""

from __future__ import annotations

import numpy as np
import torch

from gpuworker.core.sandbox.contract import Job, Reply, Request, State


def ping(state: State, request: Request) -> Reply:
    """Answer with what came in, and with a small product of matrices to show that torch works behind the walls."""
    product = torch.eye(4) @ torch.arange(16, dtype=torch.float32).reshape(4, 4)
    sizes = {file.name: file.size for file in request.files}
    return Reply({"echo": dict(request.meta), "sizes": sizes}, {"product": np.asarray(product), **request.arrays})


JOBS: dict[str, Job] = {"ping": ping}
