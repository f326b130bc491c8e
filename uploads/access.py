"""The only way to fetch finished uploads by id: for the person they belong to, as long as nothing has taken them over."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from accounts.models import User
from uploads.errors import NotClaimable
from uploads.models import Upload


def uploads_for_user(user: User, ids: Sequence[UUID | str], purpose: str, *, lock: bool = False) -> list[Upload]:
    """Complete, unclaimed uploads of this person, in the order asked for, each once. lock: hold the rows until commit.

    Raises NotClaimable, which names the first that is none.
    """
    wanted = list(dict.fromkeys(_uuid(value) for value in ids))
    rows = Upload.objects.filter(pk__in=wanted, owner=user, purpose=purpose).order_by("pk")
    found = {upload.pk: upload for upload in (rows.select_for_update() if lock else rows)}
    for upload_id in wanted:
        upload = found.get(upload_id)
        if upload is None or upload.is_expired:
            shown = upload.name if upload else str(upload_id)
            raise NotClaimable(
                "An upload is not there any more.", detail=f"{shown} has expired or was never yours.", fix="Upload the file again."
            )
        if upload.claimed:
            raise NotClaimable("An upload is in use already.", detail=upload.name, fix="Upload the file again to use it twice.")
        if not upload.is_complete:
            detail = f"{upload.name}: {upload.offset} of {upload.size} bytes have arrived."
            raise NotClaimable("An upload is not complete.", detail=detail, fix="Wait until every bar is full, or remove the file.")
    return [found[upload_id] for upload_id in wanted]


def _uuid(value: UUID | str) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError as error:
        raise NotClaimable("That is no upload.", detail=f"{str(value)[:60]!r} is no upload id.", fix="Upload the file again.") from error
