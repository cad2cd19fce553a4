"""How `bifold --help` and the pages below it look."""

from __future__ import annotations

import argparse


class Lines(argparse.RawDescriptionHelpFormatter):
    """What a command does begins in one column: argparse forgets how far it indents their names."""

    def add_argument(self, action: argparse.Action) -> None:
        """Make room for the names of the commands below."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def finish(parser: argparse.ArgumentParser) -> None:
    """Let each command's page begin with what the list of commands says of it."""
    parser.formatter_class = Lines
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parser._positionals.title = "commands"
            for line in action._choices_actions:
                below = action.choices[line.dest]
                below.description = f"{str(line.help)[:1].upper()}{str(line.help)[1:]}."
                finish(below)


def unfinished(parser: argparse.ArgumentParser, words: list[str]) -> argparse.ArgumentParser | None:
    """The command that was named without saying what it should do, if that is all there is."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            if not words:
                return parser
            below = action.choices.get(words[0])
            return unfinished(below, words[1:]) if below else None
    return None
