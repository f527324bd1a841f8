"""Training of the demo model; nothing here is needed to serve it."""
