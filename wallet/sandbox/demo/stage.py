"""How the story looks: steps, what moved, what the chain says. Plain where nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, JustifyMethod
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

TEAL = "dark_cyan"
VIOLET = "medium_purple1"
WIDTH = 92


class Stage:
    """Prints to one console; nothing here knows the story."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console = Console(width=WIDTH, highlight=False, no_color=True)
        self._step = 0

    def title(self, words: str, under: str) -> None:
        """The opening."""
        self.console.print()
        self.console.print(
            Panel(
                Text.assemble((words, "bold"), "\n", (under, "dim")),
                border_style=TEAL,
                width=min(WIDTH, self.console.width),
                padding=(0, 2),
            )
        )

    def step(self, words: str) -> None:
        """The next numbered step."""
        self._step += 1
        self.console.print()
        self.console.print(Text.assemble((f" {self._step}  ", f"bold {TEAL}"), (words, "bold")))

    def say(self, words: str) -> None:
        """A line of what happened."""
        self.console.print(f"    {words}")

    def moved(self, label: str, amount: str, note: str = "") -> None:
        """One movement of money: label, amount, aside."""
        line = Text.assemble("    ", (f"{label:<25}", ""), (f"{amount:>27}", "bold"))
        if note:
            line.append(f"   {note}", style="dim")
        self.console.print(line)

    def chain(self, words: str) -> None:
        """The chain's own word."""
        self.console.print(Text.assemble(("    ⛓ chain  ", VIOLET), (words, "")))

    @contextmanager
    def progress(self, words: str) -> Iterator[Any]:
        """A live line while something is awaited; one plain line a change where nobody watches."""
        if self.console.is_terminal:
            with self.console.status(f"    {words}", spinner="dots", spinner_style=TEAL) as status:
                yield lambda told: status.update(f"    {told}")
            return
        last = [""]

        def tell(told: str) -> None:
            if told != last[0]:
                last[0] = told
                self.console.print(f"    … {told}")

        yield tell

    def table(self, heading: list[tuple[str, str]], rows: list[list[str]]) -> None:
        """A table; each heading is (text, justify)."""
        table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
        for text, justify in heading:
            side: JustifyMethod = "right" if justify == "right" else "left"
            table.add_column(text, justify=side, overflow="fold")  # a figure is never cut
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def verdict(self, good: bool, words: str) -> None:
        """The ending."""
        style = "green" if good else "red"
        sign = "✓" if good else "✗"
        self.console.print()
        self.console.print(
            Panel(
                Text(f"{sign} {words}", style=f"bold {style}"),
                border_style=style,
                width=min(WIDTH, self.console.width),
                padding=(0, 2),
            )
        )
