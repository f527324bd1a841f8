"""A tiny random model, built once for all tests that need arrays."""

import pytest

from tests.testbed.needs import module
from tests.testbed.tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory):
    module("mlx.core")
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_directory):
    from provider.models.load import load_model

    return load_model("tiny", tiny_directory)
