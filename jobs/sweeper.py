"""The loop behind `manage.py sweep`: chores at their intervals, whatever happens to the database meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from django.db import InterfaceError, OperationalError, close_old_connections

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so many seconds. `run` must bear being called twice, and by two sweepers at once."""

    name: str
    every: float
    run: Callable[[], object]


def run_chores(chores: Sequence[Chore], stop: Event, *, turn: float = 1.0) -> None:
    """Turn after turn until `stop` is set. A chore that fails is logged and comes again at its next time."""
    due = {chore.name: 0.0 for chore in chores}
    while not stop.is_set():
        for chore in chores:
            if stop.is_set():
                return
            if time.monotonic() >= due[chore.name]:
                due[chore.name] = time.monotonic() + chore.every
                run_chore(chore)
        stop.wait(turn)


def run_chore(chore: Chore) -> bool:
    """One chore, once; False when it failed. A database that is away for a while is no defect."""
    close_old_connections()
    try:
        chore.run()
    except (OperationalError, InterfaceError) as error:
        log.warning("%s: the database does not answer, trying again: %s", chore.name, str(error).strip())
        return False
    except Exception:
        log.exception("%s failed", chore.name)
        return False
    finally:
        close_old_connections()
    return True
