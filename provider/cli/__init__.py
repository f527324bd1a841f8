"""The command line `darkbloom`: thin commands over library functions, imported only when they run."""

import sys


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 run-time failure, 2 configuration, 64 usage, 70 internal."""
    from provider.cli.root import run

    sys.exit(run(sys.argv[1:]))
