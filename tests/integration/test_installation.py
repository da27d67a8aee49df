"""What is built is whole: installed as a wheel or editable, it works away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from postmaster import __version__
from postmaster.settings import as_toml
from tests.tools.building import settings_under

CHECKOUT = Path(__file__).parents[2]
PACKAGE_FILES = {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "postmaster").rglob("*.py")}
MIGRATIONS = {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "migrations").rglob("*.py*")}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=CHECKOUT)
    return folder


def empty_environment(folder: Path) -> Path:
    """A fresh environment's Python, which finds the dependencies, and nothing of ours.

    They are the locked ones of the environment that runs this, whose folder is put on the path. Its own
    postmaster is found by a .pth file of that folder, and such files are not read there.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    own = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "dependencies.pth").write_text("".join(f"{path}\n" for path in paths))
    # Hatchling puts an editable install's migrations there, in a folder without an __init__.py.
    found = (
        "from importlib.util import find_spec; spec = find_spec('postmaster'); print(spec and spec.loader)"
    )
    assert run(python, "-c", found, cwd=folder) == "None\n"
    return python


def install(python: Path, *what: str) -> None:
    """By pip, without the network and without dependencies."""
    pip = ("-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet")
    run(sys.executable, *pip, "--no-deps", "--no-index", *what, cwd=python.parent)


def use(python: Path, place: Path) -> None:
    """init and domain add, away from the checkout, by the command that was installed."""
    place.mkdir()
    settings = place / "postmaster.toml"
    settings.write_text(as_toml(settings_under(place / "d")))
    command = python.with_name("postmaster")
    environment = {"POSTMASTER_CONFIG": str(settings)}
    assert run(command, "--version", cwd=place) == f"postmaster {__version__}\n"
    assert "made the directory" in run(command, "init", cwd=place, **environment)
    run(command, "domain", "add", "example.org", cwd=place, **environment)
    domains = json.loads(run(command, "domain", "list", "-o", "json", cwd=place, **environment))
    assert [one["domain"] for one in domains] == ["example.org"]


def where(python: Path, place: Path) -> Path:
    return Path(run(python, "-c", "import postmaster; print(postmaster.__file__)", cwd=place).strip())


def test_a_wheel_has_the_package_the_migrations_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"postmaster-{__version__}.dist-info"
    as_shipped = {name.replace("migrations/", "postmaster/_migrations/", 1) for name in MIGRATIONS}
    assert "postmaster/_migrations/versions/0001_directory.py" in as_shipped
    ours = {name for name in names if not name.startswith(f"{info}/")}
    assert ours == PACKAGE_FILES | as_shipped
    assert f"{info}/licenses/LICENSE" in names


def test_the_source_archive_has_what_the_checkout_has(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "pyproject.toml", "LICENSE", "README.md", "requirements.txt", "tests/demo.py"}
    assert wanted | PACKAGE_FILES | MIGRATIONS <= names
    assert not any(".venv" in name or "__pycache__" in name for name in names)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return empty_environment(tmp_path / "environment")


def test_a_wheel_in_a_fresh_environment_works(built: Path, python: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    install(python, str(wheel))
    assert (tmp_path / "environment") in where(python, tmp_path).parents
    use(python, tmp_path / "place")


def test_an_editable_install_works(python: Path, tmp_path: Path) -> None:
    install(python, "--no-build-isolation", "--editable", str(CHECKOUT))
    assert where(python, tmp_path) == CHECKOUT / "postmaster" / "__init__.py"
    use(python, tmp_path / "place")
