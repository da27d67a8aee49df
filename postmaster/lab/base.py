"""The base configuration of a lab, before setup wires the directory into it.

As small as what a fresh Debian brings, with every path inside the lab. No daemon is chrooted, no name
server is asked, and mail for elsewhere goes to the lab's outbound port, where nobody listens unless
someone wants to see it.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path

from postmaster.files import make_folder, replace
from postmaster.lab.layout import ADDRESS, DOMAIN, Layout

_MASTER = """\
{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def write(layout: Layout, ports: dict[str, int], dovecot_version: tuple[int, int]) -> None:
    """Write main.cf, master.cf and dovecot.conf, and make the folders that the servers need."""
    import pwd

    postfix = pwd.getpwnam("postfix")
    for folder, mode in (
        (layout.postfix, 0o755),
        (layout.spool, 0o755),
        (layout.dovecot, 0o755),
        (layout.log, 0o755),
    ):
        make_folder(folder, mode)
    make_folder(layout.data, 0o700)
    os.chown(layout.data, postfix.pw_uid, postfix.pw_gid)
    replace(layout.postfix / "main.cf", _main(layout, ports["outbound"]).encode(), 0o644)
    replace(layout.postfix / "master.cf", _MASTER.format(smtp=ports["smtp"]).encode(), 0o644)
    replace(layout.dovecot_config, _dovecot(layout, ports["smtp"], dovecot_version).encode(), 0o644)


def settle(layout: Layout) -> None:
    """Date main.cf back: Postfix waits until a changed one is two seconds old (`load_file.c`).

    It does so lest it read a file that is being written; nobody else writes a lab's.
    """
    then = time.time() - 10
    os.utime(layout.postfix / "main.cf", (then, then))


def _main(layout: Layout, outbound: int) -> str:
    return f"""\
# A lab's base configuration; postmaster setup adds its own.
compatibility_level = 3.6
queue_directory = {layout.spool}
data_directory = {layout.data}
maillog_file = {layout.log}/mail.log
maillog_file_prefixes = {layout.root}
syslog_name = postfix
myhostname = mail.{DOMAIN}
mydestination =
alias_maps =
alias_database =
inet_interfaces = {ADDRESS}
inet_protocols = ipv4
smtpd_peername_lookup = no
relayhost = [{ADDRESS}]:{outbound}
smtp_bind_address = {ADDRESS}
biff = no
# Else what comes in faster than it leaves waits a second each.
in_flow_delay = 0
"""


def _dovecot(layout: Layout, smtp: int, version: tuple[int, int]) -> str:
    number = ".".join(map(str, version))
    first = (
        f"dovecot_config_version = {number}.0\ndovecot_storage_version = {number}.0\n"
        if version >= (2, 4)
        else ""
    )
    return (
        first
        + f"""\
# A lab's base configuration; postmaster setup adds its own.
base_dir = {layout.dovecot}/run
state_dir = {layout.dovecot}/state
log_path = {layout.log}/dovecot.log
instance_name = postmaster-lab
listen = {ADDRESS}
# Nobody guesses passwords here, and who mistypes one need not wait.
auth_failure_delay = 0
# What Sieve sends goes through this lab, not through the system's sendmail.
submission_host = {ADDRESS}:{smtp}
"""
    )


def make_certificate(layout: Layout) -> None:
    """A self-signed certificate for the lab's names, good for ten years."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mail.{DOMAIN}")])
    now = datetime.datetime.now(datetime.UTC)
    import ipaddress

    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName(f"mail.{DOMAIN}"),
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address(ADDRESS)),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace(layout.key, private, 0o600)
    replace(layout.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def read_marker(layout: Layout) -> dict[str, int] | None:
    """The lab's ports, None where the folder is no lab."""
    try:
        content = json.loads(layout.marker.read_text())
    except (OSError, ValueError):
        return None
    ports = content.get("ports") if isinstance(content, dict) else None
    if not isinstance(ports, dict) or not all(isinstance(port, int) for port in ports.values()):
        return None
    return ports


def write_marker(path: Path, ports: dict[str, int]) -> None:
    replace(path, json.dumps({"ports": ports}, indent=1).encode(), 0o644)
