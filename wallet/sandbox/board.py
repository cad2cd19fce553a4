"""What the person who typed ./dev run sees: a calm board, coloured only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

_BOLD, _DIM, _TEAL, _AMBER = "1", "2", "36", "33"


@dataclass(frozen=True)
class Board:
    """Lines for a person; `out` is standard output unless a test wants it."""

    out: TextIO = sys.stdout

    @property
    def coloured(self) -> bool:
        return self.out.isatty() and "NO_COLOR" not in os.environ

    def _paint(self, text: str, *codes: str) -> str:
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self.coloured else text

    def line(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def starting(self, data_dir: str) -> None:
        self.line(f"\n  {self._paint('Bifold', _BOLD)} sandbox · starting · {data_dir}")

    def trouble(self, text: str) -> None:
        self.line(f"  {self._paint('!', _BOLD, _AMBER)} {text}")

    def ready(self, *, url: str, rows: Sequence[tuple[str, str]], seconds: float) -> None:
        """The address to click, what runs where, and what to know."""
        self.line()
        self.line(f"    {self._paint('Open', _BOLD)}      {self._paint(url, _BOLD, _TEAL)}")
        self.line()
        for title, text in rows:
            self.line(f"    {self._paint(f'{title:<10}', _DIM)}{text}")
        self.line()
        for hint in (
            "Nothing here is real money: chain, bank and rates are this machine's own.",
            "New people need no mail: an e-mail address counts as verified at once.",
        ):
            self.line(f"    {self._paint('·', _TEAL)} {hint}")
        self.line()
        end = f"Ready in {seconds:.1f} s. Ctrl-C ends everything; the state stays."
        self.line(f"    {self._paint(end, _DIM)}\n")

    def ended(self) -> None:
        self.line(f"\n  {self._paint('Bifold', _BOLD)} sandbox · ended · everything is kept")
