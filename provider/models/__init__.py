"""Models on this machine: loading, prompts and slots."""
