"""Uploads land in a folder of their own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from accounts.models import User
from tests.conftest import client_for
from tests.uploads.tusclient import Tus


@pytest.fixture(autouse=True)
def upload_dir(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    settings.UPLOAD_DIR = folder
    return folder


@pytest.fixture
def tus(alice: User) -> Tus:
    return Tus(client_for(alice))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
