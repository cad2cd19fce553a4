"""Rules about the code near money that no linter knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEAR_MONEY = (
    "wallet/money.py", "wallet/ledger", "wallet/fx", "wallet/transfers", "wallet/withdrawals",
    "wallet/deposits", "wallet/conversions", "wallet/payments", "wallet/payouts",
    "wallet/settlement", "chain/transactions.py", "chain/observe.py", "chain/fees.py",
)  # fmt: skip
# Numbers with these endings count time, which is no money.
TIME_SUFFIXES = ("_seconds", "_SECONDS", "_ms", "_MS")
# Where a transaction may end: the edge itself, and processes that own their connection.
EDGES = (
    "wallet/db.py",
    "wallet/group_commit.py",
    "wallet/migrate.py",
    "wallet/migrations",
    "wallet/testing",
    "wallet/sandbox",
)


def modules(*places: str) -> Iterator[tuple[str, ast.Module]]:
    for place in places:
        path = ROOT / place
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
        for file in files:
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text("utf-8"))


def names_of(node: ast.AST) -> list[str]:
    """The names an assignment, argument or annotation is for."""
    if isinstance(node, ast.Assign):
        return [name for target in node.targets for name in names_of(target)]
    if isinstance(node, ast.AnnAssign):
        return names_of(node.target)
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.arg | ast.keyword):
        return [node.arg or ""]
    return []


def is_about_time(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a float stands in something named as a time, or goes straight into a sleep."""
    current: ast.AST | None = node
    while current is not None:
        if any(name.endswith(TIME_SUFFIXES) for name in names_of(current)):
            return True
        if isinstance(current, ast.Call) and names_of(current.func) in (
            ["sleep"],
            ["timeout"],
            ["wait_for"],
        ):
            return True
        if isinstance(current, ast.stmt) and not isinstance(current, ast.Assign | ast.AnnAssign):
            return isinstance(
                current, ast.FunctionDef | ast.AsyncFunctionDef
            ) and current.name.endswith(TIME_SUFFIXES)
        current = parents.get(current)
    return False


def floats_in(tree: ast.Module) -> list[int]:
    """Lines that hold a float literal, the type, a cast to it, or a true division."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    lines = []
    for node in ast.walk(tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
        named = isinstance(node, ast.Name) and node.id == "float"
        if (literal or named) and not is_about_time(node, parents):
            lines.append(getattr(node, "lineno", 0))
    return lines


def test_the_float_rule_sees_what_it_should() -> None:
    assert floats_in(ast.parse("fee = 2.5")) == [1]
    assert floats_in(ast.parse("def f(amount: float) -> None: ...")) == [1]
    assert floats_in(ast.parse("x = float(amount)")) == [1]
    assert floats_in(ast.parse("TIMEOUT_SECONDS = 2.5")) == []
    assert floats_in(ast.parse("await_seconds: float = 2.5")) == []


def test_no_float_comes_near_money() -> None:
    found = {name: lines for name, tree in modules(*NEAR_MONEY) if (lines := floats_in(tree))}
    assert found == {}


def commits_in(tree: ast.Module) -> list[int]:
    """Lines that end a transaction by hand."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]


def test_the_commit_rule_sees_what_it_should() -> None:
    assert commits_in(ast.parse("async def f(session):\n    await session.commit()")) == [2]


def test_only_the_edge_commits() -> None:
    found = {
        name: lines
        for name, tree in modules("wallet", "api")
        if not name.startswith(EDGES) and (lines := commits_in(tree))
    }
    assert found == {}


def test_nothing_swallows_every_error() -> None:
    """`except Exception: pass` hides lost money; a broad handler must at least do something."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("api", "chain", "contracts", "keys", "wallet")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or names_of(node.type)[:1] in (["Exception"], ["BaseException"]))
        and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert found == []
