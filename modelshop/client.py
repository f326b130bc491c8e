"""A Modelshop server as a Python object."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from modelshop.errors import NotAllowed, NotReached, Refused
from modelshop.uploads import Memory, Progress, upload_file

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
POLL = 0.5  # seconds between two looks at a check
GET_TRIES = 4


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish. name: team/name; the model is made when it does not exist, with `title`, `task` and `licence`."""

    name: str
    files: Sequence[Path]
    spec: Mapping[str, Any]
    reference: Sequence[Path] = ()
    reference_options: Mapping[str, Any] = field(default_factory=dict)
    probes: bool = False
    title: str = ""
    task: str = ""
    licence: str = ""
    comment: str = ""
    submit: bool = False


def no_progress(name: str, sent: int, size: int) -> None:
    """Show nothing."""


class Client:
    """url: the server's address. token: an API token with the scope catalog:write. Use as a context manager, or close it."""

    def __init__(self, url: str, token: str, *, memory: Memory | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._memory = memory or Memory()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, content: bytes | None = None) -> httpx.Response:
        """One request. Raises NotReached, NotAllowed or Refused, with what the server's problem document says."""
        tus = {"Tus-Resumable": "1.0.0"} if path.startswith("/uploads/") else {}
        try:
            answer = self._http.request(method, path, headers=tus | (headers or {}), content=content)
        except httpx.HTTPError as error:
            raise NotReached(
                f"{self.url} does not answer.", detail=str(error), fix="Check the address (--url) and the network, then run it again."
            ) from error
        if answer.is_success:
            return answer
        raise _error_of(answer)

    def get(self, path: str) -> Any:
        """JSON of a GET; a server that is away for a moment is asked again."""
        for attempt in range(GET_TRIES):
            try:
                return self.request("GET", path).json()
            except NotReached:
                if attempt == GET_TRIES - 1:
                    raise
                time.sleep(2**attempt)
        raise AssertionError("the last try returns or raises")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        content = json.dumps(body).encode()
        return self.request("POST", path, headers={"Content-Type": "application/json"}, content=content).json()

    def personal_team(self) -> str:
        """Slug of the token owner's own team."""
        for team in self.get("/api/teams/")["results"]:
            if team["personal"]:
                return str(team["slug"])
        raise Refused("You have no team of your own.", fix="Say where to publish with --name team/name.")

    def publish(self, what: Publication, *, progress: Progress = no_progress) -> dict[str, Any]:
        """Upload, make the model where needed, and make a version; returns it while it is being checked."""
        team, name = what.name.split("/", 1)
        self._ensure_model(team, name, what)
        files = [self._upload(path, "model", progress) for path in what.files]
        reference = [self._upload(path, "reference", progress) for path in what.reference]
        body = {
            "files": files,
            "spec": dict(what.spec),
            "reference": reference,
            "reference_choice": "probes" if what.probes else "signature_only",
            "reference_options": dict(what.reference_options),
            "comment": what.comment,
            "submit": what.submit,
        }
        made: dict[str, Any] = self.post(f"/api/models/{team}/{name}/versions/", body)
        return made

    def _ensure_model(self, team: str, name: str, what: Publication) -> None:
        try:
            self.get(f"/api/models/{team}/{name}/")
            return
        except Refused as error:
            if error.status != 404:
                raise
        body = {
            "team": team,
            "name": name,
            "modality": what.spec.get("modality", ""),
            "title": what.title or name.replace("-", " ").capitalize(),
            "task": what.task or "classification",
            "licence": what.licence,
        }
        try:
            self.post("/api/models/", body)
        except Refused as error:
            if error.status != 404:
                raise
            raise Refused(
                f"You may not publish to {team}.", detail="The team does not exist, or you are not a publisher in it.", fix="Check --name."
            ) from error

    def _upload(self, path: Path, purpose: str, progress: Progress) -> str:
        return upload_file(self, path, path.name, purpose, server=self.url, memory=self._memory, progress=progress)

    def version(self, name: str, number: int) -> dict[str, Any]:
        """One version, with its state, its check's progress and, when it was rejected, the error."""
        found: dict[str, Any] = self.get(f"/api/models/{name}/versions/{number}/")
        return found

    def wait(self, name: str, number: int, *, seen: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Poll until the check has ended. Raises Refused when it was rejected, or its job ended without a result."""
        while True:
            version = self.version(name, number)
            if seen is not None:
                seen(version)
            if version["state"] == "rejected":
                raise Refused(version["error"]["title"], detail=version["error"]["detail"], fix=version["error"]["fix"])
            if version["state"] != "checking":
                return version
            job = version["job"]
            if job is not None and job["state"] in ("failed", "errored", "cancelled"):
                raise Refused(
                    "The check ended without a result.", detail=f"Its job is {job['state']}.", fix=f"See {self.url}{version['url']}"
                )
            time.sleep(POLL)


def _error_of(answer: httpx.Response) -> NotAllowed | NotReached | Refused:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    title = str(problem.get("title") or f"The server answered {answer.status_code}.")
    detail = str(problem.get("detail") or "")
    if errors := problem.get("errors"):
        detail = "; ".join(f"{field}: {_flat(found)}" for field, found in errors.items()) if isinstance(errors, dict) else str(errors)
    fix = str(problem.get("fix") or "")
    if answer.status_code in (401, 403):
        fix = fix or "Make a token with the scope catalog:write under Settings > API tokens, and pass it with --token or MODELSHOP_TOKEN."
        return NotAllowed(title, detail=detail, fix=fix)
    if answer.status_code >= 500:
        return NotReached(title, detail=detail, fix=fix or "Try again; if it happens again, tell the operator.")
    return Refused(title, detail=detail, fix=fix, status=answer.status_code)


def _flat(found: object) -> str:
    return " ".join(str(part) for part in found) if isinstance(found, list) else str(found)
