"""The tus 1.0 endpoint at /uploads/, for browser sessions and API tokens alike."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.http import http_date
from django.views.decorators.csrf import csrf_exempt

from accounts.bearer import BadToken, Caller, CsrfFailed, caller_of
from accounts.models import Scope
from accounts.problems import problem, problem_of, unauthorized
from gpuworker.core.errors import UserError
from uploads import services, tus
from uploads.errors import BadRequest, TooLarge, UploadProblem, WrongType
from uploads.models import Purpose, Upload

SCOPES = {Purpose.MODEL: Scope.CATALOG_WRITE, Purpose.REFERENCE: Scope.CATALOG_WRITE, Purpose.SAMPLES: Scope.SEARCH_WRITE}


@csrf_exempt  # caller_of checks it for sessions; a token needs none
def collection(request: HttpRequest) -> HttpResponse:
    """POST creates; OPTIONS and GET say what is possible."""
    method = _method(request)
    if method == "OPTIONS":
        return _tus(HttpResponse(status=204))
    if method in ("GET", "HEAD"):
        return _tus(JsonResponse(limits()))
    if method != "POST":
        return _not_allowed("OPTIONS, GET, POST")
    return _answer(request, _create)


@csrf_exempt
def item(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """HEAD and GET tell the offset, PATCH sends bytes, DELETE gives up."""
    method = _method(request)
    if method == "OPTIONS":
        return _tus(HttpResponse(status=204))
    actions = {"HEAD": _head, "GET": _state, "PATCH": _patch, "DELETE": _terminate}
    if method not in actions:
        return _not_allowed("OPTIONS, HEAD, GET, PATCH, DELETE")
    return _answer(request, lambda request, caller: actions[method](request, caller, upload_id))


def limits() -> dict[str, object]:
    """What a client should know before it chooses files; sizes in bytes."""
    return {
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "max_chunk_bytes": tus.CHUNK_MAX_BYTES,
        "advised_chunk_bytes": tus.CHUNK_ADVISED_BYTES,
        "expire_hours": settings.UPLOAD_EXPIRE_HOURS,
        "purposes": Purpose.values,
        "extensions": list(tus.EXTENSIONS),
        "checksums": list(tus.CHECKSUMS),
    }


def _method(request: HttpRequest) -> str:
    """tus: behind proxies that know no PATCH, a POST may name its real method."""
    if request.method == "POST":
        return request.headers.get("X-HTTP-Method-Override", "POST").upper()
    return request.method or ""


def _answer(request: HttpRequest, action: Callable[[HttpRequest, Caller], HttpResponse]) -> HttpResponse:
    """Version, person, action; every error as problem details."""
    if request.headers.get("Tus-Resumable") != tus.VERSION and request.method != "GET":
        return _tus(problem(412, code="tus_version", title="Unknown protocol version.", detail=f"Tus-Resumable must be {tus.VERSION}."))
    try:
        caller = caller_of(request)
        if caller is None:
            return _tus(unauthorized("This request carries neither a session nor a token."))
        return _tus(action(request, caller))
    except Upload.DoesNotExist:
        return _tus(problem(404, code="not_found", title="There is no such upload.", fix="Start the upload again."))
    except BadToken as error:
        return _tus(unauthorized(str(error)))
    except CsrfFailed as error:
        return _tus(problem(403, code="csrf", title="The CSRF token is missing or wrong.", detail=str(error), fix="Reload the page."))
    except Forbidden as error:
        return _tus(problem(403, code="permission_denied", title="You may not do this.", detail=str(error), fix="Use another token."))
    except tus.BadHeader as error:
        return _tus(problem(400, code="upload_bad_request", title="A header is not valid.", detail=str(error)))
    except UploadProblem as error:
        return _tus(problem_of(error, status=error.status))
    except UserError as error:
        return _tus(problem_of(error))


class Forbidden(Exception):
    """The token's scopes do not cover this purpose."""


def _create(request: HttpRequest, caller: Caller) -> HttpResponse:
    if "Upload-Defer-Length" in request.headers:
        raise BadRequest("The length must be known.", detail="Upload-Defer-Length is not supported.", fix="Send Upload-Length.")
    size = tus.parse_length(request.headers.get("Upload-Length"), "Upload-Length")
    metadata = tus.parse_metadata(request.headers.get("Upload-Metadata"))
    if metadata.purpose not in Purpose.values:
        detail = f"purpose is {metadata.purpose[:40]!r}; it must be one of {', '.join(Purpose.values)}."
        raise BadRequest("The purpose of the upload is unknown.", detail=detail)
    _need_scope(caller, metadata.purpose)
    with_bytes = request.content_type == tus.CONTENT_TYPE
    sha256 = _chunk_checksum(request) if with_bytes else None
    upload = services.upload_create(owner=caller.user, purpose=metadata.purpose, name=metadata.name, size=size)
    if with_bytes:
        try:
            upload = services.upload_append(upload_id=upload.pk, owner=caller.user, offset=0, body=request, sha256=sha256)
        except UploadProblem:
            services.upload_discard([upload])
            raise
    response = HttpResponse(status=201)
    response["Location"] = str(upload.pk)  # relative to /uploads/, so that it holds behind a proxy with a prefix
    return _progress(response, upload)


