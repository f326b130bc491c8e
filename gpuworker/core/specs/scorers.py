"""Ways to score candidates, grouped by family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpuworker.core.specs.signatures import SEED_PAPER

Cost = Literal["signature", "forward"]
Direction = Literal["higher", "lower"]
Scale = Literal["accuracy", "score"]
Family = Literal["probes", "consensus", "confidence", "distance", "paper"]


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """Scorers of one kind, as pages group them."""

    key: Family
    label: str
    help: str


FAMILIES: dict[Family, FamilySpec] = {
    spec.key: spec
    for spec in (
        FamilySpec("probes", "Labelled probes", "Every model's answers on shared labelled samples, weighted by their likeness to yours"),
        FamilySpec("consensus", "Consensus", "The answers of all candidates to your samples, taken together"),
        FamilySpec("confidence", "One model alone", "What a model says of itself: a diagnosis, which never orders models by default"),
        FamilySpec("distance", "Distance of features", "Probe features of the reference sample against those of your samples"),
        FamilySpec("paper", "Distance of values and words", "Histograms of the reference sample against those of your samples"),
    )
}


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A way to score candidates.

    direction: whether a higher or a lower value is better. scale: "accuracy" where the value estimates an accuracy in [0, 1].
    predicts_accuracy: that estimate may stand on the board as the prediction; otherwise a value only orders or diagnoses.
    needs: signature keys ("a|b": one of them), "predictions" on the samples, "probes". default: part of a search where nobody chose.
    """

    key: str
    label: str
    family: Family
    direction: Direction
    scale: Scale
    needs: frozenset[str]
    help: str
    source: str = ""
    predicts_accuracy: bool = False
    default: bool = False

    @property
    def cost(self) -> Cost:
        """ "signature" runs nothing on the samples, "forward" needs every candidate's predictions on them."""
        return "forward" if "predictions" in self.needs else "signature"


def _needs(*keys: str) -> frozenset[str]:
    return frozenset(keys)


# fmt: off
SCORERS: dict[str, ScorerSpec] = {spec.key: spec for spec in (
    ScorerSpec(
        "anchor", "ANCHOR", "probes", "higher", "accuracy", _needs("predictions", "probes"),
        "Accuracy expected when labelled probes, their neighbourhoods and the candidates' answers say what each sample is",
        "ranking notes, section 5", predicts_accuracy=True, default=True,
    ),
    ScorerSpec(
        "a_only", "Competence on probes", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the labelled probes that are most like your samples; nothing is run on your samples",
        "ranking notes, section 3", default=True,
    ),
    ScorerSpec(
        "probe_cells", "Probes by cells", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the probes in each cell of a shared codebook, weighted by the share of your samples there",
        "ranking notes, section 3",
    ),
    ScorerSpec(
        "probe_neighbours", "Nearest probes", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the 20 probes nearest to each of your samples",
        "ranking notes, section 3",
    ),
    ScorerSpec(
        "probe_importance", "Weighted probes", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the probes, weighted so that they look like your samples",
        "Sugiyama et al., JMLR 2007",
    ),
    ScorerSpec(
        "jsd_hist", "Histogram distance (JSD)", "paper", "lower", "score", _needs("value_histogram|word_counts"),
        "Jensen-Shannon divergence between the value (or word) histograms of reference and samples, in [0, ln 2]",
        SEED_PAPER, default=True,
    ),
    ScorerSpec(
        "l2_center", "Distance of centres", "paper", "lower", "score", _needs("value_center|word_counts"),
        "Euclidean distance between the mean reference sample and the mean sample",
        SEED_PAPER, default=True,
    ),
    ScorerSpec(
        "adaptivity_pairs", "Adaptivity", "paper", "higher", "score", _needs("value_groups|word_counts"),
        "Pairs of reference and sample groups closer than the median over all pairs, per sample group",
        SEED_PAPER, default=True,
    ),
    ScorerSpec(
        "source_accuracy", "Self-reported accuracy", "confidence", "higher", "accuracy", _needs("accuracy"),
        "Accuracy on the publisher's own reference sample: says nothing about your samples",
        predicts_accuracy=True, default=True,
    ),
    ScorerSpec(
        "atc", "Average thresholded confidence", "confidence", "higher", "accuracy", _needs("atc_thresholds", "predictions"),
        "Share of samples whose score exceeds the threshold that matched held-out accuracy",
        "Garg et al., ICLR 2022", predicts_accuracy=True, default=True,
    ),
    ScorerSpec(
        "dawid_skene", "Consensus (Dawid-Skene)", "consensus", "higher", "accuracy", _needs("predictions"),
        "Expected accuracy when the label of each sample is inferred from the answers of all candidates together",
        "Dawid and Skene, Applied Statistics 1979", predicts_accuracy=True, default=True,
    ),
)}
# fmt: on
