"""`python -m provider.cli` is `darkbloom`."""

from provider.cli import main

main()
