"""The switch of a worker's consumer: turned by the consumer's own loop, once per change."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from gpuworker.pipeline.intake import Intake


class Loop:
    """What the switch needs of Celery's consumer. `later` waits for the loop's next turn."""

    def __init__(self, *queues: str) -> None:
        self.app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(queues))))
        self.consuming = set(queues)
        self.later: list[tuple[Callable[[str], None], str]] = []
        self.add_task_queue, self.cancel_task_queue = self.consuming.add, self.consuming.remove

    def call_soon(self, act: Callable[[str], None], queue: str) -> None:
        self.later.append((act, queue))

    def turn(self) -> int:
        for act, queue in (acts := self.later):
            act(queue)
        self.later = []
        return len(acts)


def test_off_and_on_again_for_every_queue() -> None:
    loop, intake = Loop("celery", "slow"), Intake()
    intake.bind(loop)
    for on, left in ((False, set()), (True, {"celery", "slow"}), (False, set())):
        for _ in range(3):  # the heartbeat says it again and again
            intake.turn(on=on)
        assert loop.consuming != left, "another thread than the loop's own must not touch the connection"
        assert (loop.turn(), loop.consuming) == (2, left)


def test_a_worker_starts_switched_on_and_without_one_nothing_happens() -> None:
    loop, intake = Loop("celery"), Intake()
    intake.turn(on=False)
    intake.bind(loop)
    intake.turn(on=True)
    assert loop.later == []
