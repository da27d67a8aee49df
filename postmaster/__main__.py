"""`python -m postmaster`."""

from postmaster.cli.main import run

run()
