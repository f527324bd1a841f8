"""The machine owner's side: daemon, command line, inference engine and models."""
