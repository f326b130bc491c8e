"""What can go wrong with an upload, each with its HTTP status."""

from __future__ import annotations

from gpuworker.core.errors import UserError


class UploadProblem(UserError):
    """Base of what the tus endpoint answers with; `status` is the HTTP status."""

    code = "upload"
    status = 400


class BadRequest(UploadProblem):
    code = "upload_bad_request"


class WrongType(UploadProblem):
    code = "upload_wrong_type"
    status = 415


class Gone(UploadProblem):
    """Expired, or its bytes are lost."""

    code = "upload_gone"
    status = 410


class TooLarge(UploadProblem):
    code = "upload_too_large"
    status = 413


class OffsetConflict(UploadProblem):
    code = "upload_offset_conflict"
    status = 409


class Busy(UploadProblem):
    """Another request writes to this upload right now."""

    code = "upload_busy"
    status = 423


class InUse(UploadProblem):
    """A model or a sample set has taken the file over."""

    code = "upload_in_use"
    status = 409


class ChecksumMismatch(UploadProblem):
    code = "upload_checksum_mismatch"
    status = 460


class NoRoom(UploadProblem):
    code = "upload_no_room"
    status = 507


class NotClaimable(UserError):
    """An upload that cannot be taken into use: not complete, expired, used already, or not this person's."""

    code = "upload_not_claimable"
