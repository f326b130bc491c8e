"""What one data file holds, told from its header alone: nothing is listed by name.

Arrays (.npz): an array of samples, `y` and `label_names`, perhaps `split`, `subject`, `trial`. Tables (.parquet): a label column with
names in the schema's metadata beside `text`, `left_*`/`right_*`, or `premise` and `hypothesis`; or `tokens` with one tag per token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuworker.core.modalities.pair import attributes_of

Kind = Literal["arrays", "text", "pair", "entailment", "tokens"]
MODALITIES: dict[Kind, str] = {"text": "text", "pair": "pair", "entailment": "pair", "tokens": "text"}
PREMISE, HYPOTHESIS = "premise", "hypothesis"
LABEL, SPLIT, TOKENS, TEXT = "label", "split", "tokens", "text"
_SAMPLES = ("X", "x", "jpeg")


class Unusable(Exception):
    """A file that is no domain of any task; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of labelled samples. labels: names in the file's own order. tags: the column of a token's tag, "" elsewhere.

    subjects: the people in it, and tested: those of the official test part; both empty where the file names none.
    """

    path: Path
    modality: str
    kind: Kind
    labels: tuple[str, ...]
    tags: str = ""
    subjects: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem


def look(path: Path) -> Source:
    """Raises Unusable with the reason."""
    if path.suffix == ".npz":
        return _arrays(path)
    if path.suffix == ".parquet":
        return _table(path)
    raise Unusable(f"{path.suffix or 'a file without ending'} is read by no modality with labels")


def _arrays(path: Path) -> Source:
    with np.load(path, allow_pickle=False) as arrays:
        names = set(arrays.files)
        if not names & set(_SAMPLES) or not {"y", "label_names"} <= names:
            raise Unusable("it needs samples, y and label_names")
        labels = tuple(str(name) for name in arrays["label_names"].tolist())
        modality = "series" if "channel_names" in names else "image"
        subjects: tuple[int, ...] = ()
        tested: tuple[int, ...] = ()
        if "subject" in names:
            who = arrays["subject"]
            subjects = tuple(int(s) for s in np.unique(who))
            if "split" in names:
                tested = tuple(int(s) for s in np.unique(who[is_test(arrays["split"])]))
    return Source(path, modality, "arrays", labels, subjects=subjects, tested=tested)


def _table(path: Path) -> Source:
    schema = pq.read_schema(path)
    notes = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    columns = list(schema.names)
    if TOKENS in columns:
        return _tokens(path, columns, notes)
    kind = _kind(columns)
    if "label_names" not in notes:
        raise Unusable("it names no labels in its metadata")
    labels = tuple(str(name) for name in json.loads(notes["label_names"]))
    found = pq.read_table(path, columns=[LABEL]).column(0).to_numpy()
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= len(labels):
        raise Unusable("its labels do not count into its label names")
    return Source(path, MODALITIES[kind], kind, labels)


def _kind(columns: Sequence[str]) -> Kind:
    if LABEL not in columns:
        raise Unusable("it has no label column")
    if TEXT in columns:
        return "text"
    if attributes_of(columns):
        return "pair"
    if {PREMISE, HYPOTHESIS} <= set(columns):
        return "entailment"
    raise Unusable(f"its columns {', '.join(columns[:8])} are no shape that is known")


def _tokens(path: Path, columns: Sequence[str], notes: dict[str, str]) -> Source:
    """One tag per token: a column whose names stand in the metadata, else one of tags begun and continued (`*_bio`)."""
    named = [column for column in columns if f"{column}_names" in notes]
    if named:
        labels = tuple(str(name) for name in json.loads(notes[f"{named[0]}_names"]))
        return Source(path, "text", "tokens", labels, tags=named[0])
    spelt = [column for column in columns if column.endswith("_bio")]
    if not spelt:
        raise Unusable("its tokens have no tags")
    found = pq.read_table(path, columns=spelt[:1]).column(0).to_pylist()
    return Source(path, "text", "tokens", tuple(sorted({tag for row in found for tag in row})), tags=spelt[0])


def is_test(split: NDArray[np.generic] | Sequence[object]) -> NDArray[np.bool_]:
    """Split marks, words or 0 and 1 -> whether a row is of the test part."""
    marks = np.asarray(split)
    return np.asarray(marks == 1) if marks.dtype.kind in "iub" else np.asarray(marks.astype(str) == "test")
