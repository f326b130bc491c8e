"""Trains the demo catalog and writes it to `files/`: `./dev seed`. Deterministic; about a minute on two cores.

Every model is trained on inputs made by the product's own readers and encoders, so that its spec tells the truth. The
manifest also records each model's true accuracy on each demo sample set, which tests use and no page shows.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gpuworker.core import input_spec
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.modalities.options import parse_options
from gpuworker.core.protocols import SampleBatch, SourceFile
from gpuworker.seed import domains as d
from gpuworker.seed.exports import as_onnx, as_pt2
from gpuworker.seed.networks import cnn, conv_mixer, linear, mlp

log = logging.getLogger(__name__)
FILES = Path(__file__).resolve().parent / "files"
DIGITS = [str(digit) for digit in range(10)]
LANGUAGES = list(d.LANGUAGES.values())
TUMOURS = ["malignant", "benign"]
REFERENCE_ROWS = {"image": 300, "text": 300, "table": 114}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model to train: where its samples come from, what it reads, how it is built and saved."""

    name: str
    title: str
    summary: str
    modality: str
    task: str
    labels: list[str]
    samples: Callable[[d.Part], d.Samples]
    input: dict[str, Any]
    network: Callable[[tuple[int, ...], int], nn.Module]
    format: str
    licence: str
    epochs: int = 30
    share: float = 1.0  # of the training part


@dataclass(frozen=True, slots=True)
class Demo:
    """A sample set whose right answer is known."""

    name: str
    title: str
    modality: str
    labels: list[str]
    samples: d.Samples


IMAGE = {"height": d.SIDE, "width": d.SIDE, "channels": 1, "mean": [0.4], "std": [0.35]}
IMAGE_FLAT = IMAGE | {"layout": "flat"}
LETTERS = {"kind": "hashed_ngrams", "features": 2048, "analyzer": "char_wb", "ngrams": [1, 3], "weighting": "log"}
LETTERS_SMALL = {"kind": "hashed_ngrams", "features": 256, "analyzer": "char_wb", "ngrams": [1, 2]}
WORDS = {"kind": "hashed_ngrams", "features": 2048, "analyzer": "word", "weighting": "binary"}


def table_input(columns: list[str]) -> dict[str, Any]:
    """Numeric columns, centred and scaled by the training part of the reference clinic."""
    x = d.tumours("train", "reference").x
    place = {name: index for index, name in enumerate(d.tumour_columns())}
    return {
        "columns": [
            {"name": name, "kind": "numeric", "mean": float(x[:, place[name]].mean()), "std": float(x[:, place[name]].std())}
            for name in columns
        ]
    }


