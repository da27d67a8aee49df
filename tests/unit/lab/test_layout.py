"""Where a lab may be, and its ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from postmaster.errors import ServerError
from postmaster.lab.layout import Layout, check_path, is_free, pick_ports, settings_for
from postmaster.settings import as_toml, load_settings


def test_every_port_is_another_one_and_free() -> None:
    names = tuple("abcdefgh")
    ports = pick_ports(names)
    assert set(ports) == set(names)
    assert len(set(ports.values())) == len(names)
    assert all(is_free(port) for port in ports.values())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not is_free(taken.getsockname()[1])


def test_settings_keep_everything_below_the_folder(tmp_path: Path) -> None:
    layout = Layout(Path("/srv/lab"))
    names = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "lmtp")
    settings = settings_for(layout, {name: 1000 + at for at, name in enumerate(names)})
    (tmp_path / "lab.toml").write_text(as_toml(settings))
    read = load_settings(tmp_path / "lab.toml", {})
    paths = [
        *(read.state.directory, read.lookups.directory, read.mail.root, read.postfix.config_directory),
        *(read.dovecot.config, *read.log.files, Path(read.directory.url.removeprefix("sqlite:///"))),
    ]
    assert all(path.is_relative_to("/srv/lab") for path in paths)
    assert read.server.lmtp_port == 1007


@pytest.mark.parametrize("bad", ["/srv/" + "x" * 90, "/srv/a b", "/srv/a:b", "/srv/a\nb", "/srv/$a"])
def test_a_path_that_servers_cannot_use_is_refused(bad: str) -> None:
    with pytest.raises(ServerError):
        check_path(Path(bad))
