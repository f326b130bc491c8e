"""Real data that ships with the dependencies, cut into domains: handwritten digits, interface messages, tumour measurements.

Each source is split once into train, reference and demo parts by a fixed seed; a domain changes how the samples look, not
which part they belong to, so that no demo sample was ever trained on.
"""

from __future__ import annotations

import gettext
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_breast_cancer, load_digits

Part = Literal["train", "reference", "demo"]
SHARES: dict[Part, tuple[float, float]] = {"train": (0.0, 0.6), "reference": (0.6, 0.8), "demo": (0.8, 1.0)}
SIDE = 16
LANGUAGES = {
    "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "fi": "Finnish", "fr": "French",
    "it": "Italian", "nl": "Dutch", "pl": "Polish", "pt_BR": "Portuguese", "sv": "Swedish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Samples:
    """x: images (N,16,16) uint8, texts list[str], or tables (N,F) float64 with NaN for missing. y: (N,) int64."""

    x: Any
    y: NDArray[np.int64]


def _part(n: int, part: Part) -> NDArray[np.intp]:
    low, high = SHARES[part]
    return np.random.default_rng(7).permutation(n)[int(low * n) : int(high * n)]


# --- digits: images ----------------------------------------------------------------------------------------------
Look = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def _clip(x: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(x, 0, 255), np.uint8)


def clean(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return x


def inverted(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return 255 - x


def noisy(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _clip(x + rng.normal(0, 55, x.shape))


def faint(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _clip(x * 0.22 + 25 + rng.normal(0, 9, x.shape))


def thick(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.MaxFilter(5))) for image in x])


def leaning(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _rotated(x, rng, 4, 14)


def tilted(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _rotated(x, rng, 18, 42)


def _rotated(x: NDArray[np.uint8], rng: np.random.Generator, low: float, high: float) -> NDArray[np.uint8]:
    angles = rng.uniform(low, high, len(x)) * rng.choice([-1, 1], len(x))
    return np.stack(
        [np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR)) for image, angle in zip(x, angles, strict=True)]
    )


def blurred(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.6))) for image in x])


def digits(part: Part, *looks: Look, seed: int = 0) -> Samples:
    """Optical digits (UCI, in scikit-learn), enlarged to 16 x 16; the looks are applied one after the other."""
    data = load_digits()
    rows = _part(len(data.target), part)
    small = _clip(data.images[rows] * 15.9375)
    x = np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in small])
    rng = np.random.default_rng(seed)
    for look in looks:
        x = look(x, rng)
    return Samples(x, data.target[rows].astype(np.int64))


# --- interface messages: text ------------------------------------------------------------------------------------
_MARKUP = re.compile(r"%\([^)]*\)[a-z]|%[sd]|\{[^}]*\}|<[^>]+>|&\w+;|https?://\S+|[\n\r\t]+")


def messages(part: Part, package: str, *, shortest: int = 12, longest: int = 200, cut: int | None = None) -> Samples:
    """Translated messages of a package that ships its catalogs (django, django.contrib.admin, allauth); label = language.

    cut: keep only the first words of each, up to so many letters.
    """
    texts: list[str] = []
    labels: list[int] = []
    for label, language in enumerate(LANGUAGES):
        found = sorted({text for text in _catalog(package, language) if shortest <= len(text) <= longest})
        rows = _part(len(found), part)
        texts += [_shortened(found[row], cut) for row in rows]
        labels += [label] * len(rows)
    order = np.random.default_rng(3).permutation(len(texts))
    return Samples([texts[row] for row in order], np.array(labels, np.int64)[order])


def _catalog(package: str, language: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    path = next(place for place in (root / "conf" / "locale", root / "locale") if place.is_dir()) / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return [" ".join(_MARKUP.sub(" ", text).split()) for key, text in catalog.items() if key and isinstance(text, str)]


def _shortened(text: str, cut: int | None) -> str:
    return text if cut is None or len(text) <= cut else text[:cut].rsplit(" ", 1)[0]


# --- tumour measurements: tables ---------------------------------------------------------------------------------
Clinic = Literal["reference", "coarse", "drifted"]


def tumour_columns() -> list[str]:
    return [str(name) for name in load_breast_cancer().feature_names]


def tumours(part: Part, clinic: Clinic, seed: int = 0) -> Samples:
    """Wisconsin breast cancer measurements (UCI, in scikit-learn) as three clinics would record them.

    coarse: rounded to two digits, one cell in ten missing. drifted: an instrument that reads areas and textures 12 % high,
    with noise.
    """
    data = load_breast_cancer()
    rows = _part(len(data.target), part)
    x, rng = data.data[rows].astype(np.float64), np.random.default_rng(seed)
    if clinic == "coarse":
        scale = 10.0 ** np.floor(np.log10(np.abs(x) + 1e-9))
        x = np.round(x / scale, 1) * scale
        x[rng.random(x.shape) < 0.1] = np.nan
    elif clinic == "drifted":
        high = np.array([1.12 if "area" in name or "texture" in name else 1.0 for name in tumour_columns()])
        x = x * high * rng.normal(1.0, 0.08, x.shape)
    return Samples(x, data.target[rows].astype(np.int64))