def recipes() -> list[Recipe]:
    """The catalog: images, text and tables; several architectures and domains; three file formats."""

    def digits(
        name: str, title: str, summary: str, looks: tuple[d.Look, ...], network: Any, form: str, flat: bool = False, **more: Any
    ) -> Recipe:
        return Recipe(
            name, title, summary, "image", "digits", DIGITS, lambda part: d.digits(part, *looks, seed=11), IMAGE_FLAT if flat else IMAGE,
            network, form, "CC-BY-4.0", **more,
        )  # fmt: skip

    def language(name: str, title: str, summary: str, package: str, spec: dict[str, Any], network: Any, form: str, **more: Any) -> Recipe:
        return Recipe(
            name,
            title,
            summary,
            "text",
            "language",
            LANGUAGES,
            lambda part: d.messages(part, package),
            spec,
            network,
            form,
            "BSD-3-Clause",
            **more,
        )

    def tumour(name: str, title: str, summary: str, clinic: d.Clinic, columns: list[str], network: Any, form: str, **more: Any) -> Recipe:
        return Recipe(
            name,
            title,
            summary,
            "table",
            "tumour",
            TUMOURS,
            lambda part: d.tumours(part, clinic, seed=5),
            table_input(columns),
            network,
            form,
            "CC-BY-4.0",
            **more,
        )

    every = d.tumour_columns()
    means, worst = [c for c in every if c.startswith("mean")], [c for c in every if c.startswith("worst")]
    return [
        digits("digits-linear", "Digits, linear", "Softmax regression on clean scans", (d.clean,), linear, "onnx", flat=True),
        digits("digits-mlp", "Digits, MLP", "Two hidden layers on clean scans", (d.clean,), mlp, "onnx", flat=True),
        digits("digits-cnn", "Digits, CNN", "Small convolutional network on clean scans", (d.clean,), cnn, "pt2"),
        digits("digits-inverted", "Inverted digits, CNN", "White paper, black ink", (d.inverted,), cnn, "pt2"),
        digits("digits-noisy", "Noisy digits, CNN", "Trained on scans with strong sensor noise", (d.noisy,), cnn, "pt2"),
        digits("digits-noisy-mlp", "Noisy digits, MLP", "The same scans, fully connected", (d.noisy,), mlp, "onnx", flat=True),
        digits("digits-faint", "Faint digits, CNN", "Washed-out pencil marks", (d.faint,), cnn, "pt2"),
        digits("digits-thick", "Marker digits, CNN", "Thick strokes", (d.thick,), cnn, "pt2"),
        digits("digits-tilted", "Tilted digits, mixer", "Photographed at an angle of up to 42 degrees", (d.tilted,), conv_mixer, "pt2"),
        digits("digits-blurred", "Blurred digits, CNN", "Out of focus", (d.blurred,), cnn, "pt2"),
        digits(
            "digits-tilted-noisy", "Tilted noisy digits, mixer", "Hand-held camera in poor light", (d.tilted, d.noisy), conv_mixer, "pt2"
        ),
        language(
            "language-core",
            "Language, letters (validation messages)",
            "Letter trigrams of framework messages",
            "django",
            LETTERS,
            linear,
            "onnx",
        ),
        language("language-core-words", "Language, words (validation messages)", "Whole words only", "django", WORDS, linear, "onnx"),
        language(
            "language-core-small",
            "Language, small (validation messages)",
            "256 letter pairs: tiny and fast",
            "django",
            LETTERS_SMALL,
            mlp,
            "onnx",
        ),
        language(
            "language-admin",
            "Language, letters (admin screens)",
            "Letter trigrams of back-office screens",
            "django.contrib.admin",
            LETTERS,
            mlp,
            "pt2",
        ),
        language(
            "language-accounts",
            "Language, letters (account mails)",
            "Letter trigrams of sign-in pages and mails",
            "allauth",
            LETTERS,
            linear,
            "onnx",
        ),
        language(
            "language-accounts-words",
            "Language, words (account mails)",
            "Whole words of sign-in pages and mails",
            "allauth",
            WORDS,
            mlp,
            "pt2",
        ),
        tumour("tumour-linear", "Tumour, linear", "Logistic regression on all 30 measurements", "reference", every, linear, "onnx"),
        tumour("tumour-mlp", "Tumour, MLP", "All 30 measurements", "reference", every, mlp, "pt2"),
        tumour("tumour-means", "Tumour, mean values only", "Ten columns, no extremes", "reference", means, linear, "onnx"),
        tumour("tumour-worst", "Tumour, extremes only", "The ten worst values", "reference", worst, mlp, "onnx"),
        tumour("tumour-coarse", "Tumour, coarse records", "Trained on rounded records with missing cells", "coarse", every, mlp, "pt2"),
        tumour(
            "tumour-drifted",
            "Tumour, drifted instrument",
            "Trained on an instrument that reads areas high",
            "drifted",
            every,
            linear,
            "onnx",
        ),
    ]


def demos() -> list[Demo]:
    """Sample sets that resemble no single model's training data exactly."""
    short = d.messages("demo", "allauth", cut=28)
    return [
        Demo("hand-held-scans", "Hand-held scans of digits", "image", DIGITS, d.digits("demo", d.leaning, d.faint, seed=21)),
        Demo("night-camera", "Digits from a night camera", "image", DIGITS, d.digits("demo", d.blurred, d.noisy, seed=22)),
        Demo("short-labels", "Short interface labels", "text", LANGUAGES, d.Samples(short.x[:300], short.y[:300])),
        Demo("second-clinic", "Records of a second clinic", "table", TUMOURS, d.tumours("demo", "drifted", seed=23)),
    ]


