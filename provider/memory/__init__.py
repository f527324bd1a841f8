"""The memory policy: how much weights and caches may take on this machine."""
