"""`python -m server.cli` is `darkbloom-coordinator`."""

from server.cli.main import main

main()
