"""`make demo`: an account's whole life on a real Postfix and Dovecot, in a folder that is gone afterwards.

Prints each command as a person would type it, and what it really said. It checks itself: the exit status
is 1 when anything is not as it should be. Without root, or without the servers, it shows what needs none
and says what it left out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from postmaster.lab import lifecycle
from postmaster.settings import as_toml
from tests.tools.building import settings_under
from tests.tools.machine import missing_for_servers
from tests.tools.mail import PASSWORD, Lab
from tests.tools.sink import listening

COMMAND = Path(sys.executable).with_name("postmaster")
PATIENCE = 20.0  # seconds until something has to have happened
COMMAND_SECONDS = 60.0
AMY, BOB, TEAM = "amy@example.org", "bob@example.org", "team@example.org"
FRIEND, AWAY = "friend@down.example", "bob@elsewhere.example"


class WrongError(Exception):
    """Something is not as it should be."""


def check(is_so: bool, what: str) -> None:
    if not is_so:
        raise WrongError(what)


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    say(f"\n# {text}")


def until(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + PATIENCE
    while not is_so():
        check(time.monotonic() < ends, f"waited {PATIENCE:.0f} s in vain: {what}")
        time.sleep(0.2)


class Shell:
    """Runs the real command and shows it."""

    def __init__(self) -> None:
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTMASTER_")}

    def use(self, settings: Path) -> None:
        self.environment["POSTMASTER_CONFIG"] = str(settings)
        say(f"$ export POSTMASTER_CONFIG={shlex.quote(str(settings))}")

    def __call__(self, *arguments: str, stdin: str = "", expect: int = 0, quiet: bool = False) -> str:
        typed = shlex.join(("postmaster", *arguments))
        if not quiet:
            say(f"$ {f'printf %s {shlex.quote(stdin)} | ' if stdin else ''}{typed}")
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if not quiet or done.returncode != expect:
            say(done.stdout.rstrip() or "(nothing)")
        check(done.returncode == expect, f"{typed} ended with {done.returncode}, not {expect}")
        return done.stdout


def accounts(shell: Shell) -> str:
    """A domain, two users, an alias, a forward and a mistake. Gives back Amy's generated password."""
    title("A domain, two users, an alias for both, and mail of one that is also sent on")
    shell("domain", "add", "example.org")
    made = shell("user", "add", AMY, "--name", "Amy Ash", "--quota", "2G", "--generate")
    password = next((line.split()[1] for line in made.splitlines() if line.startswith("password ")), "")
    check(len(password) >= 8, "a password was generated")
    shell("user", "add", BOB, "--password-stdin", stdin=PASSWORD)
    shell("alias", "set", TEAM, AMY, BOB)
    shell("forward", "set", BOB, AWAY, "--keep-copy")
    title("A mistake is refused in one line, and nothing changes")
    refused = shell("alias", "set", "info@example.org", "nobody@example.org", expect=1)
    check(refused.count("\n") == 1 and "nobody@example.org" in refused, "the refusal names what is wrong")
    title("What there is, for people and for programs")
    listed = shell("user", "list")
    check(AMY in listed and BOB in listed, "both users are listed")
    shown = shell("user", "show", BOB)
    check(AWAY in shown, "the user is shown with the forward")
    exported = shell("user", "list", "--domain", "example.org", "-o", "csv")
    check(exported.count("\n") == 3, "the CSV has a heading and two users")
    check(f'"{TEAM}"' in shell("alias", "list", "-o", "json"), "the JSON has the alias")
    return password


def mail(lab: Lab, password: str) -> None:
    """Real messages in, read back by IMAP, and one sent on to the outside."""
    title("A stranger writes to the team by SMTP; Bob's copy also goes to a server outside")
    with listening(lab.status.outbound_port) as outside:
        with lab.smtp() as client:
            client.mail("ann@outside.example")
            code, text = client.rcpt("nobody@example.org")
            say(f"> RCPT TO:<nobody@example.org>\n< {code} {text.decode('ascii', 'replace')}")
            check(code == 550, "an unknown address is refused with 550")
        lab.send(TEAM, "Lunch", sender="ann@outside.example", body="At noon?")
        say(f"> a message from ann@outside.example to {TEAM}: accepted")
        (message,) = lab.wait_for(AMY, "Lunch", password)
        lab.wait_for(BOB, "Lunch", PASSWORD)
        outside.wait_for(AWAY)
    say(f"Both mailboxes have it, and {AWAY} got the copy.")
    title("Amy's mailbox, read by IMAP")
    for key in ("From", "To", "Date", "Subject"):
        say(f"{key}: {message[key]}")
    say(f"\n{message.get_payload()!s}".rstrip())
    check("At noon?" in str(message.get_payload()), "the mailbox has the message as it was sent")


