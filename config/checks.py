"""Relations between settings that no single line can see. `manage.py check` reports them; a worker refuses to start on an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

POSITIVE = (
    "JOB_LEASE_SECONDS",
    "JOB_MAX_ATTEMPTS",
    "UPLOAD_MAX_BYTES",
    "UPLOAD_EXPIRE_HOURS",
    "SAMPLE_RETENTION_DAYS",
    "SEARCH_MAX_CANDIDATES",
    "SEARCH_MAX_SAMPLES",
    "SANDBOX_MEMORY_MB",
    "SANDBOX_CALL_SECONDS",
)
BROKERS = ("filesystem", "redis", "rediss", "amqp", "amqps")
CHANNELS = ("", "redis", "rediss")
LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")
MIN_LEASE_SECONDS = 2.0  # renewed four times per lease: below this a loaded machine loses jobs it is working on


class BrokenSettings(SystemExit):
    """Ends a worker before it takes a job; the text lists every error with what to do."""


def check_settings(app_configs: object = None, **_: Any) -> list[CheckMessage]:
    """Every finding about the settings, errors and warnings."""
    return [*_numbers(), *_https(), *_services(), *_device()]


def refuse_broken_settings(**_: Any) -> None:
    """For the start of a worker, which Django's own check run does not stop. Raises BrokenSettings."""
    errors = [message for message in check_settings() if message.is_serious()]
    if errors:
        raise BrokenSettings("\n".join(f"{message.id}: {message.msg} {message.hint}" for message in errors))


def _numbers() -> Iterator[CheckMessage]:
    for name in POSITIVE:
        value = getattr(settings, name)
        if not value > 0:
            yield Error(f"{name} is {value}.", hint="Set it to a number above 0, or leave it out.", id="modelshop.E001")
    if 0 < settings.JOB_LEASE_SECONDS < MIN_LEASE_SECONDS:
        yield Warning(
            f"JOB_LEASE_SECONDS is {settings.JOB_LEASE_SECONDS}: a busy worker can lose a job it is still working on.",
            hint=f"Use {MIN_LEASE_SECONDS:.0f} seconds or more.",
            id="modelshop.W001",
        )


def _https() -> Iterator[CheckMessage]:
    if not settings.HTTPS:
        return
    if all(host in LOCAL for host in settings.ALLOWED_HOSTS):
        yield Error(
            "HTTPS is on, but ALLOWED_HOSTS names only this machine.",
            hint="Set ALLOWED_HOSTS to the names people use, for example models.example.org.",
            id="modelshop.E002",
        )
    foreign = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if not origin.startswith("https://")]
    if not settings.CSRF_TRUSTED_ORIGINS or foreign:
        yield Error(
            f"HTTPS is on, but CSRF_TRUSTED_ORIGINS is {settings.CSRF_TRUSTED_ORIGINS}: forms sent through the proxy would be refused.",
            hint="Set it to the full origins, for example https://models.example.org.",
            id="modelshop.E003",
        )
    if settings.DEBUG:
        yield Error("HTTPS and DEBUG are both on.", hint="DEBUG shows settings and code to visitors: switch it off.", id="modelshop.E004")


def _services() -> Iterator[CheckMessage]:
    broker, channel = urlsplit(settings.BROKER_URL).scheme, urlsplit(settings.CHANNEL_URL).scheme
    if broker not in BROKERS:
        yield Error(f"BROKER_URL starts with {broker or 'nothing'}://.", hint=f"Known are: {', '.join(BROKERS)}.", id="modelshop.E005")
    if channel not in CHANNELS or (settings.CHANNEL_URL and not channel):
        yield Error(
            f"CHANNEL_URL {settings.CHANNEL_URL!r} is of no known kind.",
            hint="Use redis:// or rediss://, or leave it empty to send hints through PostgreSQL.",
            id="modelshop.E006",
        )
    host = str(settings.DATABASES["default"].get("HOST", ""))
    remote = bool(host) and not host.startswith("/") and host not in LOCAL
    if remote and broker == "filesystem":
        yield Warning(
            f"The database is on {host}, but jobs are handed on through files of this machine: workers elsewhere hear of a job late.",
            hint="Set BROKER_URL to a redis:// or amqp:// address that every machine reaches.",
            id="modelshop.W002",
        )


def _device() -> Iterator[CheckMessage]:
    kind, _, number = settings.WORKER_DEVICE.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        yield Error(
            f"WORKER_DEVICE is {settings.WORKER_DEVICE!r}.", hint="Use auto, cpu, cuda, or cuda:N for one of several.", id="modelshop.E007"
        )
    if settings.SEARCH_EXECUTION not in ("plan", "exact", "loop"):
        yield Error(f"SEARCH_EXECUTION is {settings.SEARCH_EXECUTION!r}.", hint="Use plan, exact or loop.", id="modelshop.E008")
