"""A small folder of labelled data in every known layout, and some files in unknown ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = {"good": ["fine", "lovely", "great", "bright"], "bad": ["broken", "awful", "dull", "grim"]}
FILLER = ["the", "box", "lamp", "chair", "north", "river", "cloth", "pan", "green", "paper"]
TAGS = ["NOUN", "VERB", "ADJ"]


def write_folder(root: Path, rows: int = 240) -> Path:
    images(root / "image" / "shapes_thin.npz", rows, 1, labels=["across", "down"])
    images(root / "image" / "shapes_thick.npz", rows, 2, labels=["Down", "across "])
    images(root / "image" / "shapes_odd.npz", rows, 1, labels=["left", "right"])
    images(root / "image" / "scenes_wide.npz", rows, 2, labels=["across", "down"], channels=3)
    series(root / "activity" / "steps_wrist.npz", rows)
    texts(root / "text" / "notes_kitchen.parquet", rows, 0)
    texts(root / "text" / "notes_garden.parquet", rows, 1)
    texts(root / "text" / "moods_cellar.parquet", rows, 0)
    texts(root / "text" / "moods_attic.parquet", rows, 1)
    texts(root / "text" / "lonely.parquet", 40, 0, ["low", "high"])
    tagged(root / "nlp" / "tags_news.parquet", rows // 4, 0)
    tagged(root / "nlp" / "tags_mail.parquet", rows // 4, 1)
    (root / "nlp" / "trees.txt.gz").write_bytes(gzip.compress(b"(1 (2 a) (0 b))\n"))
    pairs(root / "em" / "lamps.parquet", rows, ["name", "price"])
    pairs(root / "em" / "chairs.parquet", rows, ["title"])
    (root / "models").mkdir()
    return root


def images(path: Path, rows: int, thick: int, labels: list[str], channels: int = 1) -> None:
    """A bar across (label 0) or down (label 1; the other way round where the second label is "across ")."""
    rng = np.random.default_rng(len(path.stem) + thick)
    x = rng.integers(0, 60, (rows, 16, 16), np.uint8)
    y = rng.integers(0, 2, rows).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        place = int(rng.integers(2, 12))
        across = labels[label].strip().casefold() in ("across", "left")
        image[(slice(place, place + thick), slice(2, 14)) if across else (slice(2, 14), slice(place, place + thick))] += 150
    if channels == 3:
        x = np.stack([x, x // 2, x // 3], axis=3)
    _save(path, X=x, y=y, label_names=np.array(labels), split=_split(rows))


def series(path: Path, rows: int, subjects: int = 12) -> None:
    """Slow or quick swings; subjects swing at their own heights. Every subject's rows stand together, in recordings of ten windows."""
    rng = np.random.default_rng(5)
    subject = np.repeat(np.arange(1, subjects + 1), rows // subjects).astype(np.int16)
    trial = (np.arange(len(subject)) // 10).astype(np.int16)
    y = (trial % 2).astype(np.uint8)
    steps = np.arange(32)
    swing = np.sin(steps[None] * np.where(y == 1, 1.2, 0.4)[:, None] + rng.uniform(0, 6, len(y))[:, None])
    x = np.stack([swing, swing * 0.5, rng.normal(0, 0.2, swing.shape)], axis=1) + subject[:, None, None] * 0.02
    extra = {
        "scale": np.float32(1 / 1024),
        "rate_hz": np.float32(20),
        "subject": subject,
        "trial": trial,
        "channel_names": np.array(["ax", "ay", "az"]),
    }
    split = np.isin(subject, [3, 6, 9, 12]).astype(np.uint8)
    _save(path, X=(x * 1024).astype(np.int16), y=y, label_names=np.array(["slow", "quick"]), split=split, **extra)


def texts(path: Path, rows: int, turn: int, labels: list[str] | None = None) -> None:
    rng = np.random.default_rng(turn)
    y = rng.integers(0, 2, rows)
    lines = []
    for label in y:
        mood = WORDS["good" if label else "bad"][2 * turn : 2 * turn + 3]
        lines.append(" ".join([*rng.choice(FILLER, 5), str(rng.choice(mood)), str(rng.integers(1000))]))
    _table(path, {"text": lines, "label": y}, {"label_names": labels or ["bad", "good"]}, rows)


def tagged(path: Path, sentences: int, turn: int) -> None:
    rng = np.random.default_rng(turn)
    endings = ["er", "ing", "ous"]
    tags = [rng.integers(0, 3, 6).tolist() for _ in range(sentences)]
    tokens = [[f"{'abcdefgh'[rng.integers(8)]}{rng.integers(100)}{endings[tag]}" for tag in row] for row in tags]
    _table(path, {"tokens": tokens, "kind": tags}, {"kind_names": TAGS}, sentences)


def pairs(path: Path, rows: int, attributes: list[str]) -> None:
    rng = np.random.default_rng(len(attributes))
    y = (rng.random(rows) < 0.3).astype(int)
    columns: dict[str, Any] = {}
    for attribute in attributes:
        left = [" ".join([*rng.choice(FILLER, 3), str(rng.integers(10_000))]) for _ in range(rows)]
        columns[f"left_{attribute}"] = left
        columns[f"right_{attribute}"] = [text if match else " ".join(rng.choice(FILLER, 4)) for text, match in zip(left, y, strict=True)]
    _table(path, {**columns, "label": y}, {"label_names": ["no_match", "match"]}, rows)


def _split(rows: int) -> np.ndarray:
    return (np.arange(rows) % 10 < 4).astype(np.uint8)


def _save(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def _table(path: Path, columns: dict[str, Any], notes: dict[str, list[str]], rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    split = ["test" if mark else "train" for mark in _split(rows)]
    table = pa.table({**columns, "split": split})
    pq.write_table(table.replace_schema_metadata({key: json.dumps(value) for key, value in notes.items()}), path)
