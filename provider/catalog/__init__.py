"""Models from a coordinator's catalogue: what there is, getting it onto this machine, and publishing it."""
