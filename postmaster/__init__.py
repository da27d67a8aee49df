"""postmaster: the one command with which the person in charge of a mail server does the whole job."""

__version__ = "0.1.0"
