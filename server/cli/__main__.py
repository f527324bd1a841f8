"""`python -m server.cli` is the command without an installed script."""

from server.cli.main import main

main()
