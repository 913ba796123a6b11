"""`dbaudit` and `python -m dbaudit`: the command line, where its packages are installed."""

import sys

_OF_THE_COMMAND_LINE = ("click", "rich")
_CONFIGURATION = 3  # as dbaudit.cli.exit_codes, which is not there to be asked


def main() -> None:
    """Run the command; the base install is the SDK alone, and says what more is needed."""
    try:
        from dbaudit.cli import main as command
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_COMMAND_LINE:
            raise
        print(
            f"Error: the command line needs the package {error.name}, which is not installed. "
            "pip install 'dbaudit[cli]', or 'dbaudit[server]' for the service.",
            file=sys.stderr,
        )
        sys.exit(_CONFIGURATION)
    command()


if __name__ == "__main__":
    main()
