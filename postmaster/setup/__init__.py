"""Wiring the directory into a mail server: show, diff, apply, check, revert.

`plan.py` says what should be and what is, `backup.py` keeps what was, `apply.py` puts it in force
and takes it back, `prove.py` tries the running servers, `check.py` compares them with the directory.
"""
