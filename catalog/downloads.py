"""Sending a kept original file."""

from __future__ import annotations

from django.http import FileResponse, Http404

from catalog.access import Person, file_for_user
from catalog.storage import blob_path


def original(user: Person, team: str, name: str, number: int, file_id: int) -> FileResponse:
    """The file as it was uploaded. 404 when it was not kept."""
    file = file_for_user(user, team, name, number, file_id)
    path = blob_path(file.sha256)
    if not file.kept or not path.exists():
        raise Http404("The original file was not kept.")
    return FileResponse(path.open("rb"), as_attachment=True, filename=file.name.rsplit("/", 1)[-1], content_type="application/octet-stream")
