"""Name servers on loopback: nsd with zones that tests change, unbound that validates, one that is mute."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.tools.acting import until

ADDRESS = "127.0.0.1"
_HEAD = "$TTL 60\n@ IN SOA ns.test. admin.test. {serial} 60 60 60 60\n@ IN NS ns.test.\n"


class NameServer:
    """nsd with some zones, each as the text below its SOA and NS records, or as a `signed` whole.

    A zone whose text is `!` cannot be loaded: asked for it, nsd fails.
    """

    def __init__(self, folder: Path, zones: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = _free_port()
        self.zones = dict(zones)
        self._serial = 0
        self._write()
        config = folder / "nsd.conf"
        known = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n' for zone in self.zones)
        config.write_text(
            f"server:\n  ip-address: {ADDRESS}@{self.port}\n  username: root\n  zonesdir: {folder}\n"
            f"  pidfile: {folder}/nsd.pid\n  logfile: {folder}/nsd.log\n  server-count: 1\n"
            f'  database: ""\n  xfrdfile: {folder}/xfrd\n  zonelistfile: {folder}/zones\n  xfrdir: {folder}\n'
            f"remote-control:\n  control-enable: no\n{known}"
        )
        self._process = subprocess.Popen(["nsd", "-d", "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            until(self._is_current)
        except BaseException:
            self.close()
            raise

    @property
    def resolver(self) -> str:
        return f"{ADDRESS}@{self.port}"

    @contextmanager
    def changed(self, zone: str, text: str) -> Iterator[None]:
        """Another text for a zone meanwhile."""
        before = self.zones[zone]
        self.set(zone, text)
        try:
            yield
        finally:
            self.set(zone, before)

    def set(self, zone: str, text: str) -> None:
        self.zones[zone] = text
        self._write()
        self._process.send_signal(signal.SIGHUP)
        until(self._is_current)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _write(self) -> None:
        self._serial += 1
        for zone, text in {**self.zones, "serial.invalid": ""}.items():
            path = self.folder / f"{zone}.zone"
            new = path.with_suffix(".new")
            is_whole = text == "!" or text.startswith("$ORIGIN")
            new.write_text(text if is_whole else _HEAD.format(serial=self._serial) + text)
            moment = time.time() - 1000 + self._serial  # nsd reads what has another date
            os.utime(new, (moment, moment))
            new.rename(path)
        self.zones.setdefault("serial.invalid", "")

    def _is_current(self) -> bool:
        """Whether it answers with the zones as they were written last."""
        try:
            question = dns.message.make_query("serial.invalid.", "SOA")
            answer = dns.query.udp(question, ADDRESS, port=self.port, timeout=0.5)
            return bool(answer.answer) and answer.answer[0][0].serial == self._serial
        except (OSError, dns.exception.DNSException):
            return False


class Validator:
    """unbound: it asks other servers for some zones, and vouches for those whose keys it is given."""

    def __init__(self, folder: Path, zones: Mapping[str, str], trusted: Sequence[str]) -> None:
        """`zones`: zone -> the server to ask, `ADDRESS@PORT`; `trusted`: DNSKEY records."""
        self.port = _free_port()
        config = folder / "unbound.conf"
        stubs = "".join(f'stub-zone:\n  name: "{zone}"\n  stub-addr: {at}\n' for zone, at in zones.items())
        anchors = "".join(f'  trust-anchor: "{one}"\n' for one in trusted)
        config.write_text(
            f"server:\n  interface: {ADDRESS}\n  port: {self.port}\n  do-daemonize: no\n"
            f'  username: ""\n  chroot: ""\n  directory: "{folder}"\n  pidfile: "{folder}/unbound.pid"\n'
            f'  use-syslog: no\n  logfile: "{folder}/unbound.log"\n  do-not-query-localhost: no\n'
            "  cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  val-bogus-ttl: 0\n"
            '  module-config: "validator iterator"\n'
            # RFC 6761: it answers for these itself unless told otherwise.
            '  local-zone: "test." nodefault\n'
            + "".join(f'  local-zone: "{z}." nodefault\n' for z in zones if z.endswith(".arpa"))
            + f"{anchors}remote-control:\n  control-enable: no\n{stubs}"
        )
        self._config = config
        self._start()

    @property
    def resolver(self) -> str:
        return f"{ADDRESS}@{self.port}"

    def restart(self) -> None:
        """Forget everything, keys that were found wrong too, which it remembers for a minute."""
        self.close()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            ["unbound", "-d", "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            question = dns.message.make_query("localhost.", "A")  # which it knows by itself
            return bool(dns.query.udp(question, ADDRESS, port=self.port, timeout=0.5).answer)
        except (OSError, dns.exception.DNSException):
            return False


class Signer:
    """A key that signs zones."""

    def __init__(self) -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        self._record = dns.dnssec.make_dnskey(
            self._key.public_key(), "ED25519", 257
        )  # a zone's key, and its entry

    def anchor(self, zone: str) -> str:
        return f"{zone}. DNSKEY {self._record.to_text()}"

    def signed(self, zone: str, text: str) -> str:
        """A whole zone with signatures of today."""
        made = dns.zone.from_text(_HEAD.format(serial=1) + text, zone + ".", relativize=False)
        dns.dnssec.sign_zone(
            made, keys=[(self._key, self._record)], inception=time.time() - 3600, lifetime=86400
        )
        return f"$ORIGIN {zone}.\n{made.to_text(relativize=False)}\n"


def _free_port() -> int:
    """One that is free for UDP and for TCP: name servers want both, and end without either."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
            one.bind((ADDRESS, 0))
            port = int(one.getsockname()[1])
            with suppress(OSError):
                other.bind((ADDRESS, port))
                return port


@contextmanager
def silence() -> Iterator[str]:
    """A name server that takes questions and says nothing, as a resolver is named."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((ADDRESS, 0))
        yield f"{ADDRESS}@{one.getsockname()[1]}"
