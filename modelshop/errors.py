"""What the client can run into, each with the exit code of the command."""

from __future__ import annotations


class ClientError(Exception):
    """title: what happened. detail: where, expected and found. fix: what to do next."""

    exit_code = 1

    def __init__(self, title: str, *, detail: str = "", fix: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.detail = detail
        self.fix = fix


class BadUsage(ClientError):
    """Arguments or local files are wrong; nothing was sent."""

    exit_code = 2


class NotAllowed(ClientError):
    """The token is missing, unknown, or may not do this."""

    exit_code = 3


class Refused(ClientError):
    """The server refused what was sent, or the checks rejected the version. status: of the answer, 0 where there is none."""

    exit_code = 4

    def __init__(self, title: str, *, detail: str = "", fix: str = "", status: int = 0) -> None:
        super().__init__(title, detail=detail, fix=fix)
        self.status = status


class NotReached(ClientError):
    """The server does not answer, or broke. What was uploaded stays; running the command again goes on from there."""

    exit_code = 5
