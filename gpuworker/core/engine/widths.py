"""How many siblings run as one: dynamic programming over the width of every stage (after NetFuse, 2020).

F(l, g) = min over g' of F(l - 1, g') + r(l, g', g) + ceil(n / g) t(l, g). t: a stage at that width. r: laying the activations
out anew when the width changes. A merge is taken only where it is predicted faster than width 1 by a margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuworker.core.engine.code import Code, Codes, Sizes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.estimate import Entry, input_bytes, is_opaque, output_bytes, peak_bytes, touched, weight_bytes, work
from gpuworker.core.engine.execute import Segment
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.layouts import Lie, alike
from gpuworker.core.engine.plan import WIDTHS, Options
from gpuworker.core.engine.stages import Branch, Form, StageForm

_MOST_POWER = 17  # chunks have at most 65,536 samples
_ENOUGH = 6  # siblings of which two may run in a way that is a guess


@dataclass(frozen=True, slots=True)
class Choice:
    """segments: of one part of at most `size` siblings. ms, variance: of such a part. peak: bytes inside it. piece_ms: its
    longest piece. weights: bytes laid out anew."""

    segments: tuple[Segment, ...]
    size: int
    ms: float
    variance: float
    peak: int
    piece_ms: float
    weights: int


@dataclass(frozen=True, slots=True)
class _Piece:
    ms: float
    variance: float
    peak: int
    given: int
    made: int
    weights: int
    stages: tuple[float, ...]


def piece_key(code_key: str, width: int, samples: int) -> str:
    """What corrections are kept by: the compiled piece, and samples to the next power of two."""
    return _key(code_key, width, _power(samples))


def _key(code_key: str, width: int, power: int) -> str:
    return f"{code_key}:{width}:{power}"


def _power(samples: int) -> int:
    return max(0, samples - 1).bit_length()


def correction_of(cost: CostModel, code_keys: Sequence[str], width: int, samples: int, widths: Sequence[int] = WIDTHS) -> tuple[float, int]:
    """(factor, runs behind it) of a piece. code_keys: its own, then those of what it is a part of.

    One never run at this width takes that of the nearest width in chunks of this size, so that one run does not make other widths look
    better than curves say; one never run in such chunks that of the nearest size; and one never run at all that of the whole: what curves
    miss of a form they miss of its parts as well, and what was never run must not look better for it.
    """
    power = _power(samples)
    factor, runs = cost.correction(_key(code_keys[0], width, power))
    if runs or not cost.corrections:
        return factor, runs
    near = [(other, power) for other in sorted(widths, key=lambda other: abs(other.bit_length() - width.bit_length()))]
    sizes = [(width, size) for size in sorted(range(_MOST_POWER), key=lambda other: abs(other - power))]
    for code_key in code_keys:
        for other, size in near + sizes:
            found, seen = cost.correction(_key(code_key, other, size))
            if seen:
                return found, 0
    return 1.0, 0


def corrected(ms: float, variance: float, factor: float, runs: int) -> tuple[float, float]:
    """(milliseconds, their variance) of a piece, from what curves say of it and what it took before."""
    return ms * factor, variance * factor**2 if runs == 0 else (0.15 * ms * factor) ** 2 / min(runs, 4)


class Widths:
    """Choices of one planning run; each form, number of siblings and chunk size is worked out once."""

    def __init__(self, graph: Graph, codes: Codes, cost: CostModel, options: Options, length: int, keep: int) -> None:
        self._graph, self._codes, self._cost, self._options = graph, codes, cost, options
        self._length, self._keep, self._room = length, keep, options.budget - keep
        self._around = graph.elements
        self._choices: dict[tuple[int, int, int, tuple[bool, ...]], Choice] = {}
        self._singles: dict[tuple[int, int], float] = {}
        self._turns: dict[tuple[str, int], float] = {}
        self._pieces: dict[tuple[str, int, int, tuple[Lie, ...], tuple[bool, ...]], _Piece] = {}

    def choice(self, siblings: Sequence[Branch], samples: int) -> Choice:
        """For branches of one form that read the same values."""
        form, count = siblings[0].form, len(siblings)
        own = self._own(siblings) if count > 1 else ()
        key = form.number, count, samples, own
        if key not in self._choices:
            self._choices[key] = self._choose(form, count, samples, own)
        return self._choices[key]

    def pair(self, siblings: Sequence[Branch], samples: int) -> Choice | None:
        """Two of them as one, where all would run one by one, no run has shown yet whether that is right, and curves do not say that it
        loses by more than they are off. None otherwise."""
        form, alone = siblings[0].form, self.choice(siblings, samples)
        whole = form.span(0, form.stages)
        if alone.size > 1 or len(siblings) < _ENOUGH or 2 not in self._options.widths:
            return None
        seen = self._cost.correction(piece_key(whole.code_key, 2, samples))[1]
        if seen or is_opaque(self._codes.single(whole, self._options.target, Sizes(samples, self._length))):
            return None
        found = self._segments(form, 2, samples, self._own(siblings), (Segment(0, form.stages, 2),))
        return found if found.peak <= self._room and found.ms < 2 * alone.ms * (1 + self._options.gain) else None

    def single_ms(self, form: Form, samples: int) -> float:
        """One branch by itself."""
        key = form.number, samples
        if key not in self._singles:
            self._singles[key] = self._segments(form, 1, samples, (), (Segment(0, form.stages, 1),)).ms
        return self._singles[key]

    def _own(self, siblings: Sequence[Branch]) -> tuple[bool, ...]:
        """For each weight of the form whether the siblings' differ."""
        nodes, first, last = self._graph.nodes, siblings[0], siblings[-1]
        span = first.form.span(0, first.form.stages)
        return tuple([nodes[first.nodes[place]].args[number] != nodes[last.nodes[place]].args[number] for place, number in span.weights])

    def _choose(self, form: Form, count: int, samples: int, own: tuple[bool, ...]) -> Choice:
        alone = self._segments(form, 1, samples, (), (Segment(0, form.stages, 1),))
        whole = form.span(0, form.stages)
        if count == 1 or is_opaque(self._codes.single(whole, self._options.target, Sizes(samples, self._length))):
            return alone
        best, least = alone, alone.ms * (1 - self._options.gain)
        widths = [width for width in self._options.widths if width == 1 or width <= count]
        options: list[tuple[Segment, ...]] = [(Segment(0, form.stages, width),) for width in widths[1:]]
        mixed = self._mixed(form, count, samples, own, widths)
        if mixed is not None:
            options.append(mixed)
        for segments in options:
            size = max(segment.width for segment in segments)
            found = self._segments(form, size, samples, own, segments)
            ms = -(-count // size) * found.ms / count
            if found.peak <= self._room and ms < least:
                best, least = found, ms
        return best

    def _mixed(self, form: Form, count: int, samples: int, own: tuple[bool, ...], widths: Sequence[int]) -> tuple[Segment, ...] | None:
        """The best widths stage by stage; None when they are all the same."""
        times = {width: self._piece(form, 0, form.stages, width, samples, own if width > 1 else ()).stages for width in widths}
        total: dict[int, float] = {}
        came: list[dict[int, int]] = []
        for stage in range(form.stages):
            now: dict[int, float] = {}
            came.append({})
            for width in widths:
                rounds = -(-count // width)
                before = [
                    (total[other] + (self._turn_ms(form, stage, count, samples) if other != width else 0.0), other) for other in total
                ]
                reached, other = min(before) if before else (0.0, width)
                now[width] = reached + rounds * times[width][stage]
                came[-1][width] = other
            total = now
        width = min(total, key=lambda item: (total[item], item))
        path = [width]
        for stage in range(form.stages - 1, 0, -1):
            path.append(came[stage][path[-1]])
        path.reverse()
        segments: list[Segment] = []
        for stage, width in enumerate(path):
            if segments and segments[-1].width == width:
                segments[-1] = Segment(segments[-1].first, stage + 1, width)
            else:
                segments.append(Segment(stage, stage + 1, width))
        return tuple(segments) if len(segments) > 1 else None

    def _turn_ms(self, form: Form, stage: int, count: int, samples: int) -> float:
        """Copying what stands between two stages, for all siblings, and starting one more piece each."""
        span = form.span(stage, stage + 1)
        key = span.code_key, samples
        if key not in self._turns:
            code = self._codes.single(span, self._options.target, Sizes(samples, self._length))
            elements = input_bytes(code, samples, self._length) / 4
            rows: list[list[Entry]] = [[("copy", (elements,), 1)], [("piece", (1.0, 8.0, 0.0), 1)]]
            self._turns[key] = self._cost.ms(rows, self._around)[0]
        return count * self._turns[key]

    def _segments(self, form: Form, size: int, samples: int, own: tuple[bool, ...], segments: tuple[Segment, ...]) -> Choice:
        """What one part of `size` siblings costs."""
        ms = variance = piece_ms = 0.0
        carried = most = weights = 0
        for segment in segments:
            piece = self._piece(form, segment.first, segment.stop, segment.width, samples, own if segment.width > 1 else ())
            rounds = -(-size // segment.width)
            ms += rounds * piece.ms
            variance += rounds * piece.variance
            piece_ms = max(piece_ms, piece.ms)
            joined = piece.given if len(segments) > 1 else 0
            # Weights laid out anew for one piece stay while it runs, whatever the room that is kept for all of them.
            beyond = max(0, piece.weights - self._keep)
            most = max(most, carried + joined + (rounds - 1) * piece.made + piece.peak + beyond)
            carried = rounds * piece.made
            weights += rounds * piece.weights
        return Choice(segments, size, ms, variance, most, piece_ms, weights)

    def _piece(self, form: Form, first: int, stop: int, width: int, samples: int, own: tuple[bool, ...]) -> _Piece:
        span = form.span(first, stop)
        lies: tuple[Lie, ...] = tuple(["same" if wire[0] == "x" else "stack" for wire in span.origins])
        key = span.code_key, width, samples, lies, self._part_of(form, span, own)
        if key not in self._pieces:
            self._pieces[key] = self._new_piece(form, span, first, stop, width, samples, lies, key[-1])
        return self._pieces[key]

    @staticmethod
    def _part_of(form: Form, span: StageForm, own: tuple[bool, ...]) -> tuple[bool, ...]:
        """Of the form's weights those of a piece of it."""
        if not own:
            return ()
        whole = form.span(0, form.stages).weights
        first = whole.index(span.weights[0]) if span.weights else 0
        return own[first : first + len(span.weights)]

    def _new_piece(
        self, form: Form, span: StageForm, first: int, stop: int, width: int, samples: int, lies: tuple[Lie, ...], own: tuple[bool, ...]
    ) -> _Piece:
        target, length = self._options.target, self._length
        sizes = Sizes(samples, length)
        weights: tuple[Lie, ...] = tuple(["own" if item else "common" for item in own]) or alike("own", len(span.weights))
        code: Code = self._codes.single(span, target, sizes) if width == 1 else self._codes.group(span, target, sizes, width, lies, weights)
        calls = work(code, samples, length)
        keys = span.code_key, form.span(0, form.stages).code_key
        factor, runs = correction_of(self._cost, keys, width, samples, self._options.widths)
        around = max(self._around, touched(calls))
        ms, variance = corrected(*self._cost.ms(calls, around), factor, runs)
        by_call = [self._cost.ms([entries], around)[0] * factor for entries in calls]
        borders = [cut - form.cuts[first] for cut in form.cuts[first : stop + 1]]
        start = by_call[-1] / max(1, len(borders) - 1)
        stages = tuple(sum(by_call[low:high]) + start for low, high in zip(borders[:-1], borders[1:], strict=True))
        return _Piece(
            ms,
            variance,
            peak_bytes(code, samples, length),
            input_bytes(code, samples, length),
            output_bytes(code, samples, length),
            weight_bytes(code),
            stages,
        )
