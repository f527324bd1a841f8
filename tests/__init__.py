"""Tests of everything; importable support lives in tests/testbed."""
