"""Where a sample set lies against a model's reference sample, from the two behaviour signatures alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from catalog.labels import canonical_label
from catalog.models import Signature
from search.models import Candidate, SampleSet
from search.plots.candidate import Balance, histogram_plot, words_plot
from search.plots.sample_map import map_plot, sample_map
from search.plots.svg import Plot
from search.previews import previews

READ = 400
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
Arrays = Mapping[str, NDArray[Any]]


def signature_arrays(raw: bytes | memoryview | None) -> Arrays:
    """The arrays of stored signature bytes; none when there is no signature or it cannot be read."""
    if not raw:
        return {}
    try:
        return safetensors.numpy.load(bytes(raw))
    except (SafetensorError, ValueError, KeyError):
        return {}


def word_id(word: str) -> int:
    """The id under which `gpuworker.core.signatures.word_counts` stores a word (a test holds the two equal)."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest()) >> 1


def reference_plots(sample_set: SampleSet, signature: Signature | None) -> list[Plot]:
    """The map, which says why where there is none, and the histogram of values or the words that differ, where both sides have them."""
    own = signature_arrays(sample_set.signature)
    theirs = signature_arrays(signature.arrays) if signature else {}
    shown: list[Plot | None] = [map_plot(sample_map(own, theirs))]
    if "value_histogram.counts" in own and "value_histogram.counts" in theirs:
        shown.append(histogram_plot(own["value_histogram.counts"], theirs["value_histogram.counts"]))
    elif "word_counts.ids" in own and "word_counts.ids" in theirs:
        shown.append(words_plot(word_differences(own, theirs, preview_words(sample_set))))
    return [plot for plot in shown if plot is not None]


def preview_words(sample_set: SampleSet) -> dict[int, str]:
    """id > word for the words of the first samples: signatures hold ids only, so only these can be named."""
    texts: Iterable[str] = (value for item in previews(sample_set, list(range(READ))) for value in _texts(item))
    return {word_id(word): word for text in texts for word in _WORD.findall(text.lower())}


def _texts(item: object) -> Iterable[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _texts(value)
    elif isinstance(item, list):
        for value in item:
            yield from _texts(value)


def word_differences(own: Arrays, theirs: Arrays, names: Mapping[int, str]) -> list[tuple[str, float, float]]:
    """(word, share here, share there) for the words that can be named, the largest difference first."""
    shares = []
    for arrays in (own, theirs):
        counts = arrays["word_counts.counts"].astype(np.float64)
        total = float(counts.sum()) or 1.0
        shares.append(dict(zip(arrays["word_counts.ids"].tolist(), (counts / total).tolist(), strict=True)))
    known = [(names[key], shares[0].get(key, 0.0), shares[1].get(key, 0.0)) for key in {**shares[0], **shares[1]} if key in names]
    return sorted(known, key=lambda row: (-abs(row[1] - row[2]), row[0]))


def class_balance(candidate: Candidate, labels: list[str], signature: Signature | None) -> Balance:
    """Predicted shares in the search's label order, and those of the reference sample brought to the same order."""
    predicted = tuple(float(share) for share in candidate.predicted_balance)
    if len(predicted) != len(labels):
        return Balance((), (), None)
    counts = signature_arrays(signature.arrays).get("class_histogram.counts") if signature else None
    names = [canonical_label(label) for label in candidate.version.labels]
    if counts is None or len(counts) != len(names) or not counts.sum():
        return Balance(tuple(labels), predicted, None)
    place = {name: index for index, name in enumerate(names)}
    shares = counts / counts.sum()
    reference = tuple(float(shares[place[canonical_label(label)]]) if canonical_label(label) in place else 0.0 for label in labels)
    return Balance(tuple(labels), predicted, reference)
