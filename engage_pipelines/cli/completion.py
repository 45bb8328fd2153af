"""`engage completion`: the words of commands and options for the shell to complete."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: engage completion bash > ~/.local/share/bash-completion/completions/engage
    zsh:  engage completion zsh > "${fpath[1]}/_engage"
    fish: engage completion fish > ~/.config/fish/completions/engage.fish
    """
    found = get_completion_class(shell)
    assert found is not None, f"click completes in {shell}"
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "engage", "_ENGAGE_COMPLETE").source())
