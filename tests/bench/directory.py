"""How fast the directory writes and publishes, and what a password costs."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from postmaster.directory import passwords
from postmaster.directory.database import open_directory
from postmaster.directory.migrate import initialise
from postmaster.settings import as_toml
from tests.bench.measuring import POSTMASTER, PYTHON, Figure, LeftOut, compared, in_turn, process
from tests.tools.building import HASH, open_builder, settings_under

BULK, MANY, IMPORTED = 5_000, 50_000, 100_000
RUNS, PROCESSES, HASHES = 3, 20, 20
MIB = 1 << 20


def figures() -> Iterator[Figure | LeftOut]:
    yield from _password()
    with tempfile.TemporaryDirectory() as name:
        yield _bulk(Path(name))
    with tempfile.TemporaryDirectory() as name:
        yield _import(Path(name))
    with tempfile.TemporaryDirectory() as name:
        yield _one_by_one(Path(name))
    with tempfile.TemporaryDirectory() as name:
        yield _rebuild(Path(name))


def _password() -> Iterator[Figure]:
    from argon2.low_level import Type, hash_secret_raw

    _, _, _, parameters, *_ = passwords.hash_password("a password to hash").split("$")
    cost = {key: int(value) for key, _, value in (part.partition("=") for part in parameters.split(","))}

    def bare() -> bytes:
        return hash_secret_raw(b"a password to hash", b"s" * 16, cost["t"], cost["m"], cost["p"], 32, Type.ID)

    times = in_turn({"ours": lambda: passwords.hash_password("a password to hash"), "bare": bare}, HASHES)
    shown = f"argon2id m={cost['m']} KiB t={cost['t']} p={cost['p']}"
    yield compared("a password's hash", times["ours"], times["bare"], f"argon2-cffi, {shown}")
    # A hash that is verified is computed with the same parameters, so it costs a login the same.
    idle, hashing = _peak("pass"), _peak("passwords.hash_password('a password to hash')")
    ours, floor = (hashing - idle) / MIB, cost["m"] / 1024
    yield Figure("a password's memory", ours, floor, "m of the parameters", "peaks of two processes", "MiB")


def _peak(program: str) -> float:
    """The most memory that a process held, in bytes."""
    text = (
        "from postmaster.directory import passwords; passwords.generate_password(); "
        f"import passlib.hash, argon2; {program}; "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([PYTHON, "-c", text], check=True, capture_output=True, text=True)
    return float(done.stdout) * 1024


def _plain_inserts(folder: Path, rows: int, files: int) -> float:
    """Milliseconds for the same rows by the standard library: one table and one transaction in each file."""
    begun = time.perf_counter()
    for number in range(files):
        with closing(sqlite3.connect(folder / f"floor{number}.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM t")
            values = ((f"u{at}@example.org", "x" * 100) for at in range(rows))
            connection.executemany("INSERT INTO t (a, b) VALUES (?, ?)", values)
            connection.execute("COMMIT")
    return 1000 * (time.perf_counter() - begun)


def _bulk(folder: Path) -> Figure:
    settings = settings_under(folder / "d")
    initialise(settings)
    with open_builder(settings) as make:
        make.domain("example.org")
        begun = time.perf_counter()
        make.users([f"u{n}@example.org" for n in range(BULK)])
        ours = 1000 * (time.perf_counter() - begun)
    floor = min(_plain_inserts(folder, BULK, 3) for _ in range(RUNS))
    rate = f"{1000 * BULK / ours:,.0f} users/s"
    return Figure(
        f"{BULK:,} users in one change, published",
        *(ours, floor),
        "sqlite3 inserts into 3 files",
        f"one run; floor: minimum of {RUNS}",
        note=rate,
    )


def _import(folder: Path) -> Figure:
    """A CSV of users with hashes, by the command itself, in one transaction and published."""
    settings, file = settings_under(folder / "d"), folder / "postmaster.toml"
    initialise(settings)
    file.write_text(as_toml(settings))
    table = folder / "users.csv"
    with table.open("w") as rows:
        rows.write("kind,domain,address,password,name,quota\ndomain,example.org,,,,\n")
        rows.writelines(f'user,,u{n}@example.org,"{HASH}",User {n},2G\n' for n in range(IMPORTED))
    program = (
        "import resource, sys; from postmaster.cli.main import main; status = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
    )
    words = ["--config", str(file), "directory", "import", str(table)]
    begun = time.perf_counter()
    done = subprocess.run([PYTHON, "-c", program, *words], check=True, capture_output=True, text=True)
    ours = 1000 * (time.perf_counter() - begun)
    floor = min(_plain_inserts(folder, IMPORTED, 3) for _ in range(RUNS))
    peak = int(done.stdout.split()[-1]) / 1024
    return Figure(
        f"directory import of {IMPORTED:,} users",
        *(ours, floor),
        "sqlite3 inserts into 3 files",
        f"one run; floor: minimum of {RUNS}",
        note=f"{ours / 1000:.1f} s; its peak {peak:.0f} MiB",
    )


def _rebuild(folder: Path) -> Figure:
    settings = settings_under(folder / "d")
    initialise(settings)
    with open_builder(settings) as make:
        make.fill("example.org", MANY)
    ours, floors = [], []
    for _ in range(RUNS):
        with open_directory(settings, command="bench") as directory:
            begun = time.perf_counter()
            directory.publish(rebuild=True)
            ours.append(1000 * (time.perf_counter() - begun))
        floors.append(_plain_inserts(folder, MANY, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Figure(
        f"publish --rebuild of {MANY:,} users",
        *(min(ours), min(floors)),
        "sqlite3 inserts into 2 files",
        f"minima of {RUNS} runs",
        note=f"{1000 * MANY / min(ours):,.0f} users/s; this process's peak {peak:.0f} MiB",
    )


def _one_by_one(folder: Path) -> Figure:
    settings, file = settings_under(folder / "d"), folder / "postmaster.toml"
    initialise(settings)
    file.write_text(as_toml(settings))
    with open_builder(settings) as make:
        make.domain("example.org")
    numbers = iter(range(PROCESSES + 1))

    def add() -> None:
        arguments = [POSTMASTER, "user", "add", f"u{next(numbers)}@example.org", "--password-stdin"]
        process(arguments, settings=file, stdin="a password to hash")()

    libraries = process([PYTHON, "-c", "import typer, sqlalchemy"])
    times = in_turn({"ours": add, "libraries": libraries}, PROCESSES)
    return compared(
        "postmaster user add, a process each",
        *(times["ours"], times["libraries"]),
        'python -c "import typer, sqlalchemy"',
    )
