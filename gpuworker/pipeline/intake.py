"""Whether this worker process takes messages from the broker. What a draining one took would be kept from the others."""

from __future__ import annotations

import logging
from threading import Lock

from celery.worker.consumer import Consumer

log = logging.getLogger(__name__)


class Intake:
    """The switch of this process's consumer. It may be turned from any thread and as often as one likes.

    The consumer's own loop does the turning, before it takes the next message. Outside a Celery worker there is nothing to turn.
    """

    def __init__(self) -> None:
        self._consumer: Consumer | None = None
        self._queues: list[str] = []
        self._open = True
        self._lock = Lock()

    def bind(self, consumer: Consumer) -> None:
        """To be called once, when the consumer is ready."""
        self._queues = list(consumer.app.amqp.queues.consume_from)
        self._consumer = consumer

    def turn(self, *, on: bool) -> None:
        """Take messages, or take none and leave them to other workers."""
        with self._lock:
            if self._consumer is None or on == self._open:
                return
            self._open = on
            act = self._consumer.add_task_queue if on else self._consumer.cancel_task_queue
            for queue in self._queues:
                self._consumer.call_soon(act, queue)
        log.info("messages are taken again" if on else "no message is taken any more")


intake = Intake()
