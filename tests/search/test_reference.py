"""Samples against a reference sample: words by id, class balance in the search's order, histograms."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from catalog.models import ModelVersion, Signature
from gpuworker.core.signatures.word_counts import word_id as stored_word_id
from search.models import Search
from search.plots.candidate import histogram_plot
from search.reference import class_balance, preview_words, reference_plots, word_differences, word_id
from tests.search.factories import signature_bytes, write_previews


def test_word_ids_are_those_of_the_signatures() -> None:
    for word in ("hello", "naïve", "l'eau", "東京", ""):
        assert word_id(word) == stored_word_id(word)


def test_words_that_differ_most_come_first() -> None:
    names = {word_id(word): word for word in ("late", "fast")}
    own = {"word_counts.ids": np.array([word_id("late"), word_id("fast")]), "word_counts.counts": np.array([3, 1])}
    theirs = {"word_counts.ids": np.array([word_id("fast"), word_id("unseen")]), "word_counts.counts": np.array([1, 1])}
    assert word_differences(own, theirs, names) == [("late", 0.75, 0.0), ("fast", 0.25, 0.5)]


def test_only_words_of_the_samples_can_be_named(finished: Search) -> None:
    write_previews(finished.sample_set, [{"kind": "text", "text": "Late, very LATE!", "cut": False}])
    assert set(preview_words(finished.sample_set).values()) == {"text", "late", "very"}


def test_class_balance_follows_the_searchs_order(finished: Search) -> None:
    row = finished.candidates.select_related("version").order_by("position")[0]
    row.predicted_balance = [0.5, 0.3, 0.2]
    row.version.labels = ["Horse", "cat", "dog"]
    counts = Signature.objects.get(version=row.version)
    horse, cat, dog = _counts(counts)
    balance = class_balance(row, ["cat", "dog", "horse"], counts)
    assert balance.predicted == (0.5, 0.3, 0.2)
    total = horse + cat + dog
    assert balance.reference == (cat / total, dog / total, horse / total)
    row.predicted_balance = []
    assert class_balance(row, ["cat", "dog", "horse"], counts).predicted == ()


def _counts(signature: Signature) -> list[int]:
    return [int(n) for n in safetensors.numpy.load(bytes(signature.arrays))["class_histogram.counts"]]


def test_histograms_are_compared_as_shares() -> None:
    plot = histogram_plot(np.repeat([1, 0], 50), np.repeat([0, 7], 50))
    assert plot is not None
    assert plot.rows[0] == ("0 to 10 %", "20.0 %", "0.0 %")
    assert plot.rows[9] == ("90 to 100 %", "0.0 %", "20.0 %")
    assert histogram_plot(np.zeros(100), np.ones(100)) is None
    assert histogram_plot(np.ones(100), np.ones(50)) is None


def test_without_signatures_only_the_map_is_there_and_says_why(finished: Search, versions: list[ModelVersion]) -> None:
    signature = Signature.objects.get(version=versions[0])

    def keys() -> list[str]:
        return [plot.key for plot in reference_plots(finished.sample_set, signature)]

    assert keys() == ["map", "reference"]
    (alone,) = reference_plots(finished.sample_set, None)
    assert alone.note
    finished.sample_set.signature = None
    assert keys() == ["map"]
    finished.sample_set.signature = signature_bytes()[:20]
    assert keys() == ["map"]
