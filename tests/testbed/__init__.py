"""Test support that may be imported: fakes, builders and the harness."""
