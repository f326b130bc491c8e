"""Contracts between the parts of the core. Shapes: N samples, C labels, M candidates, T steps, D features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the modalities and the probes import this module
    from gpuworker.core.modalities.options import ReadOptions
    from gpuworker.core.probes.vicinity import Vicinity

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One uploaded file, opened read-only. `name` is the person's own path, with / between folders."""

    name: str
    stream: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file or row that could not be used. `row` counts from 1 inside `name`; None means the whole file."""

    name: str
    reason: str
    row: int | None = None


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """N samples of one modality in canonical form, made of plain arrays so that it can be stored as safetensors.

    arrays: as each modality's module documents. meta: JSON-safe facts (channel names, columns, rate ...).
    """

    modality: str
    n: int
    arrays: Arrays
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What reading a sample set gave. labels: (N,) int64 indexes into label_names, or None when there are none."""

    batch: SampleBatch
    problems: Sequence[FileProblem]
    labels: NDArray[np.int64] | None = None
    label_names: Sequence[str] = ()
    exact_duplicates: int = 0
    near_duplicates: int = 0


class Modality(Protocol):
    """One module per modality under `modalities/` gives these functions."""

    FEATURES_VERSION: str

    def read(self, files: Sequence[SourceFile], options: ReadOptions) -> ReadResult: ...

    def encode(
        self, batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]: ...

    def features(self, batch: SampleBatch) -> NDArray[np.float32]: ...

    def preview(self, batch: SampleBatch, index: int) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ProbeView:
    """R labelled probes of one modality and label space, without names.

    features: (R, D) float32 probe features of the same encoder version as the target's. labels: (R,) int64 in [0, C).
    publishers: (R,) int64, one number per publisher who gave a slice.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    publishers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TargetView:
    """The unlabelled samples as a scorer sees them: their number, their own signature arrays, and for the strategies that
    use labelled probes the (n, D) float32 probe features of every sample and the probes themselves. vicinity: what was computed
    from these two already (`probes.settle`), shared by all scorers of one search."""

    n: int
    signature: Arrays
    features: NDArray[np.float32] | None = None
    probes: ProbeView | None = None
    vicinity: Vicinity | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One candidate as a scorer sees it, without name.

    log_probs: (n, C) float32 over the first n samples, or None. probe_log_probs: (R, C) over the target's probes, or None for a
    model that has not been run on them. publishers: numbers of the probe publishers whose data the model comes from.
    """

    signature: Arrays
    log_probs: NDArray[np.float32] | None = None
    probe_log_probs: NDArray[np.floating[Any]] | None = None
    publishers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A scorer's word on one candidate.

    value: the score in the scorer's own direction and range; None = cannot tell, and `why` says the cause.
    low, high: interval of `level` around value where the scorer has an honest one, both None otherwise.
    diagnostic: the raw score behind a "cannot tell", for experts; never shown as a prediction.
    about: what value and interval speak of: the searcher's samples, or only the publisher's reference sample.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.9
    why: str = ""
    diagnostic: float | None = None
    about: Literal["target", "reference"] = "target"


class Scorer(Protocol):
    """One pure function per file under `scorers/`: same order out as in; never raises for missing signatures."""

    def __call__(self, target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]: ...
