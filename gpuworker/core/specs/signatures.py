"""Parts of a behaviour signature."""

from __future__ import annotations

from dataclasses import dataclass

from gpuworker.core.specs.modalities import MODALITIES


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    """One part of a behaviour signature, computed from a reference sample or from a sample set.

    needs: what the function must be given beside the samples: "labels", "outputs".
    """

    key: str
    label: str
    modalities: tuple[str, ...]
    needs: frozenset[str]
    help: str
    source: str


_ALL = tuple(MODALITIES)
_NUMERIC = ("image", "series", "table")
_WORDS = ("text", "pair")
SEED_PAPER = "arXiv 2206.00188; arXiv 2010.09474"
SIGNATURES: dict[str, SignatureSpec] = {
    spec.key: spec
    for spec in (
        SignatureSpec(
            "value_histogram",
            "Histogram of values",
            _NUMERIC,
            frozenset(),
            "100 bins over all values after one global min-max",
            SEED_PAPER,
        ),
        SignatureSpec(
            "value_groups",
            "Histograms of groups",
            _NUMERIC,
            frozenset(),
            "The same histogram for groups and clusters of rows, each normalised alone",
            SEED_PAPER,
        ),
        SignatureSpec("value_center", "Centre of the samples", _NUMERIC, frozenset(), "Mean sample after global min-max", SEED_PAPER),
        SignatureSpec(
            "word_counts",
            "Word counts",
            _WORDS,
            frozenset(),
            "Counts of hashed lower-cased words without stop words, whole, per group and per cluster, and min-wise hashes of all words",
            SEED_PAPER,
        ),
        SignatureSpec(
            "features",
            "Probe features",
            _ALL,
            frozenset(),
            "Mean, spread and a fixed-size sketch of the modality's probe features",
            "Modelshop, decision 5",
        ),
        SignatureSpec("class_histogram", "Class balance", _ALL, frozenset({"labels"}), "Samples per label", ""),
        SignatureSpec(
            "output_stats",
            "Output statistics",
            _ALL,
            frozenset({"outputs"}),
            "Predicted class balance, confidence histogram, mean confidence and entropy",
            "",
        ),
        SignatureSpec(
            "accuracy",
            "Held-out accuracy",
            _ALL,
            frozenset({"labels", "outputs"}),
            "Accuracy, recall of each class and the number of rows behind them",
            "",
        ),
        SignatureSpec(
            "calibration",
            "Calibration",
            _ALL,
            frozenset({"labels", "outputs"}),
            "Temperature and expected calibration error",
            "Guo et al., ICML 2017",
        ),
        SignatureSpec(
            "atc_thresholds",
            "ATC thresholds",
            _ALL,
            frozenset({"labels", "outputs"}),
            "Score thresholds whose exceedance equals held-out accuracy",
            "Garg et al., ICLR 2022",
        ),
    )
}
