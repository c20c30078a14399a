"""A client of the handlers: `run("SET", "k", "v") == b"+OK\\r\\n"`, over the model Context."""

from collections.abc import Callable

import pytest

from tests.model.context import Model


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def run(model: Model) -> Callable[..., bytes]:
    return model.run
