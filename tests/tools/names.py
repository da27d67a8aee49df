"""A real name server on loopback (nsd), whose zones tests write and change; and one that says nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.tools.acting import until

ADDRESS = "127.0.0.1"
_HEAD = "$TTL 60\n@ IN SOA ns.test. admin.test. {serial} 60 60 60 60\n@ IN NS ns.test.\n"


class NameServer:
    """nsd with some zones. A zone whose text is `!` cannot be loaded: asked for it, nsd fails."""

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
        until(self._is_current)

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
            new.write_text("(" if text == "!" else _HEAD.format(serial=self._serial) + text)
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


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((ADDRESS, 0))
        return int(one.getsockname()[1])


@contextmanager
def silence() -> Iterator[str]:
    """A name server that takes questions and says nothing, as a resolver is named."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((ADDRESS, 0))
        yield f"{ADDRESS}@{one.getsockname()[1]}"
