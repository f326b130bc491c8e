"""Explicit tables of everything the worker can do. Torch-free: the web process imports this package.

Each table names a capability, says what it needs and costs, and where it comes from. The implementations stand in
the package of the same name (`scorers/`, `modalities/`, `formats/`, `signatures/`); a test asserts equal keys.
"""

from __future__ import annotations

from gpuworker.core.specs.forecasts import FORECAST_BATCH
from gpuworker.core.specs.formats import FORMATS, FormatSpec
from gpuworker.core.specs.modalities import MODALITIES, ModalitySpec
from gpuworker.core.specs.scorers import DROP_LEVEL, FAMILIES, SCORERS, FamilySpec, ScorerSpec
from gpuworker.core.specs.signatures import SIGNATURES, SignatureSpec

__all__ = [
    "DROP_LEVEL",
    "FAMILIES",
    "FORECAST_BATCH",
    "FORMATS",
    "MODALITIES",
    "SCORERS",
    "SIGNATURES",
    "FamilySpec",
    "FormatSpec",
    "ModalitySpec",
    "ScorerSpec",
    "SignatureSpec",
]
