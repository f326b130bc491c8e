"""Finding tasks by layout alone, and reading their domains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpuworker.core.errors import Incompatible
from gpuworker.core.modalities.batches import strings
from gpuworker.core.modalities.image import values
from gpuworker.zoo.corruptions import CORRUPTIONS, corrupted
from gpuworker.zoo.reading import aligned, read_domain
from gpuworker.zoo.tasks import Task, discover, joined
from tests.zoo import folder


def task(data: Path, name: str) -> Task:
    return next(task for task in discover(data).tasks if task.name == name)


def test_tasks_are_files_of_one_prefix_and_equal_labels(data: Path) -> None:
    found = {task.name: [domain.name for domain in task.domains] for task in discover(data).tasks}
    # "Down", "across " are the same labels in another order; left and right are others.
    assert found["shapes"] == ["shapes_thick", "shapes_thin"]
    assert found["notes"] == ["notes_garden", "notes_kitchen"]
    assert found["tags"] == ["tags_mail", "tags_news"]
    assert found["em"] == ["chairs", "lamps"]  # a folder that agrees, without a common prefix


def test_subjects_and_corruptions_make_domains_of_a_single_file(data: Path) -> None:
    groups = task(data, "steps_wrist").domains
    assert len(groups) == 4
    assert sorted(subject for group in groups for subject in group.subjects) == list(range(1, 13))
    assert all(set(group.subjects) & {3, 6, 9, 12} for group in groups)  # each has a person to test on
    assert [domain.corruption for domain in task(data, "scenes_wide").domains] == list(CORRUPTIONS)


def test_what_is_left_out_says_why(data: Path) -> None:
    reasons = {entry.name: entry.reason for entry in discover(data).skipped}
    assert reasons == {
        "models": "no folder of samples",
        "text/lonely.parquet": "no second file of its prefix has its labels",
        "nlp/trees.txt.gz": ".gz is read by no modality with labels",
    }


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        discover(tmp_path / "none")


def test_labels_follow_the_order_of_the_task(data: Path) -> None:
    shapes = task(data, "shapes")
    assert shapes.labels == ("Down", "across ")
    thin = read_domain(shapes, shapes.domains[1])
    with np.load(shapes.domains[1].source.path) as arrays:
        assert (thin.labels == 1 - arrays["y"].astype(int)).all()  # its own order is across, down


def test_subject_groups_hold_their_people_and_keep_recordings(data: Path) -> None:
    steps = task(data, "steps_wrist")
    parts = [read_domain(steps, domain) for domain in steps.domains]
    assert sum(part.batch.n for part in parts) == 240
    for part, domain in zip(parts, steps.domains, strict=True):
        assert part.batch.n == 20 * len(domain.subjects)
        assert len(np.unique(part.recordings)) == 2 * len(domain.subjects)
        assert part.test.sum() == 20


def test_a_token_stands_in_brackets_among_its_neighbours(data: Path) -> None:
    tags = task(data, "tags")
    part = read_domain(tags, tags.domains[0])
    assert part.batch.n == 4 * 60  # at most four tokens of each sentence
    endings = {"er]": 0, "ing]": 1, "ous]": 2}
    for text, label in zip(strings(part.batch, "text"), part.labels, strict=True):
        marked = next(word for word in text.split() if word.startswith("["))
        assert next(number for ending, number in endings.items() if marked.endswith(ending)) == label
        assert len(text.split()) <= 5


def test_corrupted_domains_share_no_training_image(data: Path) -> None:
    scenes = task(data, "scenes_wide")
    clean, noise = (read_domain(scenes, domain) for domain in scenes.domains[:2])
    assert clean.test.sum() == noise.test.sum() == 96
    with np.load(scenes.domains[0].source.path) as arrays:
        images = [image.tobytes() for image in arrays["X"]]
    grey = read_domain(scenes, scenes.domains[-1])
    trained = [images.index(image.tobytes()) for image in values(clean.of(np.flatnonzero(~clean.test)).batch)]
    assert trained == np.flatnonzero(np.arange(240) % 10 >= 4)[::7].tolist()  # every seventh, from the first on
    assert (~grey.test).sum() == 20 and (~noise.test).sum() == 21


@pytest.mark.parametrize("key", sorted(CORRUPTIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_corruptions_repeat_and_keep_their_shape(key: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 10, channels), np.uint8)
    made = corrupted(pixels, key)
    assert made.shape == pixels.shape and made.dtype == np.uint8
    assert (made == corrupted(pixels, key)).all()
    assert (key == "clean") == bool((made == pixels).all())


def test_targets_join_by_labels_and_keep_to_their_namesake(data: Path, tmp_path: Path) -> None:
    for name in ("text/notes_porch", "text/moods_porch", "nlp/chat"):
        folder.texts(tmp_path / f"{name}.parquet", 80, 1)
    tasks, others = discover(data).tasks, discover(tmp_path, least=1).tasks
    names = {task.name: sorted(domain.name for domain in joined(task, tasks, others)) for task in tasks}
    assert names["notes"] == ["chat", "notes_porch"]
    assert names["moods"] == ["chat", "moods_porch"]
    assert names["shapes"] == []


def test_series_of_another_folder_are_put_in_order(data: Path) -> None:
    steps = task(data, "steps_wrist")
    part = read_domain(steps, steps.domains[0])
    values, meta = part.batch.arrays["values"], {**part.batch.meta, "channel_names": ["az", "ay", "ax"]}
    turned = replace(part, batch=replace(part.batch, arrays={"values": values[:, :, ::-1]}, meta=meta))
    assert (aligned(turned, part.batch).batch.arrays["values"] == values).all()
    other = replace(part, batch=replace(part.batch, meta={**meta, "channel_names": ["gx", "gy", "gz"]}))
    with pytest.raises(Incompatible, match="do not fit"):
        aligned(other, part.batch)
