"""The worker is killed while it checks a version or a sample set: the check goes on, and leaves nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.instance import Instance
from tests.system import wait_until

pytestmark = pytest.mark.slow
CHECK = "catalog.version_check"


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", [0, 2], ids=["while reading", "while signing"])
def test_worker_killed_while_it_checks_a_version(instance: Instance, step: int) -> None:
    version = int(instance.code("prepare.start_check(references=6000)").splitlines()[-1])

    def at_step() -> bool:
        state, attempt, _ = instance.job(version, CHECK)
        done = instance.system.one("SELECT jsonb_array_length(checks) FROM catalog_modelversion WHERE id = %s", version)
        assert (state, attempt) in (("queued", 1), ("running", 1)), "the check ended before it could be disturbed: give it more to do"
        return state == "running" and done >= step

    wait_until(at_step, 60, f"step {step}", every=0.01)
    since = time.monotonic()
    instance.system.kill("worker-1")
    ended = wait_until(
        lambda: (found := instance.job(version, CHECK))[0] not in ("queued", "running") and found, 60, "the end of the check"
    )
    instance.figures[f"version check, step {step}"] = round(time.monotonic() - since, 1)
    assert ended[:2] == ("succeeded", 2)
    state, checks = instance.system.rows("SELECT state, checks FROM catalog_modelversion WHERE id = %s", version)[0]
    assert (state, [item["key"] for item in checks]) == ("in_review", ["model", "trial", "signature", "probes"])
    assert instance.system.one("SELECT n FROM catalog_signature WHERE version_id = %s", version) == 6000
    assert_tidy(instance)


def assert_tidy(instance: Instance) -> None:
    """Tensors once, packs all used, no raw file, no half-written one."""
    keys = [key for (key,) in instance.system.rows("SELECT key FROM catalog_tensor")]
    assert len(keys) == len(set(keys))
    packs = {f"{pack}.safetensors" for (pack,) in instance.system.rows("SELECT DISTINCT pack FROM catalog_tensor")}
    assert below(instance.data / "tensors" / "packs") == packs
    blobs = {sha for (sha,) in instance.system.rows("SELECT sha256 FROM catalog_versionfile")}
    given = instance.system.rows("SELECT version_id FROM catalog_probeslice WHERE withdrawn IS NULL")
    blobs |= {f"references/{version}/probes.safetensors" for (version,) in given}
    assert below(instance.data / "blobs") == blobs, "neither incoming files nor reference rows are left"


def test_worker_killed_while_it_checks_a_sample_set(instance: Instance) -> None:
    made = int(
        instance.code(
            "from accounts.models import User; print(prepare.sample_set(User.objects.get(username='demo'), 20000, 'Very many scans').pk)"
        ).splitlines()[-1]
    )
    wait_until(lambda: instance.job(made, "search.sampleset_check")[0] == "running", 30, "the check to start", every=0.01)
    instance.system.kill("worker-1")
    query = "SELECT state, n, n_problems, content_hash FROM search_sampleset WHERE id = %s"
    state, n, problems, digest = wait_until(
        lambda: (row := instance.system.rows(query, made)[0])[0] != "checking" and row, 60, "the end of the check"
    )
    assert (state, n, problems) == ("ready", 20000, 0) and digest
    assert instance.job(made, "search.sampleset_check")[:2] == ("succeeded", 2)
    stored = {name for (name,) in instance.system.rows("SELECT stored FROM search_samplefile WHERE sample_set_id = %s", made)}
    assert below(instance.data / "samples" / str(made)) == stored | {
        "batch.safetensors",
        "features.safetensors",
        "previews.jsonl",
        "previews.index.json",
    }
    instance.api("DELETE", f"/api/sample-sets/{made}/")
    wait_until(lambda: not (instance.data / "samples" / str(made)).exists(), 10, "the folder to go")
