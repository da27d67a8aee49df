"""The unit and integration tests on every Python that is installed: `nox`."""

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    session.install("--quiet", "--require-hashes", "-r", "requirements-dev.txt")
    session.install("--quiet", "--no-deps", "--no-build-isolation", "-e", ".")
    session.run("pytest", "-n", "2", "tests/unit", "tests/integration", *session.posargs)
