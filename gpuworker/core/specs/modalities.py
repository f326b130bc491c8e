"""Kinds of sample."""

from __future__ import annotations

from dataclasses import dataclass


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
