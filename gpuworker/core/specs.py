"""Explicit tables of everything the worker can do. Torch-free: the web process imports this module.

Each table names a capability, says what it needs and costs, and where it comes from. The implementations stand in
the package of the same name (`scorers/`, `modalities/`, `formats/`, `signatures/`); a test asserts equal keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModalitySpec:
    """A kind of sample. `extensions` are the file name endings a sample set of this kind may be made of."""

    key: str
    label: str
    extensions: tuple[str, ...]
    help: str


MODALITIES: dict[str, ModalitySpec] = {
    spec.key: spec
    for spec in (
        ModalitySpec(
            "image",
            "Images",
            (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".zip", ".npz"),
            "Image files, a folder, a zip, or .npz with x (N,H,W[,C]) uint8",
        ),
        ModalitySpec(
            "text",
            "Text",
            (".csv", ".tsv", ".parquet", ".jsonl", ".txt"),
            "CSV, TSV, Parquet or JSONL with a text column, or .txt with one text per line",
        ),
        ModalitySpec(
            "series",
            "Time series",
            (".npz", ".npy", ".csv", ".parquet"),
            ".npz or .npy (N,T,C), or CSV or Parquet with one row per step and a window",
        ),
        ModalitySpec("table", "Tables", (".csv", ".tsv", ".parquet", ".jsonl", ".npz"), "CSV or Parquet, one row per sample"),
        ModalitySpec(
            "pair",
            "Entity pairs",
            (".csv", ".tsv", ".parquet", ".jsonl"),
            "CSV or Parquet with columns left_* and right_*",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """A model file format. A refused one carries why and how to export instead."""

    key: str
    label: str
    extensions: tuple[str, ...]
    accepted: bool
    why: str = ""
    instead: str = ""


_EXPORT = "Export it with torch.onnx.export(...) or torch.export.save(torch.export.export(model, args), 'model.pt2')."
FORMATS: dict[str, FormatSpec] = {
    spec.key: spec
    for spec in (
        FormatSpec("onnx", "ONNX", (".onnx",), True),
        FormatSpec("pt2", "torch.export archive", (".pt2",), True),
        FormatSpec("safetensors", "safetensors with config.json", (".safetensors", ".zip"), True),
        FormatSpec(
            "pickle", "Python pickle", (".pkl", ".pickle"), False, "Opening a pickle runs whatever code its author put in.", _EXPORT
        ),
        FormatSpec(
            "torch_save",
            "torch.save file",
            (".pt", ".pth", ".bin", ".ckpt"),
            False,
            "A torch.save file is a pickle: opening it can run code.",
            _EXPORT,
        ),
        FormatSpec(
            "torchscript", "TorchScript", (".ts", ".ptl"), False, "A TorchScript archive carries code that runs when it is loaded.", _EXPORT
        ),
        FormatSpec(
            "joblib",
            "joblib",
            (".joblib",),
            False,
            "A joblib file is a pickle: opening it can run code.",
            "Convert the pipeline with skl2onnx.to_onnx(...).",
        ),
        FormatSpec(
            "keras",
            "Keras",
            (".keras", ".h5", ".hdf5"),
            False,
            "Keras files can hold lambda layers, which are code.",
            "Convert it with tf2onnx to .onnx.",
        ),
        FormatSpec(
            "tflite",
            "TensorFlow Lite",
            (".tflite",),
            False,
            "There is no reader for TensorFlow Lite.",
            "Convert it with tf2onnx --tflite to .onnx.",
        ),
    )
}


Cost = Literal["signature", "forward"]
Direction = Literal["higher", "lower"]


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
_SEED_PAPER = "arXiv 2206.00188; arXiv 2010.09474"
SIGNATURES: dict[str, SignatureSpec] = {
    spec.key: spec
    for spec in (
        SignatureSpec(
            "value_histogram",
            "Histogram of values",
            _NUMERIC,
            frozenset(),
            "100 bins over all values after one global min-max",
            _SEED_PAPER,
        ),
        SignatureSpec(
            "value_groups",
            "Histograms of groups",
            _NUMERIC,
            frozenset(),
            "The same histogram for groups of rows, each normalised alone",
            _SEED_PAPER,
        ),
        SignatureSpec("value_center", "Centre of the samples", _NUMERIC, frozenset(), "Mean sample after global min-max", _SEED_PAPER),
        SignatureSpec(
            "word_counts",
            "Word counts",
            _WORDS,
            frozenset(),
            "Counts of hashed lower-cased words without stop words, whole and per group",
            _SEED_PAPER,
        ),
        SignatureSpec(
            "features",
            "Probe features",
            _ALL,
            frozenset(),
            "Mean, spread and a fixed-size sketch of the modality's probe features",
            "ranking notes, section 2",
        ),
        SignatureSpec("class_histogram", "Class balance", _ALL, frozenset({"labels"}), "Samples per label", ""),
        SignatureSpec(
            "output_stats",
            "Output statistics",
            _ALL,
            frozenset({"outputs"}),
            "Predicted class balance, confidence histogram, mean entropy",
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


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A way to score candidates.

    direction: whether a higher or a lower value is better. needs: signature keys, plus "predictions".
    cost: "signature" runs nothing, "forward" needs every candidate's predictions on the samples.
    predicts_accuracy: the value itself is an accuracy in [0, 1]; otherwise it only orders.
    """

    key: str
    label: str
    direction: Direction
    needs: frozenset[str]
    cost: Cost
    predicts_accuracy: bool
    help: str
    source: str


SCORERS: dict[str, ScorerSpec] = {
    spec.key: spec
    for spec in (
        ScorerSpec(
            "jsd_hist",
            "Histogram distance (JSD)",
            "lower",
            frozenset({"value_histogram|word_counts"}),
            "signature",
            False,
            "Jensen-Shannon divergence between the value (or word) histograms of reference and samples, in [0, ln 2]",
            _SEED_PAPER,
        ),
        ScorerSpec(
            "l2_center",
            "Distance of centres",
            "lower",
            frozenset({"value_center|word_counts"}),
            "signature",
            False,
            "Euclidean distance between the mean reference sample and the mean sample",
            _SEED_PAPER,
        ),
        ScorerSpec(
            "adaptivity_pairs",
            "Adaptivity",
            "higher",
            frozenset({"value_groups|word_counts"}),
            "signature",
            False,
            "Pairs of reference and sample groups closer than the median over all pairs, per sample group",
            _SEED_PAPER,
        ),
        ScorerSpec(
            "source_accuracy",
            "Self-reported accuracy",
            "higher",
            frozenset({"accuracy"}),
            "signature",
            True,
            "Accuracy on the publisher's own reference sample: says nothing about your samples",
            "",
        ),
        ScorerSpec(
            "atc",
            "Average thresholded confidence",
            "higher",
            frozenset({"atc_thresholds", "predictions"}),
            "forward",
            True,
            "Share of samples whose score exceeds the threshold that matched held-out accuracy",
            "Garg et al., ICLR 2022",
        ),
        ScorerSpec(
            "dawid_skene",
            "Consensus (Dawid-Skene)",
            "higher",
            frozenset({"predictions"}),
            "forward",
            True,
            "Expected accuracy when the label of each sample is inferred from the answers of all candidates together",
            "Dawid and Skene, Applied Statistics 1979",
        ),
    )
}
