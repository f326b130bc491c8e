"""Size expressions of a torch.export archive, read by a tiny parser: names, integers, + - * //, and the same spelt as calls.

The archive writes them as text that torch hands to a symbolic algebra package, which evaluates it as Python. Here only the
names are wanted: whether a size is open, and which sizes are the same.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\s*(?:(\d{1,18})|([A-Za-z_][A-Za-z_0-9]{0,63})|(//|[-+*(),=])|('[A-Za-z_0-9]{1,64}'))")
_CALLS = frozenset({"Symbol", "Integer", "Add", "Mul", "FloorDiv", "Mod", "Max", "Min", "Pow", "CleanDiv", "PythonMod"})
_FLAGS = frozenset({"positive", "integer", "nonnegative", "real", "True", "False"})
MAX_LENGTH = 500
MAX_DEPTH = 20


def names_in(text: str) -> frozenset[str]:
    """The symbols of an expression. Raises ValueError for anything outside the grammar."""
    if len(text) > MAX_LENGTH:
        raise ValueError("a size expression is too long")
    parser = _Parser(_tokens(text))
    parser.sum(0)
    if parser.peek() is not None:
        raise ValueError(f"unexpected {parser.peek()!r} in a size expression")
    return frozenset(parser.names)


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"unexpected {text[place : place + 10]!r} in a size expression")
        found.append(match[0].strip())
        place = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0
        self.names: set[str] = set()

    def peek(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self) -> str:
        token = self.peek()
        if token is None:
            raise ValueError("a size expression ends early")
        self._place += 1
        return token

    def sum(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError("a size expression is nested too deeply")
        self._atom(depth)
        while self.peek() in ("+", "-", "*", "//"):
            self._next()
            self._atom(depth)

    def _atom(self, depth: int) -> None:
        token = self._next()
        if token == "-":
            self._atom(depth + 1)
        elif token == "(":
            self.sum(depth + 1)
            self._expect(")")
        elif token[0].isdecimal():
            return
        elif token[0].isalpha() or token[0] == "_":
            if self.peek() == "(":
                self._call(token, depth)
            else:
                self.names.add(token)
        else:
            raise ValueError(f"unexpected {token!r} in a size expression")

    def _call(self, name: str, depth: int) -> None:
        if name not in _CALLS:
            raise ValueError(f"unexpected call of {name!r} in a size expression")
        self._expect("(")
        while self.peek() != ")":
            token = self.peek() or ""
            if name == "Symbol" and token[:1] == "'":
                self.names.add(self._next().strip("'"))
            elif token in _FLAGS:
                self._flag()
            else:
                self.sum(depth + 1)
            if self.peek() == ",":
                self._next()
            elif self.peek() != ")":
                raise ValueError("a call in a size expression is malformed")
        self._expect(")")

    def _flag(self) -> None:
        self._next()
        self._expect("=")
        if self._next() not in ("True", "False"):
            raise ValueError("a flag in a size expression is malformed")

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise ValueError(f"a size expression lacks {token!r}")
