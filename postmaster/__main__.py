"""The program: the console script, and `python -m postmaster`.

Nothing is loaded here, so that from the first moment on Ctrl-C ends it without a word of Python's.
"""

from __future__ import annotations

import signal


def run() -> None:
    """Run the command line. Until that is loaded nothing is done, and an interruption just ends it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from postmaster.cli.main import run as run_command

    run_command()


if __name__ == "__main__":
    run()
