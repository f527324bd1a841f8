"""The self-check of chat templates: does what a model ships compile and render, as it will at run time?

Nothing is imported here, because the child process that renders templates must start quickly.
"""
