"""What the checks found about a version, as typed values between the worker's pipeline and the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict


class Port(TypedDict):
    """An input of a model; shape None where any size goes."""

    name: str
    dtype: str
    shape: list[int | None]


class ModelFacts(TypedDict, total=False):
    """Kept in ModelVersion.facts. operators: name -> how often. shared_tensors: of its n_tensors, already in the store.

    file_labels: names the file itself gives its classes. walls: sentences on the sandbox that opened the file, and its grade.
    """

    operators: dict[str, int]
    inputs: list[Port]
    outputs: list[str]
    producer: str
    opset: str
    fixed_batch: int | None
    n_tensors: int
    shared_tensors: int
    file_labels: list[str]
    notes: list[str]
    walls: list[str]
    walls_grade: str
    device: str
    trial_on: str


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor in a pack file: offset in bytes from the start of the pack."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    pack: str
    offset: int


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model file that was read. keys: every tensor it needs; new: those that were written to a pack for it."""

    format: str
    program: dict[str, Any]
    program_hash: str
    facts: ModelFacts
    architecture: str
    parameters: int
    tensor_bytes: int
    keys: tuple[str, ...]
    new: tuple[TensorPlace, ...]


@dataclass(frozen=True, slots=True)
class CheckedWork:
    """What an analysis of a version found, as `catalog.cost_models.VersionWork` keeps it; error says why it found nothing."""

    analysis: int
    document: dict[str, Any] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class PredictedCost:
    """What a version takes on a device, as `catalog.cost_models.VersionCost` keeps it. latency and batch: milliseconds a sample with
    their 90 % interval, by itself and in a batch. memory, batch_memory: bytes."""

    version_id: int
    device_id: int
    latency: tuple[float, float, float]
    batch: tuple[float, float, float]
    memory: int
    batch_memory: int


@dataclass(frozen=True, slots=True)
class CheckedReference:
    """A reference sample that was read. problems: [{name, row, reason}], capped by the reader."""

    content_hash: str
    n: int
    problems: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CheckedSignature:
    """A behaviour signature as bytes in safetensors layout, with its extract for pages."""

    recipe: str
    content_hash: str
    arrays: bytes
    summary: dict[str, Any]
    n: int
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class CheckedSlice:
    """A slice for the team's probe sets, as `catalog.probe_models.ProbeSlice` keeps it. file_bytes: of the batch file already on disk."""

    set_key: str
    meta: dict[str, Any]
    encoder: str
    n: int
    features: bytes
    row_hashes: bytes
    row_labels: bytes
    file_bytes: int


@dataclass(frozen=True, slots=True)
class LabelledSamples:
    """What somebody gives to a probe set out of samples that people labelled. n: rows; labels: names; meta: of the sample batch;
    digest: of the whole sample set; url: of the page that shows them to their owner."""

    modality: str
    labels: list[str]
    meta: dict[str, Any]
    digest: str
    n: int
    url: str


@dataclass(frozen=True, slots=True)
class CheckedAnswers:
    """A version's answers on a slice, as `catalog.probe_models.ProbeAnswers` keeps them; error says why there are none."""

    log_probs: bytes | None = None
    seen: bytes | None = None
    judged: int = 0
    correct: int = 0
    error: str = ""
