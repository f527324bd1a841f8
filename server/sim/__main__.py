"""Entry point of `python -m server.sim`."""

from server.sim.cli import main

main()
