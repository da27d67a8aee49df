"""From nothing, on the releases of Debian that are supported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import IN_CI
from tests.tools.clean_root import CleanRoot, clean_root, missing_for_roots

pytestmark = pytest.mark.timeout(2400)

_PYTEST = (".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full")
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


def require_roots() -> None:
    """Skip where no root can be made; in CI that is a failure."""
    reason = missing_for_roots()
    if reason is not None and IN_CI:
        pytest.fail(f"CI must run the tests in clean roots: {reason}")
    if reason is not None:
        pytest.skip(reason)


def new_root(suite: str) -> Iterator[CleanRoot]:
    require_roots()
    with clean_root(suite, "make") as root:
        yield root


@pytest.fixture
def bookworm() -> Iterator[CleanRoot]:
    """Debian 12: Postfix 3.7, Dovecot 2.3, Python 3.11."""
    yield from new_root("bookworm")


@pytest.fixture
def trixie() -> Iterator[CleanRoot]:
    """Debian 13: Postfix 3.10, Dovecot 2.4, Python 3.13."""
    yield from new_root("trixie")


def test_the_demo_runs_from_nothing(bookworm: CleanRoot) -> None:
    said = bookworm.must("make", "demo", timeout=1200)
    assert "installing postfix" in said
    assert "demo: all is as it should be" in said
    assert "demo: left out" not in said
    assert "packages are left out" not in said
    again = bookworm.must("make", "demo")
    assert "installing" not in again
    print(again.splitlines()[-1])


def test_another_mail_server_is_not_removed(bookworm: CleanRoot) -> None:
    bookworm.must("apt-get", "-qq", "update")
    install = ("apt-get", "-qq", "install", "-y", "--no-install-recommends", "exim4-daemon-light")
    bookworm.must(*install, DEBIAN_FRONTEND="noninteractive")
    for step in ("demo", "test"):
        refused = bookworm.run("make", step)
        assert refused.returncode != 0
        assert "another mail server is installed: exim4-daemon-light" in refused.stdout
        assert "installing" not in refused.stdout
    state = bookworm.must(
        "dpkg-query", "-W", "-f", "${db:Status-Status} ", "exim4-daemon-light", "exim4-base"
    )
    assert state == "installed installed "
    # Without root nothing is installed, so nothing is in the way.
    passed_over = bookworm.must(*AS_NOBODY, "tests/tools/prepare.sh", "packages")
    assert "not root: these packages are left out" in passed_over


def test_packages_come_without_their_services(bookworm: CleanRoot) -> None:
    """Also where a policy of the machine's own would let them start; that one is put back."""
    own = "#!/bin/sh\n# the machine's own\nexit 0\n"
    policy = bookworm.path / "usr" / "sbin" / "policy-rc.d"
    policy.write_text(own)
    seen = "tests/tools/prepare.sh packages && cat /proc/[0-9]*/comm"
    running = bookworm.must("sh", "-c", seen).splitlines()
    assert (bookworm.path / "usr" / "sbin" / "dovecot").exists()
    assert "sh" in running
    assert not {"master", "dovecot"} & set(running)
    assert policy.read_text() == own


def test_the_python_of_debian_12_reads_everything_alike(bookworm: CleanRoot) -> None:
    """Its 3.11.2 has mistakes that later ones of 3.11 have not: in patterns, for one."""
    bookworm.must("tests/tools/prepare.sh", "packages", "environment", timeout=1200)
    said = bookworm.must(*_PYTEST, "-n", "2", "tests/unit", "tests/integration", timeout=1800, CI="true")
    assert "skipped" not in said.splitlines()[-1]
    print(said.splitlines()[-1])


def test_the_servers_of_debian_13_pass_the_same_tests(trixie: CleanRoot) -> None:
    """Every test with real servers, so that both lines of each server are proved by the same words."""
    trixie.must("tests/tools/prepare.sh", "packages", "environment", timeout=1200)
    versions = trixie.must("sh", "-c", "postconf -h mail_version; dovecot --version")
    assert versions.startswith("3.10.")
    assert "\n2.4." in versions
    said = trixie.must(*_PYTEST, "-n", "2", "--dist", "loadfile", "tests/server", timeout=1800, CI="true")
    assert "skipped" not in said.splitlines()[-1]
    print(said.splitlines()[-1])
