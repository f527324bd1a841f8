"""`darkbloom-coordinator doctor`: look at everything that a start needs, and change nothing."""

from __future__ import annotations

import json

import click

from server.cli.loading import load_or_exit

_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> int:
    """Check settings, database, files, native code and port. Exit: 0 fine, 1 something fails, 2 configuration."""
    import trio

    from server.cli.checks import Finding, examine, exit_code

    loaded = load_or_exit()
    problems = [Finding(check="settings", status="warning", text=warning) for warning in loaded.warnings]
    if not problems:
        problems = [Finding(check="settings", status="ok", text="all settings can be read")]
    findings = [*problems, *trio.run(examine, loaded.settings)]
    code = exit_code(findings)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "findings": [finding.shown() for finding in findings]}, indent=2))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            click.echo(f"{_MARKS[finding.status]}  {finding.check.ljust(width)}  {finding.text}")
    return code
