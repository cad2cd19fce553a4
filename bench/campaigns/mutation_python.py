"""Small faults put into Python source, one at a time, by its syntax tree.

A fault is what a tired person would write: a comparison on the wrong side, one off, plus for minus,
`and` for `or`, a `not` too few, nothing returned, a call or a refusal left out.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault of a module: the `variant`-th at the `place`-th node. `name`: `file:line what`."""

    file: str
    line: int
    what: str
    place: int
    variant: int

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line} {self.what}"

    def functions(self, source: str) -> list[int]:
        """First lines of the functions around it, decorators and all; none at a module's top."""
        found = []
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body
                if body[0].lineno <= self.line <= (body[-1].end_lineno or 0):
                    found.append(min([node.lineno, *(d.lineno for d in node.decorator_list)]))
        return found

    def of(self, source: str) -> str:
        """The source with the fault, without its comments."""
        tree = ast.parse(source)
        target = next(node for number, node in enumerate(ast.walk(tree)) if number == self.place)
        _, apply = list(_faults(target))[self.variant]
        apply(tree)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(file: str, source: str) -> list[Mutant]:
    """Every fault of `source`, in the order of the text."""
    tree = ast.parse(source)
    alone = _left_alone(tree)
    found = [
        Mutant(file, getattr(node, "lineno", 0), what, place, variant)
        for place, node in enumerate(ast.walk(tree))
        if place not in alone
        for variant, (what, _) in enumerate(_faults(node))
    ]
    return sorted(found, key=lambda one: (one.line, one.place, one.variant))


def _left_alone(tree: ast.Module) -> set[int]:
    """Places whose change no run could show: types, docstrings, decorators, words for people."""
    skipped: set[int] = set()

    def skip(node: ast.AST | None) -> None:
        if node is not None:
            skipped.update(id(one) for one in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skip(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            skip(node.annotation)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                skip(decorator)
        if isinstance(node, ast.JoinedStr | ast.Raise):
            for inner in ast.iter_child_nodes(node):
                skip(inner)
    return {number for number, node in enumerate(ast.walk(tree)) if id(node) in skipped}


Apply = Callable[[ast.Module], None]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _faults(node: ast.AST) -> Iterator[tuple[str, Apply]]:
    """What can go wrong at this node: in words, and how to do it to a tree that holds it."""
    yield from _of_expression(node)
    yield from _of_statement(node)


def _of_expression(node: ast.AST) -> Iterator[tuple[str, Apply]]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            new = COMPARISONS[type(op)]
            yield f"{type(op).__name__} to {new.__name__}", _set(node, ops=[new()])
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            other = ARITHMETIC[type(op)]
            yield f"{type(op).__name__} to {other.__name__}", _set(node, op=other())
        case ast.BoolOp(op=ast.And()):
            yield "and to or", _set(node, op=ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield "or to and", _set(node, op=ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"{type(node.op).__name__} removed", _swap(node, node.operand)
        case ast.Constant(value=bool() as value):
            yield f"{value} to {not value}", _set(node, value=not value)
        case ast.Constant(value=int() as value):
            yield f"{value} to {value + 1}", _set(node, value=value + 1)
        case ast.IfExp():
            yield "other branch", _set(node, test=ast.UnaryOp(ast.Not(), node.test))


def _of_statement(node: ast.AST) -> Iterator[tuple[str, Apply]]:
    match node:
        case ast.Return(value=value) if value is not None and not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            yield "returns None", _set(node, value=ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "call removed", _swap(node, ast.Pass())
        case ast.Raise():
            yield "raise removed", _swap(node, ast.Pass())
        case ast.If():
            yield "condition always true", _set(node, test=ast.Constant(True))
        case ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield "other assignment", _set(node, op=ARITHMETIC[type(op)]())


def _set(node: ast.AST, **values: object) -> Apply:
    def apply(_tree: ast.Module) -> None:
        for name, value in values.items():
            setattr(node, name, value)

    return apply


def _swap(node: ast.AST, new: ast.AST) -> Apply:
    def apply(tree: ast.Module) -> None:
        _Replace(node, new).visit(tree)

    return apply