def queue(shell: Shell, lab: Lab, password: str) -> None:
    """A message to a destination that is down: deferred with its reason, then flushed."""
    title(f"Amy sends to {FRIEND} by submission; that server is down")
    text = f"From: {AMY}\r\nTo: {FRIEND}\r\nSubject: Hello\r\n\r\nAre you there?\r\n"
    with lab.submission(AMY, password) as client:
        client.sendmail(AMY, [FRIEND], text)
        try:
            client.sendmail(BOB, [FRIEND], text)
        except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused) as error:
            say(f"> as {AMY}: MAIL FROM:<{BOB}>\n< {error}")
        else:
            raise WrongError("Amy may send as Bob")
    until(lambda: "refused" in shell("queue", "list", quiet=True), "the message is deferred with a reason")
    listed = shell("queue", "list")
    check("deferred" in listed and FRIEND in listed, "the queue shows the message as deferred")
    shell("queue", "show", listed.splitlines()[1].split()[0])
    title("The server is up again: try now")
    with listening(lab.status.outbound_port) as outside:
        shell("queue", "flush", "--all")
        outside.wait_for(FRIEND)
        until(lambda: shell("queue", "list", "-o", "json", quiet=True) == "[]\n", "the queue is empty")
    say(f"{FRIEND} got it.")
    shell("queue", "list")


def health(shell: Shell) -> None:
    title("Does mail work, and do the servers answer what the directory says?")
    # Not the machine: how busy it is says nothing about mail.
    # Two warnings: nobody reads postmaster@example.org, and what Bob's forward sends on fails SPF elsewhere.
    report = shell("health", "check", "--all", "--skip", "machine", expect=1).splitlines()
    warnings = [line for line in report if line.startswith(("warning", "critical", "unknown"))]
    sound = [line for line in warnings if " soundness " in line]
    check(len(sound) == len(warnings) == 2, "all is well but for two warnings about the directory")
    listeners = [line for line in report if " services " in line and " answers after " in line]
    check(len(listeners) == 8, "all eight listeners answer")
    check("0 findings" in shell("setup", "check"), "the servers answer what the directory says")


def with_servers(place: Path, shell: Shell) -> None:
    lab_folder = place / "lab"
    title("A private Postfix and Dovecot in a folder of their own")
    try:
        shell("lab", "start", str(lab_folder))
        lab = Lab(lifecycle.status(lab_folder))
        shell.use(lab.status.settings_file)
        password = accounts(shell)
        mail(lab, password)
        queue(shell, lab, password)
        health(shell)
    except BaseException:
        with undisturbed():
            take_away(lab_folder)
        raise
    with undisturbed():
        title("Take the lab away")
        shell("lab", "remove", str(lab_folder), "--yes")
        check(not lab_folder.exists(), "the lab's folder is gone")


def take_away(lab_folder: Path) -> None:
    """Whatever state it is in, after an error or Ctrl-C."""
    if (lab_folder / "lab.json").exists():
        say("\n(taking the lab away)")
        until(lambda: _removed(lab_folder), "the lab is removed")


def _removed(lab_folder: Path) -> bool:
    """A command of ours that got the same Ctrl-C may hold the lab for a moment longer."""
    try:
        lifecycle.remove(lab_folder)
    except Exception as error:
        say(f"({error})")
        return False
    return True


def without_servers(place: Path, shell: Shell) -> None:
    settings = place / "postmaster.toml"
    settings.write_text(as_toml(settings_under(place / "directory")))
    title("A directory in a folder of its own")
    shell.use(settings)
    shell("init")
    accounts(shell)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever presses Ctrl-C twice still wants nothing left over."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    begun = time.monotonic()
    left_out = missing_for_servers()
    place = Path(tempfile.mkdtemp(prefix="postmaster-demo-"))
    place.chmod(0o755)  # the servers' users pass through
    try:
        (without_servers if left_out else with_servers)(place, Shell())
    except KeyboardInterrupt:
        say("\ndemo: interrupted")
        return 130
    except (WrongError, AssertionError, OSError, smtplib.SMTPException, subprocess.SubprocessError) as error:
        say(f"\ndemo: FAILED: {error}")
        return 1
    finally:
        with undisturbed():
            shutil.rmtree(place, ignore_errors=True)
    say(f"\ndemo: all is as it should be, after {time.monotonic() - begun:.1f} s")
    if left_out:
        say(f"demo: left out: real mail, the queue, health and setup check, as {left_out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
