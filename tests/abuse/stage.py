"""The whole path as a person and a worker walk it: uploads, rows, jobs under a lease, the real sandbox. No stand-ins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from accounts.models import Team, User
from catalog import services
from catalog.models import ModelVersion, RegisteredModel, VersionState
from catalog.services.models import model_refresh
from catalog.services.versions import Reference
from gpuworker.pipeline import samples as samples_job
from gpuworker.pipeline import search as search_job
from gpuworker.pipeline.lease import run_job
from jobs.models import Job
from search.models import SampleSet, SampleSetState, Search
from search.samplesets import sampleset_create
from search.services import search_start
from tests.catalog.makers import check, image_spec, make_model, onnx_bytes, reference_bytes, upload
from uploads.models import Purpose

Files = Mapping[str, bytes]
GROWTH = 96 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """A team and one of its members, at the doors of one worker process: this one."""

    team: Team
    owner: User

    def publish(
        self, files: Files | bytes, spec: dict[str, Any] | None = None, reference: Files | bytes | None = None, name: str = ""
    ) -> ModelVersion:
        """Upload, create, check. bytes: one file model.onnx (reference: ref.npz)."""
        named = {"model.onnx": files} if isinstance(files, bytes) else files
        model = make_model(self.team, self.owner, name or f"m{RegisteredModel.objects.count()}")
        given = None
        if reference is not None:
            samples = {"ref.npz": reference} if isinstance(reference, bytes) else reference
            given = Reference([upload(self.owner, path, data, Purpose.REFERENCE) for path, data in samples.items()])
        sent = [upload(self.owner, path, data) for path, data in named.items()]
        return check(services.version_create(model=model, files=sent, spec=spec or image_spec(), actor=self.owner, reference=given))

    def read(self, files: Files, modality: str = "", options: Mapping[str, Any] | None = None) -> SampleSet:
        """Upload, create, check."""
        sent = [upload(self.owner, path, data, Purpose.SAMPLES).pk for path, data in files.items()]
        made = sampleset_create(owner=self.owner, uploads=sent, modality=modality, options=options)
        job = Job.objects.get(kind="search.sampleset_check", subject_id=made.pk)
        run_job(job.pk, job.attempt, samples_job.check_sampleset, samples_job.sampleset_ended)
        made.refresh_from_db()
        return made

    def search(self, sample_set: SampleSet) -> Search:
        """Start and run to the end."""
        search = search_start(owner=self.owner, sample_set=sample_set)
        job = Job.objects.get(kind="search.run", subject_id=search.pk)
        run_job(job.pk, job.attempt, search_job.run_search, search_job.search_ended)
        search.refresh_from_db()
        return search

    def show(self, version: ModelVersion) -> ModelVersion:
        """Make a checked version one that searches find, as a curator's word would."""
        assert version.state == VersionState.READY, told(version)
        version.state = VersionState.PUBLISHED
        version.save(update_fields=["state"])
        version.model.published_version = version
        version.model.save(update_fields=["published_version"])
        model_refresh(model=version.model)
        return version

    def goes_on(self) -> None:
        """The same worker does a good job of each kind."""
        version = self.publish(onnx_bytes(seed=7), reference=reference_bytes(n=12), name=f"good{RegisteredModel.objects.count()}")
        assert version.state == VersionState.READY, told(version)
        made = self.read({"good.npz": reference_bytes(n=5)})
        assert (made.state, made.n) == (SampleSetState.READY, 5), told(made)


def told(row: ModelVersion | SampleSet) -> str:
    """What its owner reads."""
    return " | ".join((row.error_title, row.error_detail, row.error_fix))


def problems(sample_set: SampleSet) -> dict[str, str]:
    """Reason by name of what could not be used."""
    found = {}
    for item in sample_set.problems:
        place = "" if item["row"] is None else f":{item['row']}"
        found[item["name"] + place] = item["reason"]
    return found


def resident() -> int:
    """Bytes of memory this worker process holds."""
    return int(psutil.Process(os.getpid()).memory_info().rss)
