"""The plan of a search as a document: what runs together, in which order, and what it is expected to cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuworker.core.engine.execute import Segment
from gpuworker.core.engine.kernels import Layout, Target

VERSION = 1
WIDTHS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Options:
    """How to plan. budget: bytes for activations and weights laid out anew. chunk: most samples at once. widths: most models as
    one, 1 always among them. gain: a merge must be predicted faster by this share."""

    device: str = "cpu"
    layout: Layout = "fast"
    budget: int = 1 << 30
    chunk: int = 256
    widths: tuple[int, ...] = WIDTHS
    gain: float = 0.15

    @property
    def target(self) -> Target:
        return Target(self.device, self.layout)


@dataclass(frozen=True, slots=True)
class Part:
    """Branches of one form that read the same values. ms: of one chunk, predicted. peak: bytes inside it, inputs apart."""

    branches: tuple[int, ...]
    segments: tuple[Segment, ...]
    ms: float
    peak: int

    @property
    def width(self) -> int:
        """The most that run as one."""
        return max(segment.width for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Predicted:
    """Of a whole plan. ms, low, high: milliseconds and their 90 % interval. loop_ms: the models one after the other.
    shared: share of that time saved by running equal work once. peak_bytes: activations. weight_bytes: weights laid out anew.
    piece_ms: the longest that cannot be interrupted."""

    ms: float
    low: float
    high: float
    loop_ms: float
    shared: float
    peak_bytes: int
    weight_bytes: int
    piece_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """key: of the graph it is for. parts: in the order they run, for each chunk of `chunk` samples. length: open length, or 0.
    candidates: milliseconds of each model for all samples, alone and as its share of the plan."""

    key: str
    device: str
    layout: Layout
    samples: int
    chunk: int
    length: int
    keep: int
    parts: tuple[Part, ...]
    predicted: Predicted
    candidates: tuple[tuple[float, float], ...]

    @property
    def target(self) -> Target:
        return Target(self.device, self.layout)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe."""
        names = Predicted.__slots__
        return {
            "version": VERSION,
            "key": self.key,
            "device": self.device,
            "layout": self.layout,
            "samples": self.samples,
            "chunk": self.chunk,
            "length": self.length,
            "keep": self.keep,
            "parts": [
                {"branches": list(part.branches), "segments": [list(s) for s in part.segments], "ms": part.ms, "peak": part.peak}
                for part in self.parts
            ],
            "predicted": {name: getattr(self.predicted, name) for name in names},
            "candidates": [list(row) for row in self.candidates],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote. Raises ValueError for another version."""
        if document.get("version") != VERSION:
            raise ValueError("a plan of another version")
        parts = tuple(
            Part(tuple(item["branches"]), tuple(Segment(*s) for s in item["segments"]), item["ms"], item["peak"])
            for item in document["parts"]
        )
        plain = {name: document[name] for name in ("key", "device", "layout", "samples", "chunk", "length", "keep")}
        candidates = tuple((float(alone), float(share)) for alone, share in document["candidates"])
        return cls(**plain, parts=parts, predicted=Predicted(**document["predicted"]), candidates=candidates)
