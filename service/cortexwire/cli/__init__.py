"""The command line: one small file per group of commands, and nothing heavy imported before it is needed."""


def main() -> None:
    """Run the command that `sys.argv` names, and exit: 0 ok, 1 a check failed, 2 usage or configuration."""
    from cortexwire.cli.app import run  # late, so that importing the package costs nothing

    run()
