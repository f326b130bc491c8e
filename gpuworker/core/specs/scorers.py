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
    predicts_accuracy: that estimate comes with an interval and may stand on the board as the prediction; others order or diagnose.
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
        "Modelshop, decision 5", predicts_accuracy=True, default=True,
    ),
    ScorerSpec(
        "a_only", "Competence on probes", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the labelled probes that are most like your samples; nothing is run on your samples",
        "Modelshop, decision 5", default=True,
    ),
    ScorerSpec(
        "probe_cells", "Probes by cells", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the probes in each cell of a shared codebook, weighted by the share of your samples there",
        "Modelshop, decision 5",
    ),
    ScorerSpec(
        "probe_neighbours", "Nearest probes", "probes", "higher", "accuracy", _needs("probes"),
        "Accuracy on the 20 probes nearest to each of your samples",
        "Modelshop, decision 5",
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
        "hellinger_sq", "Histogram distance (Hellinger)", "paper", "lower", "score", _needs("value_histogram|word_counts"),
        "Squared Hellinger distance between the value (or word) histograms of reference and samples, in [0, 1]",
        SEED_PAPER,
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
        "adaptivity_coverage", "Coverage", "paper", "lower", "score", _needs("value_groups|word_counts"),
        "How far each cluster of samples is from the nearest cluster of the reference, on average, in [0, ln 2]",
        SEED_PAPER,
    ),
    ScorerSpec(
        "word_jsd", "Word distance (JSD)", "paper", "lower", "score", _needs("word_counts"),
        "Jensen-Shannon divergence between the frequencies of the 300 most frequent words; texts and pairs only",
        SEED_PAPER,
    ),
    ScorerSpec(
        "word_l2", "Word distance (L2)", "paper", "lower", "score", _needs("word_counts"),
        "Euclidean distance between the frequencies of the 300 most frequent words; texts and pairs only",
        SEED_PAPER,
    ),
    ScorerSpec(
        "word_adaptivity", "Word adaptivity", "paper", "higher", "score", _needs("word_counts"),
        "Pairs of reference and sample groups whose words are closer than the median; texts and pairs only",
        SEED_PAPER,
    ),
    ScorerSpec(
        "lsh_jsd", "Near histograms (LSH)", "paper", "lower", "score", _needs("value_histogram"),
        "Histogram distance of those that hash tables find near, below 0.1; the others are not told",
        SEED_PAPER,
    ),
    ScorerSpec(
        "minhash_jaccard", "Shared words (MinHash)", "paper", "higher", "score", _needs("word_counts"),
        "Words that reference and samples share, as a share of the words of either; texts and pairs only",
        "Broder, SEQUENCES 1997; arXiv 2010.09474",
    ),
    ScorerSpec(
        "mmd", "Mean discrepancy (MMD)", "distance", "lower", "score", _needs("features"),
        "Distance between the mean kernel embeddings of reference and samples",
        "Gretton et al., JMLR 2012",
    ),
    ScorerSpec(
        "fid", "Frechet distance", "distance", "lower", "score", _needs("features"),
        "Distance between normal distributions fitted to reference and samples on 16 axes",
        "Heusel et al., NeurIPS 2017",
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
        "average_confidence", "Average confidence", "confidence", "higher", "accuracy", _needs("predictions"),
        "Mean of the highest probability: the accuracy of a calibrated model",
        "Hendrycks and Gimpel, ICLR 2017",
    ),
    ScorerSpec(
        "calibrated_confidence", "Calibrated confidence", "confidence", "higher", "accuracy", _needs("calibration", "predictions"),
        "Mean of the highest probability, at the temperature that calibrates the model on its reference sample",
        "Guo et al., ICML 2017",
    ),
    ScorerSpec(
        "doc", "Difference of confidences", "confidence", "higher", "accuracy", _needs("accuracy", "output_stats", "predictions"),
        "Held-out accuracy less the confidence lost between reference and samples",
        "Guillory et al., ICCV 2021",
    ),
    ScorerSpec(
        "cot", "Optimal transport", "confidence", "higher", "accuracy", _needs("calibration", "class_histogram", "predictions"),
        "1 - cost of moving the calibrated predictions onto labels in the balance of the reference sample",
        "Lu et al., NeurIPS 2023",
    ),
    ScorerSpec(
        "label_shift_accuracy", "Accuracy under label shift", "confidence", "higher", "accuracy",
        _needs("accuracy", "calibration", "predictions"),
        "Recall of each label on the reference sample, weighted by the balance of labels that fits the predictions best",
        "Saerens et al., Neural Computation 2002",
    ),
    ScorerSpec(
        "entropy", "Entropy", "confidence", "lower", "score", _needs("predictions"),
        "Mean entropy of the predicted distributions, in [0, ln C]",
        "Grandvalet and Bengio, NeurIPS 2004",
    ),
    ScorerSpec(
        "nuclear_norm", "Nuclear norm", "confidence", "higher", "score", _needs("predictions"),
        "Sum of the singular values of all predictions: sure answers, spread over labels, give 1",
        "Deng et al., ICML 2023",
    ),
    ScorerSpec(
        "infomax", "Mutual information", "confidence", "higher", "score", _needs("predictions"),
        "Entropy of the mean prediction less the mean entropy, in [0, ln C]",
        "Krause et al., NeurIPS 2010",
    ),
    ScorerSpec(
        "mano", "Logit norm (MaNo)", "confidence", "higher", "score", _needs("predictions"),
        "Fourth-power mean of the normalised logits",
        "Xie et al., NeurIPS 2024",
    ),
    ScorerSpec(
        "dispersion", "Dispersion", "confidence", "higher", "score", _needs("predictions"),
        "Part of the samples' spread that lies between the predicted labels, in [0, 1]",
        "Xie et al., NeurIPS 2023",
    ),
    ScorerSpec(
        "dawid_skene", "Consensus (Dawid-Skene)", "consensus", "higher", "accuracy", _needs("predictions"),
        "Expected accuracy when the label of each sample is inferred from the answers of all candidates together",
        "Dawid and Skene, Applied Statistics 1979", predicts_accuracy=True, default=True,
    ),
    ScorerSpec(
        "majority_vote", "Majority vote", "consensus", "higher", "accuracy", _needs("predictions"),
        "Share of samples on which a candidate answers as most of the others do",
    ),
    ScorerSpec(
        "ensv", "Agreement with the ensemble", "consensus", "higher", "accuracy", _needs("predictions"),
        "Share of samples on which a candidate answers as the mean of all predictions does",
        "Hu et al., NeurIPS 2024",
    ),
    ScorerSpec(
        "sml", "Spectral meta-learner", "consensus", "higher", "score", _needs("predictions"),
        "Leading factor of the covariance of answers: who agrees more than chance explains, in [-1, 1]",
        "Parisi et al., PNAS 2014",
    ),
    ScorerSpec(
        "aline", "Agreement on the line", "consensus", "higher", "accuracy", _needs("predictions", "probes"),
        "Accuracy on labelled probes, carried over to the samples along the line on which agreements lie",
        "Baek et al., NeurIPS 2022",
    ),
    ScorerSpec(
        "no_probe", "Without probes", "consensus", "higher", "score", _needs("predictions"),
        "Places by Dawid-Skene, SML, EnsV, own cells, InfoMax and COT counted together, for catalogs without labelled probes",
        "Modelshop, decision 5",
    ),
)}
# fmt: on

DROP_LEVEL = 0.02
"""A candidate whose chance of coming within one point of the best is under this may leave a race (`ranking.leaving`)."""
