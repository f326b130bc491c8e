"""Making, filling, claiming and deleting uploads. A byte counts once its row says so."""

from __future__ import annotations

import errno
import io
import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.sizes import size_text
from gpuworker.core.door import HEAD, detect
from gpuworker.core.errors import FormatRefused, UnreadableModel, UserError
from gpuworker.core.specs import FORMATS
from uploads import store, tus
from uploads.access import uploads_for_user
from uploads.errors import Busy, ChecksumMismatch, Gone, InUse, NoRoom, NotClaimable, OffsetConflict, TooLarge
from uploads.models import Purpose, Upload

log = logging.getLogger(__name__)
EXPIRE_BATCH = 500
MODEL_ENDINGS = tuple(ending for spec in FORMATS.values() if spec.accepted for ending in spec.extensions)
_RESUME = "Ask for the offset with HEAD and continue from there."


def upload_create(*, owner: User, purpose: str, name: str, size: int) -> Upload:
    """A row and an empty file. Refuses what is too large, what has no room, and model files named like a refused format."""
    if size > settings.UPLOAD_MAX_BYTES:
        raise TooLarge(
            "The file is too large.",
            detail=f"{name} has {size_text(size)}; at most {size_text(settings.UPLOAD_MAX_BYTES)} are taken.",
            fix="Split it, or ask the operator to raise UPLOAD_MAX_BYTES.",
        )
    if shutil.disk_usage(settings.UPLOAD_DIR).free < size:
        raise _no_room(name)
    upload = Upload(owner=owner, purpose=purpose, name=name, size=size)
    try:
        store.create(upload.path)
    except OSError as error:
        raise _mended(error, name) from error
    try:
        if size == 0:
            with store.open_locked(upload.path, 0) as file:
                upload.sha256 = store.digest_of(file)
        upload.save(force_insert=True)
    except BaseException:
        upload.path.unlink(missing_ok=True)
        raise
    return upload


def upload_append(*, upload_id: UUID, owner: User, offset: int, body: store.Readable, sha256: bytes | None) -> Upload:
    """Write the body at `offset` and move the row's offset on; on completion the file's SHA-256 is filled in.

    The row is locked meanwhile, so that of two requests one is Busy or an OffsetConflict. A crash before the commit leaves
    the old offset, and the next request overwrites what was written. A model file that is refused at the door is deleted.
    """
    with transaction.atomic():
        upload = _lock(upload_id, owner)
        if upload.offset != offset:
            detail = f"{upload.name} is at byte {upload.offset}; this request starts at {offset}."
            raise OffsetConflict("The upload is at another place.", detail=detail, fix=_RESUME)
        refusal = _receive(upload, body, sha256)
        if refusal:
            upload.path.unlink(missing_ok=True)
            upload.delete()
    if refusal:
        raise refusal
    return upload


def _lock(upload_id: UUID, owner: User) -> Upload:
    """Inside a transaction: the row, ours until commit. Raises Busy, Gone, or Upload.DoesNotExist."""
    mine = Upload.objects.filter(pk=upload_id, owner=owner)
    upload = mine.select_for_update(skip_locked=True).first()
    if upload is None:
        if mine.exists():
            raise Busy("Another request writes to this upload.", detail="One request at a time may send bytes of a file.", fix=_RESUME)
        raise Upload.DoesNotExist
    if upload.is_expired:
        raise gone(upload)
    return upload


def _receive(upload: Upload, body: store.Readable, sha256: bytes | None) -> UserError | None:
    """The write itself; returns why the file is refused at the door, if it is."""
    start = upload.offset
    room = min(upload.size - start, tus.CHUNK_MAX_BYTES)
    try:
        with store.open_locked(upload.path, start) as file:
            upload.offset += store.append(file, body, room=room, sha256=sha256)
            if refusal := _refusal(upload, file, start):
                return refusal
            if upload.is_complete and not upload.sha256:
                upload.sha256 = store.digest_of(file)
    except store.Locked as error:
        raise Busy("Another request writes to this upload.", detail=upload.name, fix=_RESUME) from error
    except store.BytesLost as error:
        raise Gone("The bytes of this upload are lost.", detail=upload.name, fix="Upload the file again.") from error
    except store.Overflow as error:
        raise TooLarge(
            "The request holds too many bytes.",
            detail=f"{upload.name}: {room} bytes fit here, of which one request may send at most {tus.CHUNK_MAX_BYTES}.",
            fix=f"Send the file in pieces of at most {size_text(tus.CHUNK_MAX_BYTES)}.",
        ) from error
    except store.BadChecksum as error:
        detail = f"{upload.name} from byte {start}: the SHA-256 of what came is {error.found}. Nothing of it was kept."
        raise ChecksumMismatch("The bytes were damaged on their way.", detail=detail, fix="Send the same bytes again.") from error
    except OSError as error:
        raise _mended(error, upload.name) from error
    upload.expires = timezone.now() + timedelta(hours=settings.UPLOAD_EXPIRE_HOURS)
    moved = Upload.objects.filter(pk=upload.pk, offset=start).update(offset=upload.offset, sha256=upload.sha256, expires=upload.expires)
    assert moved == 1, "the row was locked"
    return None