def sample_file(modality: str, samples: d.Samples, labels: list[str] | None) -> tuple[str, bytes]:
    """An upload as a person would make it: .npz for images, .csv for text and tables; with labels for a reference sample."""
    if modality == "image":
        buffer = io.BytesIO()
        arrays = {"x": samples.x} | ({"y": samples.y, "label_names": np.array(labels)} if labels else {})
        np.savez_compressed(buffer, **arrays)
        return "samples.npz", buffer.getvalue()
    header = ["text"] if modality == "text" else d.tumour_columns()
    rows = [[text] for text in samples.x] if modality == "text" else [["" if np.isnan(v) else f"{v:.6g}" for v in row] for row in samples.x]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header + (["label"] if labels else []))
    writer.writerows(row + ([labels[y]] if labels else []) for row, y in zip(rows, samples.y, strict=True))
    return "samples.csv", out.getvalue().encode()


def options_for(modality: str, labelled: bool) -> dict[str, Any]:
    """Reading options of the files above."""
    chosen: dict[str, Any] = {} if modality == "image" else {"columns": ["text"] if modality == "text" else d.tumour_columns()}
    return chosen | ({"label_column": "label"} if labelled and modality != "image" else {})


def read(modality: str, samples: d.Samples) -> SampleBatch:
    name, content = sample_file(modality, samples, None)
    file = SourceFile(name, io.BytesIO(content), len(content))
    return MODALITY_IMPLEMENTATIONS[modality].read([file], parse_options(options_for(modality, False))).batch


def encoded(recipe: Recipe, samples: d.Samples) -> torch.Tensor:
    batch = read(recipe.modality, samples)
    spec = input_spec.parse(spec_of(recipe))
    return torch.from_numpy(MODALITY_IMPLEMENTATIONS[recipe.modality].encode(batch, 0, batch.n, spec.input, ["input"])["input"])


def spec_of(recipe: Recipe) -> dict[str, Any]:
    return {
        "schema": input_spec.VERSION,
        "modality": recipe.modality,
        "input": recipe.input,
        "output": {"kind": "logits"},
        "labels": recipe.labels,
    }


def train(recipe: Recipe, seed: int) -> nn.Module:
    """AdamW with a cosine schedule on the recipe's training part."""
    torch.manual_seed(seed)
    samples = recipe.samples("train")
    x, y = encoded(recipe, samples), torch.from_numpy(samples.y)
    model = recipe.network(tuple(x.shape[1:]), len(recipe.labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    for _ in range(recipe.epochs):
        model.train()
        for rows in torch.split(torch.randperm(len(y)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(x[rows]), y[rows]))
            optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, recipe: Recipe, samples: d.Samples) -> float:
    predicted: NDArray[np.int64] = model(encoded(recipe, samples)).argmax(1).numpy()
    return round(float((predicted == samples.y).mean()), 4)


def build(target: Path = FILES) -> dict[str, Any]:
    """Train everything and write models, specs, references, demo files and manifest.json to `target`."""
    torch.set_num_threads(1)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    sets = demos()
    manifest: dict[str, Any] = {"models": [], "demos": []}
    for demo in sets:
        name, content = sample_file(demo.modality, demo.samples, None)
        path = f"{demo.name}{Path(name).suffix}"
        (target / path).write_bytes(content)
        manifest["demos"].append(
            {"name": demo.name, "title": demo.title, "modality": demo.modality, "file": path, "options": options_for(demo.modality, False)}
        )
    for seed, recipe in enumerate(recipes()):
        model = train(recipe, seed)
        path = f"{recipe.name}.{recipe.format}"
        example = encoded(recipe, recipe.samples("reference"))[:4].clone()
        (target / path).write_bytes(as_onnx(model, example) if recipe.format == "onnx" else as_pt2(model, example))
        reference = recipe.samples("reference")
        rows = slice(0, REFERENCE_ROWS[recipe.modality])
        reference = d.Samples(reference.x[rows], reference.y[rows])
        name, content = sample_file(recipe.modality, reference, recipe.labels)
        reference_path = f"{recipe.name}.reference{Path(name).suffix}"
        (target / reference_path).write_bytes(content)
        truth = {demo.name: accuracy(model, recipe, demo.samples) for demo in sets if demo.labels == recipe.labels}
        log.info("%-24s own %.3f  %s", recipe.name, accuracy(model, recipe, reference), truth)
        manifest["models"].append(
            {
                "name": recipe.name, "title": recipe.title, "summary": recipe.summary, "task": recipe.task, "licence": recipe.licence,
                "file": path, "spec": spec_of(recipe), "reference": reference_path, "reference_options": options_for(recipe.modality, True),
                "truth": truth,
            }
        )  # fmt: skip
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build()
