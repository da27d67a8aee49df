"""Each test of the directory runs on both databases, unless it is marked as one of SQLite's file."""

from __future__ import annotations

import pytest

from postmaster.settings import Settings
from tests.conftest import IN_CI
from tests.tools.postgresql import missing_for_postgresql


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("sqlite_only")
        metafunc.parametrize("database", ["sqlite"] if only else ["sqlite", "postgresql"])


@pytest.fixture
def settings(database: str, request: pytest.FixtureRequest) -> Settings:
    if database == "postgresql":
        why = missing_for_postgresql()
        if why is not None and IN_CI:
            pytest.fail(f"CI must run the tests with a real PostgreSQL: {why}")
        if why is not None:
            pytest.skip(why)
    found: Settings = request.getfixturevalue(f"on_{database}")
    return found
