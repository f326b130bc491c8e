"""Finding tasks in a folder of data by its layout alone.

A task is made of files of one prefix, or of one folder where the whole folder agrees, with equal label names. A domain is a file; a task
of few files with subjects is cut into groups of subjects; a single set of images becomes a task through corruptions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from catalog.labels import label_key
from gpuworker.zoo.corruptions import CORRUPTIONS
from gpuworker.zoo.sources import Source, Unusable, look

FOLDERS = ("activity", "image", "text", "nlp", "em")
FEW_FILES = 4
GROUPS = {1: 4, 2: 3, 3: 2}  # files -> groups of subjects for each


@dataclass(frozen=True, slots=True)
class Domain:
    """Where one domain's samples come from. subjects: only these people's rows; corruption: key of CORRUPTIONS, "" for none."""

    name: str
    source: Source
    subjects: tuple[int, ...] = ()
    corruption: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """Domains that share a modality and a label space. labels: in the first file's order; `key` is the same for any order."""

    name: str
    modality: str
    labels: tuple[str, ...]
    domains: tuple[Domain, ...]

    @property
    def key(self) -> str:
        return label_key(self.labels)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is part of no task, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    tasks: tuple[Task, ...]
    skipped: tuple[Skipped, ...]


def discover(folder: Path, *, least: int = 2) -> Found:
    """Tasks with at least `least` domains, in order of name. Raises FileNotFoundError when there is no such folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    tasks: list[Task] = []
    skipped = [
        Skipped(path.name, "no folder of samples") for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in FOLDERS
    ]
    for name in FOLDERS:
        if (folder / name).is_dir():
            sources = _sources(folder / name, skipped)
            for group_name, group in _groups(name, sources):
                task = _task(group_name, group)
                if len(task.domains) >= least:
                    tasks.append(task)
                else:
                    skipped += [Skipped(f"{name}/{source.path.name}", "no second file of its prefix has its labels") for source in group]
    return Found(tuple(sorted(tasks, key=lambda task: task.name)), tuple(skipped))


def _sources(folder: Path, skipped: list[Skipped]) -> list[Source]:
    found = []
    for path in sorted(folder.iterdir()):
        try:
            if path.is_dir():
                raise Unusable("a folder inside a folder of samples")
            found.append(look(path))
        except (Unusable, OSError, ValueError) as error:
            skipped.append(Skipped(f"{folder.name}/{path.name}", str(error)))
    return found


def _groups(folder: str, sources: Sequence[Source]) -> list[tuple[str, list[Source]]]:
    """Named groups of sources with one modality, way of reading and label space."""
    spaces = {_space(source) for source in sources}
    if len(spaces) == 1 and len(sources) > 1:
        return [(_common_name(sources) or folder, list(sources))]
    groups: dict[tuple[str, tuple[str, str, str]], list[Source]] = defaultdict(list)
    for source in sources:
        groups[source.name.split("_")[0], _space(source)].append(source)
    # Two label spaces of one prefix may have the same common name: the larger keeps it, the other gets a number.
    result: dict[str, list[Source]] = {}
    for (prefix, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        name = _common_name(group) or prefix
        number = 1 + sum(other == name or other.startswith(f"{name}-") for other in result)
        result[name if number == 1 else f"{name}-{number}"] = group
    return list(result.items())


def _space(source: Source) -> tuple[str, str, str]:
    return source.modality, source.kind, label_key(source.labels)


def _common_name(sources: Sequence[Source]) -> str:
    """The parts between underscores that all names begin with; a single file's whole name."""
    parts = [source.name.split("_") for source in sources]
    return "_".join(commonprefix(parts))


def _task(name: str, sources: Sequence[Source]) -> Task:
    domains = [domain for source in sources for domain in _domains(source, len(sources))]
    return Task(name, sources[0].modality, sources[0].labels, tuple(domains))


def _domains(source: Source, files: int) -> list[Domain]:
    if files < FEW_FILES and len(source.subjects) >= 2 * GROUPS[files]:
        return [
            Domain(f"{source.name}:{'+'.join(str(subject) for subject in subjects)}", source, subjects)
            for subjects in subject_groups(source, GROUPS[files])
        ]
    if files == 1 and source.modality == "image":
        return [Domain(f"{source.name}:{key}", source, corruption=key) for key in CORRUPTIONS]
    return [Domain(source.name, source)]


def subject_groups(source: Source, parts: int) -> list[tuple[int, ...]]:
    """Groups of nearly equal size, each with its share of the official test subjects."""
    tested = [subject for subject in source.subjects if subject in source.tested]
    trained = [subject for subject in source.subjects if subject not in source.tested]
    return [tuple(sorted(tested[part::parts] + trained[part::parts])) for part in range(parts)]


def joined(task: Task, tasks: Sequence[Task], others: Sequence[Task]) -> list[Domain]:
    """The domains of another folder (`others`) that ask what `task` asks: equal modality and labels.

    Where several of `tasks` ask the same, a domain whose file begins with the name of one belongs to that one alone.
    """
    alike = [other for other in tasks if _asks(other, task)]

    def belongs(domain: Domain) -> bool:
        named = [other.name for other in alike if domain.source.name.startswith(other.name)]
        return not named or task.name in named

    return [domain for other in others if _asks(other, task) for domain in other.domains if belongs(domain)]


def _asks(one: Task, other: Task) -> bool:
    return one.modality == other.modality and one.key == other.key
