"""PostmasterError and its children: each with a stable code and an exit status.

Every refusal that a user can meet is one of these. `code` is part of the contract with scripts
(`{"error": {"code", "message", "hint"}}`), so a code is added, never renamed. The message says
what and why in one line; the hint says what to do next. `detail`, where there is one, is shown below
it as lines of its own: the place of a mistake, what was found.
"""

from __future__ import annotations

from typing import ClassVar


class PostmasterError(Exception):
    """Something was refused or failed and nothing was changed (exit status 1)."""

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1
    #: Of `health`, whose exit status is the monitoring plugins': unknown.
    plugin_status: int = 3

    def __init__(self, message: str, *, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


class UsageError(PostmasterError):
    """The words of the command are wrong (exit status 2)."""

    code = "usage"
    exit_status = 2


class AddressError(UsageError):
    """Text that is no address, local part or domain we can use."""

    code = "invalid_address"


class SettingsError(UsageError):
    """The settings file, an environment variable or an option has a value we cannot use."""

    code = "invalid_settings"


class PasswordError(UsageError):
    """A password or hash that we do not store."""

    code = "invalid_password"


class ConfirmationError(UsageError):
    """An act that needs `--yes`, and nobody is there to be asked."""

    code = "not_confirmed"


class NotFoundError(PostmasterError):
    """What the command names is not there."""

    code = "not_found"


class ExistsError(PostmasterError):
    """What the command would make is there already."""

    code = "exists"


class InUseError(PostmasterError):
    """What the command would take away is still needed; the message names by whom."""

    code = "in_use"


class RuleError(PostmasterError):
    """A change that would break a rule of the directory: a loop, a target that does not exist."""

    code = "rule"


class ConflictError(PostmasterError):
    """What would be undone was changed since; the message names by what."""

    code = "conflict"


class DirectoryError(PostmasterError):
    """The truth is missing, outdated, locked or damaged."""

    code = "directory"


class ProcessError(PostmasterError):
    """A program that we started failed, was not found or did not end in time."""

    code = "process"


class ServerError(PostmasterError):
    """Postfix or Dovecot is not there, does not answer, or refused its configuration."""

    code = "server"


class RightsError(PostmasterError):
    """This user may not do it; the hint says which right is missing and how to get it."""

    code = "rights"


class PartialError(PostmasterError):
    """Done in part; the message says which part is left (exit status 3)."""

    code = "partial"
    exit_status = 3
