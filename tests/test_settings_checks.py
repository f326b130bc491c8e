"""Relations between settings: each finding appears when it should, and a worker does not start on an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core import checks
from pytest_django import Settings

from config.checks import BrokenSettings, check_settings, refuse_broken_settings

pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
ROOT = Path(__file__).resolve().parents[1]
SITE = {"HTTPS": True, "ALLOWED_HOSTS": ["models.example.org"], "CSRF_TRUSTED_ORIGINS": ["https://models.example.org"], "DEBUG": False}
DATABASE = {"default": {"HOST": "db.example.org"}}
FINDINGS: list[tuple[str, dict[str, object]]] = [
    ("modelshop.E001", {"JOB_LEASE_SECONDS": 0.0}),
    ("modelshop.E001", {"UPLOAD_MAX_BYTES": -1}),
    ("modelshop.E001", {"SEARCH_MAX_SAMPLES": 0}),
    ("modelshop.E002", SITE | {"ALLOWED_HOSTS": ["localhost", "[::1]"]}),
    ("modelshop.E003", SITE | {"CSRF_TRUSTED_ORIGINS": []}),
    ("modelshop.E003", SITE | {"CSRF_TRUSTED_ORIGINS": ["http://models.example.org"]}),
    ("modelshop.E004", SITE | {"DEBUG": True}),
    ("modelshop.E005", {"BROKER_URL": "sqs://queue"}),
    ("modelshop.E006", {"CHANNEL_URL": "amqp://host"}),
    ("modelshop.E006", {"CHANNEL_URL": "host:6379"}),
    ("modelshop.E007", {"WORKER_DEVICE": "gpu"}),
    ("modelshop.E007", {"WORKER_DEVICE": "cpu:1"}),
    ("modelshop.W001", {"JOB_LEASE_SECONDS": 0.5}),
    ("modelshop.W002", {"DATABASES": DATABASE, "BROKER_URL": "filesystem://"}),
]
SOUND: list[dict[str, object]] = [
    SITE,
    {"BROKER_URL": "amqps://host", "CHANNEL_URL": "rediss://host", "WORKER_DEVICE": "cuda:3"},
    {"DATABASES": DATABASE, "BROKER_URL": "redis://host"},
    {"DATABASES": {"default": {"HOST": "/run/postgresql"}}, "BROKER_URL": "filesystem://"},
]


def _ids() -> list[str]:
    return [str(message.id) for message in check_settings()]


def test_the_settings_of_the_tests_are_sound() -> None:
    assert _ids() == []


@pytest.mark.parametrize(("identity", "values"), FINDINGS)
def test_a_broken_relation_is_found(settings: Settings, identity: str, values: dict[str, object]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    assert _ids() == [identity]


@pytest.mark.parametrize("values", SOUND, ids=range(len(SOUND)))
def test_a_sound_relation_is_let_be(settings: Settings, values: dict[str, object]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    assert _ids() == []


def test_findings_say_what_to_do(settings: Settings) -> None:
    for values in (values for _, values in FINDINGS):
        for name, value in values.items():
            setattr(settings, name, value)
        assert all(message.hint for message in check_settings())


def test_a_worker_refuses_errors_and_bears_warnings(settings: Settings) -> None:
    settings.JOB_LEASE_SECONDS = 0.5
    refuse_broken_settings()
    settings.WORKER_DEVICE = "gpu"
    with pytest.raises(BrokenSettings, match=r"E007.*'gpu'.*cuda"):
        refuse_broken_settings()


def test_django_runs_them(settings: Settings) -> None:
    settings.WORKER_DEVICE = "gpu"
    assert "modelshop.E007" in [message.id for message in checks.run_checks()]


def _start(module: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *module], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_a_worker_process_ends_with_the_cause() -> None:
    done = _start(["-m", "celery", "-A", "config", "worker", "-P", "solo"], WORKER_DEVICE="gpu")
    assert done.returncode == 1
    assert "modelshop.E007" in done.stderr and "cuda:N" in done.stderr


def test_a_number_that_does_not_parse_is_named() -> None:
    done = _start(["manage.py", "check"], JOB_LEASE_SECONDS="soon")
    assert done.returncode != 0
    assert "JOB_LEASE_SECONDS must be a number, found 'soon'." in done.stderr
