"""The process that renders foreign templates: one JSON line in, one out, with little memory and no way to hang us."""

import json
import resource
import sys

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_PROCESSOR_SECONDS = 600


def main() -> None:
    """Answer every line of the standard input until it ends."""
    for limit, value in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_PROCESSOR_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            continue
    from provider.models.templates.rendering import check_templates

    for line in sys.stdin.buffer:
        asked = json.loads(line)
        verdict = check_templates(asked["templates"], asked["plain"], asked["tools"], asked["tokens"], asked["cases"])
        sys.stdout.write(json.dumps({"ok": verdict}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
