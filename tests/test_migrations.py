"""Migrations say what the models say, have names, and can be undone."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython, RunSQL

OURS = ("accounts", "jobs", "uploads", "catalog", "search")


@pytest.mark.django_db
def test_models_have_no_change_without_a_migration() -> None:
    output = StringIO()
    try:
        call_command("makemigrations", "--check", "--dry-run", stdout=output, stderr=output)
    except SystemExit:
        pytest.fail(output.getvalue())


def test_migrations_have_names_that_say_something() -> None:
    loader = MigrationLoader(None)
    names = [name for app, name in loader.disk_migrations if app in OURS]
    assert len(names) >= len(OURS)
    assert not [name for name in names if re.fullmatch(r"\d{4}_auto_.*|\d{4}_alter_.*_and_more", name)]


def test_hand_written_steps_can_be_undone() -> None:
    loader = MigrationLoader(None)
    for (app, name), migration in loader.disk_migrations.items():
        if app in OURS:
            for operation in migration.operations:
                assert not isinstance(operation, (RunPython, RunSQL)) or operation.reversible, f"{app}.{name}"


def _tables() -> set[str]:
    with connection.cursor() as cursor:
        return {name for name in connection.introspection.table_names(cursor) if name.split("_")[0] in OURS}


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("migrations")
def test_everything_can_be_unmade_and_made_again() -> None:
    before = _tables()
    assert len(before) > 20
    try:
        # `accounts` carries the user, on which Django's own and allauth's tables hang: they go with it.
        for app in (*reversed(OURS[1:]), "accounts"):
            call_command("migrate", app, "zero", verbosity=0)
        assert _tables() == set()
    finally:
        call_command("migrate", verbosity=0)
    assert _tables() == before
