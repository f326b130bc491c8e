"""The wire by itself: each lie is refused for its own reason, before anything is done with it."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from gpuworker.core.sandbox.frames import Closed, Deadline, FrameError, TooLarge, read_frame, write_frame
from tests.core.sandbox.lies import LIES

REASONS = {
    "endless header": "a header of",
    "endless body": "arrays of",
    "no json": "Expecting",
    "no object": "not an object",
    "deep json": "recursion|nested",
    "long number": "4300 digits",
    "nan": "NaN in the header",
    "no arrays": "lists no arrays",
    "object dtype": "unknown dtype",
    "negative size": "whole numbers",
    "fractional size": "whole numbers",
    "boolean size": "whole numbers",
    "huge empty": "array 'x'",
    "many dimensions": "at most 32 sizes",
    "too few bytes named": "do not fill",
    "too many bytes named": "do not fill",
    "same name twice": "one that another has",
    "name is no text": "no name",
    "false booleans": "no booleans",
    "not utf-8": "decode|codec",
}
SOUND = {"another's token", "error is no object"}


@pytest.mark.parametrize("lie", REASONS)
def test_each_lie_is_named(lie: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(LIES[lie])
        with pytest.raises(FrameError, match=REASONS[lie]) as caught:
            read_frame(ours, 1 << 24, Deadline(20))
        assert isinstance(caught.value, TooLarge) == (lie == "endless body")


def test_every_lie_has_a_reason() -> None:
    assert set(LIES) - SOUND == set(REASONS) | {"nothing", "half a length", "noise"}


@pytest.mark.parametrize("lie", ["nothing", "half a length"])
def test_an_unfinished_frame_is_no_frame(lie: str) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.send(LIES[lie])
        with pytest.raises(Closed):
            read_frame(ours, 0, Deadline(20))


def test_silence_ends_by_the_clock() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        read_frame(ours, 0, Deadline(0.05))


def test_a_side_that_does_not_listen_ends_by_the_clock() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        write_frame(ours, {}, {"x": np.zeros(1 << 24, np.uint8)}, Deadline(0.2))


def test_a_frame_comes_back_as_it_went() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        write_frame(ours, {"a": [1, "two"]}, {"x": np.arange(4, dtype=">i2"), "y": np.zeros((0, 3))}, Deadline(20))
        frame = read_frame(theirs, 1 << 10, Deadline(20))
    assert frame.header == {"a": [1, "two"]}
    assert frame.arrays["x"].tolist() == [0, 1, 2, 3]
    assert frame.arrays["y"].shape == (0, 3)
