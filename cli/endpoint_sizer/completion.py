"""``endpoint-sizer completion``: the script that lets a shell complete its arguments."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
Examples:
  source <(endpoint-sizer completion bash)  # in ~/.bashrc
  source <(endpoint-sizer completion zsh)   # in ~/.zshrc
  endpoint-sizer completion fish | source   # in config.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL: bash, zsh or fish."""
    script = get_completion_class(shell)
    assert script is not None
    root = context.find_root()
    name = str(root.info_name)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(script(root.command, {}, name, variable).source())