def _head(request: HttpRequest, caller: Caller, upload_id: UUID) -> HttpResponse:
    upload = _find(caller, upload_id)
    response = HttpResponse(status=200)
    response["Upload-Length"] = str(upload.size)
    response["Upload-Metadata"] = tus.format_metadata(upload.name, upload.purpose)
    return _progress(response, upload)


def _state(request: HttpRequest, caller: Caller, upload_id: UUID) -> HttpResponse:
    upload = _find(caller, upload_id)
    state = {
        "id": str(upload.pk),
        "name": upload.name,
        "purpose": upload.purpose,
        "size": upload.size,
        "offset": upload.offset,
        "complete": upload.is_complete,
        "sha256": upload.sha256,
        "expires": upload.expires.isoformat(),
    }
    return _progress(JsonResponse(state), upload)


def _patch(request: HttpRequest, caller: Caller, upload_id: UUID) -> HttpResponse:
    if request.content_type != tus.CONTENT_TYPE:
        raise WrongType("The content type is wrong.", detail=f"It is {request.content_type!r}; PATCH needs {tus.CONTENT_TYPE}.")
    offset = tus.parse_length(request.headers.get("Upload-Offset"), "Upload-Offset")
    sha256 = _chunk_checksum(request)
    _find(caller, upload_id)
    upload = services.upload_append(upload_id=upload_id, owner=caller.user, offset=offset, body=request, sha256=sha256)
    return _progress(HttpResponse(status=204), upload)


def _terminate(request: HttpRequest, caller: Caller, upload_id: UUID) -> HttpResponse:
    _find(caller, upload_id)
    services.upload_terminate(upload_id=upload_id, owner=caller.user)
    return HttpResponse(status=204)


def _chunk_checksum(request: HttpRequest) -> bytes | None:
    """Checks what the headers say about the body before a byte of it is read."""
    length = request.headers.get("Content-Length")
    if length and tus.parse_length(length, "Content-Length") > tus.CHUNK_MAX_BYTES:
        detail = f"It has {length} bytes; one request may send at most {tus.CHUNK_MAX_BYTES}."
        raise TooLarge("The request holds too many bytes.", detail=detail, fix="Send the file in smaller pieces.")
    return tus.parse_checksum(request.headers.get("Upload-Checksum"))


def _find(caller: Caller, upload_id: UUID) -> Upload:
    """The caller's own upload; everybody else's does not exist."""
    upload = Upload.objects.get(pk=upload_id, owner=caller.user)
    _need_scope(caller, upload.purpose)
    if upload.is_expired:
        raise services.gone(upload)
    return upload


def _need_scope(caller: Caller, purpose: str) -> None:
    scope = SCOPES[Purpose(purpose)]
    if not caller.may(scope):
        raise Forbidden(f"This token lacks the scope {scope}.")


def _progress(response: HttpResponse, upload: Upload) -> HttpResponse:
    response["Upload-Offset"] = str(upload.offset)
    if not upload.claimed:
        response["Upload-Expires"] = http_date(upload.expires.timestamp())
    return response


def _not_allowed(allowed: str) -> HttpResponse:
    response = problem(405, code="method_not_allowed", title="This method is not allowed here.", detail=f"Allowed: {allowed}.")
    response["Allow"] = allowed
    return _tus(response)


def _tus(response: HttpResponse) -> HttpResponse:
    """What every answer tells."""
    response["Tus-Resumable"] = response["Tus-Version"] = tus.VERSION
    response["Tus-Extension"] = ",".join(tus.EXTENSIONS)
    response["Tus-Max-Size"] = str(settings.UPLOAD_MAX_BYTES)
    response["Tus-Checksum-Algorithm"] = ",".join(tus.CHECKSUMS)
    response["Upload-Limit"] = f"max-size={settings.UPLOAD_MAX_BYTES}, max-append-size={tus.CHUNK_MAX_BYTES}"
    response["Cache-Control"] = "no-store"
    return response
