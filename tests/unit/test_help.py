"""`--help` everywhere: every command of the four programs says what it does, and every option what it means."""

import click
import pytest
import soloist_exchange.cli
import soloist_fence.cli
import soloist_operator.cli
import soloist_trader.cli
from click.testing import CliRunner

PROGRAMS = {
    "soloist-trader": soloist_trader.cli.main,
    "soloist-exchange": soloist_exchange.cli.main,
    "soloist-fence": soloist_fence.cli.main,
    "soloist-operator": soloist_operator.cli.main,
}


def commands(command, words):
    """A command and all that are below it, with the words that lead there."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*words, name))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_every_option_has_help(program):
    found = dict(commands(PROGRAMS[program], (program,)))
    assert len(found) > 1, "the tree was not walked"
    mute = []
    for words, command in found.items():
        if not command.help:
            mute.append(" ".join(words))
        mute += [
            f"{' '.join(words)} {parameter.opts[0]}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
        ]
        shown = CliRunner().invoke(PROGRAMS[program], [*words[1:], "--help"])
        assert shown.exit_code == 0, shown.output
        assert shown.output.startswith("Usage: ")
    assert mute == []
