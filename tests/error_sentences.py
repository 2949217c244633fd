"""Reads out of the package's code what its errors and findings say to people.

A value is ``{}``, and ``'{}'`` where it is shown by its repr. Values that are themselves chosen among
a function's own texts are spelled out: each choice is a sentence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

PLACES = {
    "Finding": 2,
    "Reason": 1,
    "RecipeAction": 2,
    "__init__": 0,
    "_act": 1,
    "_problem": 1,
    "_warn": 1,
    "add": 2,
    "note": 1,
    "problem": 1,
    "warn": 1,
}
"""Which argument of a call is the sentence, for calls that are not of an error's class."""

WITHIN = {
    ("archive.py", "_too"): "{} %s that this hub fetches.",
    ("backends/r2d_smoke.py", "_fail"): (
        "The image was built, but no server could start from it: %s."
    ),
    ("web/parse.py", "_wrong"): "'{}' %s.",
}
"""What functions make of the part of a sentence that they are given last."""

Bound = Mapping[str, Sequence[ast.expr]]


def read_sentences(package: Path, *, without: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each sentence with its file; `without` are classes that are for other readers."""
    trees = {
        path.relative_to(package).as_posix(): ast.parse(path.read_text())
        for path in sorted(package.rglob("*.py"))
    }
    classes = _errors(trees.values(), without)
    for file, tree in trees.items():
        yield from ((file, text) for text in _Reader(file, classes).read(tree))


def _errors(trees: Iterable[ast.AST], without: Sequence[str]) -> set[str]:
    """Return the names of the classes that are errors for people."""
    defined = [
        (node.name, {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases})
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name not in without
    ]
    found = {"BinderError"}
    while more := {name for name, bases in defined if bases & found} - found:
        found |= more
    return found


class _Reader:
    """Reads one file."""

    def __init__(self, file: str, classes: set[str]) -> None:
        self._file = file
        self._classes = classes

    def read(self, node: ast.AST, bound: Bound | None = None, owner: str = "") -> Iterator[str]:
        """Yield the sentences in a node; `bound` is what the function's names may be."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound = _bindings(node)
        elif isinstance(node, ast.ClassDef):
            owner = node.name
        elif isinstance(node, ast.Call):
            yield from self._said_by(node, bound or {}, owner)
        for child in ast.iter_child_nodes(node):
            yield from self.read(child, bound, owner)

    def _said_by(self, call: ast.Call, bound: Bound, owner: str) -> Iterator[str]:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        around = WITHIN.get((self._file, name))
        place = 0 if name in self._classes else PLACES.get(name)
        if around is not None:
            place = len(call.args) - 1
        if name == "__init__" and owner not in self._classes:
            return
        if place is not None and place < len(call.args):
            for text in texts_of(call.args[place], bound) or ():
                if around is not None:
                    yield around % text.rstrip(".")
                elif " " in text:
                    yield text


def _bindings(function: ast.AST) -> Bound:
    """Return what is assigned to each name of a function."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def texts_of(node: ast.expr, bound: Bound) -> list[str] | None:
    """Return the texts that an expression may be; None where that is not to be seen."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=pieces):
            return _joined([_piece(each, bound) for each in pieces])
        case ast.IfExp(body=one, orelse=other):
            return _any_of([one, other], bound)
        case ast.BoolOp(values=values):
            return _any_of(values, bound)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([texts_of(each, bound) or ["{}"] for each in (left, right)])
        case ast.Call(func=ast.Attribute(value=value, attr="strip" | "rstrip")):
            found = texts_of(value, bound)
            return found and [text.strip() for text in found]
        case ast.Name(id=name) if name in bound:
            others = {key: values for key, values in bound.items() if key != name}
            each = [texts_of(value, others) for value in bound[name]]
            return None if None in each else [text for texts in each for text in texts or ()]
    return None


def _piece(node: ast.expr, bound: Bound) -> list[str]:
    if isinstance(node, ast.FormattedValue):
        if node.conversion == ord("r"):
            return ["'{}'"]
        return (not node.format_spec and texts_of(node.value, bound)) or ["{}"]
    return texts_of(node, bound) or ["{}"]


def _joined(pieces: Sequence[Sequence[str]]) -> list[str]:
    return ["".join(each) for each in product(*pieces)]


def _any_of(nodes: Sequence[ast.expr], bound: Bound) -> list[str] | None:
    each = [texts_of(node, bound) for node in nodes]
    if not any(each):
        return None
    return [text for texts in each for text in texts or ["{}"]]
