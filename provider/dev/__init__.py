"""`darkbloom dev`: the whole network on one machine, as one process tree."""

from provider.dev.run import DEFAULT_PROMPT, DevOptions, run_dev

__all__ = ["DEFAULT_PROMPT", "DevOptions", "run_dev"]
