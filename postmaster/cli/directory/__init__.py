"""`postmaster directory`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

from postmaster.cli.lazy import lazy_app

app = lazy_app(
    __name__,
    "The directory as a whole.",
    example="postmaster directory check",
    commands={
        "check": ("check", "Look for faults in the whole directory."),
        "export": ("exchange", "Write the directory as CSV, JSON, YAML or TOML."),
        "import": ("exchange", "Take domains, users, aliases and more from a file."),
        "diff": ("document", "Compare the directory with its description in a file."),
        "apply": ("document", "Make the directory what a file says."),
        "backup": ("backup", "Copy the directory into one file, while others write."),
        "restore": ("backup", "Put a copy of the directory in force."),
        "copy": ("copy", "Move the directory to another database."),
    },
)
