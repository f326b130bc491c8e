"""A real server process: killed in the middle of a piece, cut connections, constant memory, the limit on a body."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.db import connection

from accounts.models import ApiToken, Scope
from tests.conftest import make_user
from tests.system import wait_until
from tests.uploads.tusclient import TYPE, checksum, metadata
from uploads.models import Upload

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Server:
    """uvicorn on the test database. `token` speaks for its person."""

    home: Path
    token: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()
        environment = {**os.environ, "DATABASE_URL": url, "MODELSHOP_HOME": str(self.home)}
        command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(self.port), "--log-level", "warning"]
        self.process = subprocess.Popen([*command, "--lifespan", "off"], cwd=ROOT, env=environment)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, "the server did not start"
            try:
                if self.request("GET", "/readyz").status == 200:
                    return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        sent = {"Authorization": f"Bearer {self.token}", "Tus-Resumable": "1.0.0"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def create(self, size: int) -> str:
        header = metadata(filename="big.npz", purpose="samples")
        response = self.request("POST", "/uploads/", b"", Upload_Length=str(size), Upload_Metadata=header)
        assert response.status == 201
        return "/uploads/" + response.headers["Location"]

    def patch(self, path: str, offset: int, data: bytes, **headers: str) -> http.client.HTTPResponse:
        return self.request("PATCH", path, data, Upload_Offset=str(offset), Content_Type=TYPE, **headers)

    def offset(self, path: str) -> int:
        return int(self.request("HEAD", path).headers["Upload-Offset"])

    def begin_patch(self, path: str, offset: int, data: bytes, sent: int) -> socket.socket:
        """The head of a PATCH and `sent` bytes of its body, and no more."""
        link = socket.create_connection(("127.0.0.1", self.port))
        lines = [
            f"PATCH {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.token}",
            "Tus-Resumable: 1.0.0",
            f"Upload-Offset: {offset}",
            f"Content-Type: {TYPE}",
            f"Content-Length: {len(data)}",
        ]
        link.sendall("\r\n".join([*lines, "", ""]).encode() + data[:sent])
        return link


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    user = make_user("ann")
    _, token = ApiToken.issue(user, name="test", scopes=[Scope.SEARCH_WRITE], expires=None)
    server = Server(tmp_path, token, free_port())
    server.start()
    yield server
    server.kill()


def test_a_server_killed_in_the_middle_loses_no_counted_byte(server: Server) -> None:
    data = random.Random(7).randbytes(12 * MIB + 12345)
    path = server.create(len(data))
    piece = 2 * MIB
    # None = half of the body, then the kill; a number = the whole body, then the kill after so many seconds without an answer.
    for moment in (None, 0.0, 0.004, 0.02):
        offset = server.offset(path)
        chunk = data[offset : offset + piece]
        link = server.begin_patch(path, offset, chunk, len(chunk) // 2 if moment is None else len(chunk))
        time.sleep(moment or 0.05)
        server.kill()
        link.close()
        server.start()
        after = server.offset(path)
        assert after in (offset, offset + len(chunk)), "a piece counts whole or not at all"
        assert server.patch(path, after, data[after : after + piece], Upload_Checksum=checksum(data[after : after + piece])).status == 204
    while (offset := server.offset(path)) < len(data):
        assert server.patch(path, offset, data[offset : offset + piece]).status == 204
    upload = Upload.objects.get()
    stored = server.home / "uploads" / upload.id.hex[:2] / upload.id.hex
    assert upload.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.read_bytes() == data


def test_a_cut_connection_costs_little_of_its_piece(server: Server) -> None:
    """What has come is kept, less what was on its way; the upload goes on from there."""
    data = random.Random(8).randbytes(6 * MIB)
    path = server.create(len(data))
    server.begin_patch(path, 0, data, 4 * MIB).close()
    wait_until(lambda: server.offset(path) > 0, 30, "the piece that was cut")
    kept = server.offset(path)
    assert 3 * MIB < kept <= 4 * MIB
    assert server.patch(path, kept, data[kept:]).status == 204
    assert Upload.objects.get().sha256 == hashlib.sha256(data).hexdigest()


def test_memory_stays_flat(server: Server) -> None:
    """Pieces as large as allowed, one after another; the process grows by less than one of them."""
    assert server.process is not None
    piece = bytes(64 * MIB)
    path = server.create(4 * len(piece))
    server.patch(path, 0, piece[:MIB])
    before = psutil.Process(server.process.pid).memory_info().rss
    for number in range(3):
        offset = MIB + number * len(piece)
        assert server.patch(path, offset, piece).status == 204
    grown = psutil.Process(server.process.pid).memory_info().rss - before
    assert grown < 32 * MIB


def test_a_body_over_every_limit_is_refused_before_it_is_read(server: Server) -> None:
    path = server.create(1000 * MIB)
    link = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    link.sendall(f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {500 * MIB}\r\n\r\n".encode())
    assert b" 413 " in link.recv(200)
    link.close()
    link = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    link.sendall(f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    block = b"100000\r\n" + bytes(MIB) + b"\r\n"
    # Without a limit all of it is taken and the answer is waited for in vain; with one, the answer may be overtaken by the end.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(80):
            link.sendall(block)
        assert b" 413 " in link.recv(200)
    assert server.offset(path) == 0