def _refusal(upload: Upload, file: BinaryIO, start: int) -> UserError | None:
    """Model files are looked at as soon as their head is there, so that nobody sends gigabytes of a pickle, and once more when
    they are complete, since a zip lists what it holds at its end. Companions such as config.json are no models and pass.
    """
    if upload.purpose != Purpose.MODEL:
        return None
    if upload.is_complete:
        stream = file
    elif start < HEAD <= upload.offset:
        stream = io.BytesIO(store.head(file, HEAD))
    else:
        return None
    try:
        detect(upload.name, stream, upload.size)
    except FormatRefused as error:
        return error
    except UnreadableModel as error:
        return error if upload.is_complete and upload.name.lower().endswith(MODEL_ENDINGS) else None
    return None


def upload_terminate(*, upload_id: UUID, owner: User) -> None:
    """The person gave the upload up: row and bytes go."""
    with transaction.atomic():
        upload = _lock(upload_id, owner)
        if upload.claimed:
            raise InUse(
                "The file is in use.", detail=f"{upload.name} belongs to a model or a sample set by now.", fix="Delete that instead."
            )
        _delete([upload])


@transaction.atomic
def upload_claim(upload_ids: Sequence[UUID | str], owner: User, purpose: str) -> list[Upload]:
    """Take complete uploads into use, in the order asked for; all or none. From now on they do not expire.

    Call it in the transaction that creates what they are used for. Raises NotClaimable, which names the file.
    """
    if not upload_ids:
        raise NotClaimable("No file was chosen.", fix="Upload at least one file.")
    uploads = uploads_for_user(owner, upload_ids, purpose, lock=True)
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).update(claimed=True)
    for upload in uploads:
        upload.claimed = True
    return uploads


def upload_discard(uploads: Iterable[Upload]) -> None:
    """Row and bytes of uploads that were taken over; a file that was moved away is no error."""
    _delete(list(uploads))


def upload_expire() -> int:
    """Delete what nobody took into use in time; returns how many. Rows that are being written to wait for the next turn."""
    deleted = 0
    while True:
        with transaction.atomic():
            batch = list(Upload.objects.expired().select_for_update(skip_locked=True)[:EXPIRE_BATCH])
            _delete(batch)
        deleted += len(batch)
        if len(batch) < EXPIRE_BATCH:
            return deleted


def upload_orphans_delete() -> int:
    """Delete files without a row, left by deleted accounts or a crash between file and row; returns how many."""
    old = time.time() - settings.UPLOAD_EXPIRE_HOURS * 3600
    candidates = {path.name: path for path in settings.UPLOAD_DIR.glob("??/*") if len(path.name) == 32 and path.stat().st_mtime < old}
    known = {upload_id.hex for upload_id in Upload.objects.filter(pk__in=list(candidates)).values_list("pk", flat=True)}
    orphans = [path for name, path in candidates.items() if name not in known]
    for path in orphans:
        path.unlink(missing_ok=True)
    if orphans:
        log.info("deleted %d upload files without a row", len(orphans))
    return len(orphans)


def _delete(uploads: Sequence[Upload]) -> None:
    """Bytes first: a crash in between leaves a row without bytes, which is deleted at the next turn, never bytes without a row."""
    for upload in uploads:
        upload.path.unlink(missing_ok=True)
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).delete()


def gone(upload: Upload) -> Gone:
    detail = f"{upload.name} was not continued within {settings.UPLOAD_EXPIRE_HOURS:g} hours."
    return Gone("The upload has expired.", detail=detail, fix="Upload the file again.")


def _no_room(name: str) -> NoRoom:
    return NoRoom("The server has no room for this file.", detail=name, fix="Ask the operator to free space or to enlarge the disk.")


def _mended(error: OSError, name: str) -> Exception:
    """A full disk is told as such; anything else stays what it is."""
    return _no_room(name) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
