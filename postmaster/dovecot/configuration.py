"""What Dovecot 2.3 and 2.4 need to serve the directory, as the text of the files that are ours.

Two files are included by the server's own dovecot.conf, so nothing of the administrator's is taken
out. `postmaster-auth.conf` comes first: our passdb and userdb are asked before any other, and a login
they do not know ends there (`result_failure=return-fail`), unless system accounts may log in. App passwords
have a passdb of their own, which is asked first: it is a look-up by the password's digest and costs no hash.
`postmaster.conf` comes last, as the last value of a setting counts.

The servers' queries read views of `dovecot.db` as user dovecot; its auth workers run as that user, since
as root they could write, and remove the side files when they close. There is no auth cache: a changed
right holds at the very next login.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postmaster.address import AUTH_USERNAME_CHARS
from postmaster.errors import ServerError
from postmaster.served import Database
from postmaster.settings import ServerSettings

SCHEMA = "dovecot"  # of the views in PostgreSQL
AUTH_FILE = "postmaster-auth.conf"
MAIN_FILE = "postmaster.conf"
SQL_FILE = "postmaster-sql.conf.ext"  # 2.3 only
APP_SQL_FILE = "postmaster-app-sql.conf.ext"  # 2.3 only

#: Each worker may hold one argon2id computation: 19 MiB for ours, up to 256 MiB for imported hashes.
AUTH_WORKERS = 8
AUTH_WORKER_MEMORY = "512M"

#: In each mail folder, what the last_login plugin writes: for each protocol and app password, when.
LAST_LOGIN_FILE = ".last-login"
LAST_LOGIN_KEY = "last-login"

_BANNER = "# Written by postmaster; the next `postmaster setup apply` writes it again.\n"


@dataclass(frozen=True, slots=True)
class Wish:
    """What differs from one server to the next."""

    version: tuple[int, int]
    config: Path  # the server's dovecot.conf
    source: Path | Database  # dovecot.db, or the PostgreSQL that has its views
    queue_directory: Path  # Postfix's, where the sockets go
    server: ServerSettings
    mail_root: Path
    mail_user: str
    mail_group: str
    mail_uid: int
    certificate: Path
    key: Path
    postmaster: str
    hostname: str
    keep_system_logins: bool = False
    postfix_user: str = "postfix"


def files(wish: Wish) -> dict[Path, str]:
    """Path -> content of each file that is ours. Raises ServerError for an unsupported version."""
    for path in (wish.source, wish.queue_directory, wish.mail_root, wish.certificate, wish.key):
        if isinstance(path, Path):
            _check_path(path)
    folder = wish.config.parent
    if wish.version == (2, 3):
        return {
            folder / SQL_FILE: _sql_23(wish),
            folder / APP_SQL_FILE: _app_sql_23(wish),
            folder / AUTH_FILE: _auth_23(wish),
            folder / MAIN_FILE: _main_23(wish),
        }
    if wish.version == (2, 4):
        return {folder / AUTH_FILE: _auth_24(wish), folder / MAIN_FILE: _main_24(wish)}
    raise ServerError(f"Dovecot {'.'.join(map(str, wish.version))} is not supported", hint="2.3 and 2.4 are")


def with_includes(text: str, folder: Path) -> str:
    """dovecot.conf with our files included: ours for authentication at the top, the rest at the end."""
    first, last = f"!include {folder / AUTH_FILE}", f"!include {folder / MAIN_FILE}"
    lines = [line for line in text.splitlines() if line.strip() not in (first, last)]
    at = 0
    for number, line in enumerate(lines):
        # 2.4 wants its version settings before anything else.
        if line.strip().startswith(("dovecot_config_version", "dovecot_storage_version")):
            at = number + 1
    return "\n".join([*lines[:at], first, *lines[at:], last]) + "\n"


def _failure(wish: Wish) -> str:
    return "continue" if wish.keep_system_logins else "return-fail"


def _sql_23(wish: Wish) -> str:
    return (
        _BANNER
        + f"""\
{_connect_23(wish)}\
password_query = {_pass_query(wish, "%u", "%s")}
user_query = {_user_query(wish, "%u", "%s", "'*:bytes=' || quota_bytes AS quota_rule")}
iterate_query = SELECT login AS user FROM {_view(wish, "user_list")} WHERE login > ''
"""
    )


def _app_sql_23(wish: Wish) -> str:
    query = _app_query(wish, "%u", "%s", "%{sha256:password}")
    return f"{_BANNER}{_connect_23(wish)}password_query = {query}\n"


def _connect_23(wish: Wish) -> str:
    if isinstance(wish.source, Path):
        return f"driver = sqlite\nconnect = {wish.source}\n"
    source = wish.source
    # One connection whose hosts libpq tries in turn. Of several that Dovecot itself chooses from
    # (sql-db-pool) none is used before 2.3.21 while the first is away: auth crashes as it starts.
    words = [
        f"host={','.join(host for host, _ in source.hosts)}",
        f"port={','.join(str(port) for _, port in source.hosts)}",
        f"dbname={source.name}",
        f"user={source.user}",
    ]
    if source.password:
        words.append(f"password={source.password}")
    words += [f"{name}={value}" for name, value in source.options]
    return f"driver = pgsql\nconnect = {' '.join(words)}\n"


def _connect_24(wish: Wish) -> str:
    if isinstance(wish.source, Path):
        return f"sql_driver = sqlite\nsqlite_path = {wish.source}\nsqlite_readonly = yes\n"
    source = wish.source
    more = (("password", source.password),) if source.password else ()
    options = "".join(f"    {name} = {value}\n" for name, value in (*more, *source.options))
    blocks = "".join(
        f"pgsql {host} {{\n  parameters {{\n    port = {port}\n    dbname = {source.name}\n"
        f"    user = {source.user}\n{options}  }}\n}}\n"
        for host, port in source.hosts
    )
    return f"sql_driver = pgsql\n{blocks}"


def _view(wish: Wish, name: str) -> str:
    return name if isinstance(wish.source, Path) else f"{SCHEMA}.{name}"


def _pass_query(wish: Wish, user: str, service: str) -> str:
    return (
        f"SELECT login AS user, password FROM {_view(wish, 'passdb')}"
        f" WHERE login = '{user}' AND service = '{service}'"
    )


def _app_query(wish: Wish, user: str, service: str, digest: str) -> str:
    return (
        "SELECT login AS user, NULL AS password, 'Y' AS nopassword, name AS userdb_app_password"
        f" FROM {_view(wish, 'app_passdb')}"
        f" WHERE sha256 = '{digest}' AND login = '{user}' AND service = '{service}'"
    )


def _user_query(wish: Wish, user: str, service: str, quota: str) -> str:
    root = str(wish.mail_root).replace("'", "''").replace("%", "%%")
    return (
        f"SELECT '{root}/' || mail_id AS home, '{wish.mail_user}' AS uid, '{wish.mail_group}' AS gid"
        f", {quota}, CASE redirects WHEN 0 THEN 0 END AS sieve_max_redirects"
        f" FROM {_view(wish, 'userdb')} WHERE login = '{user}' AND (receive = 1 OR '{service}' <> 'lmtp')"
    )


def _auth_23(wish: Wish) -> str:
    sql = wish.config.parent / SQL_FILE
    return (
        _BANNER
        + f"""\
passdb {{
  driver = sql
  args = {wish.config.parent / APP_SQL_FILE}
  result_failure = continue
  result_internalfail = return-fail
}}
passdb {{
  driver = sql
  args = {sql}
  result_failure = {_failure(wish)}
  result_internalfail = return-fail
}}
userdb {{
  driver = sql
  args = {sql}
  result_failure = {_failure(wish)}
  result_internalfail = return-fail
}}
"""
    )


def _services(wish: Wish, address: str, restart: str) -> str:
    """Listeners and sockets; `address` and `restart` are what the version calls these settings."""
    server = wish.server
    blocks = []
    for service, plain, secure in (
        ("imap-login", ("imap", server.imap_port), ("imaps", server.imaps_port)),
        ("pop3-login", ("pop3", server.pop3_port), ("pop3s", server.pop3s_port)),
    ):
        listeners = "".join(
            f"  inet_listener {name} {{\n    port = {port}\n{'    ssl = yes' + chr(10) if tls else ''}  }}\n"
            for (name, port), tls in ((plain, False), (secure, True))
        )
        blocks.append(f"service {service} {{\n{listeners}}}\n")
    lmtp_port = (
        f"  inet_listener lmtp {{\n    {address} = 127.0.0.1\n    port = {server.lmtp_port}\n  }}\n"
        if server.lmtp_port
        else ""
    )
    sieve_port = (
        f"service managesieve-login {{\n  inet_listener sieve {{\n    port = {server.sieve_port}\n  }}\n}}\n"
    )
    owner = f"    mode = 0600\n    user = {wish.postfix_user}\n    group = {wish.postfix_user}\n"
    return (
        "".join(blocks)
        + sieve_port
        + f"service lmtp {{\n  unix_listener {wish.queue_directory}/private/dovecot-lmtp {{\n{owner}  }}\n"
        + f"{lmtp_port}}}\n"
        + f"service auth {{\n  unix_listener {wish.queue_directory}/private/auth {{\n{owner}  }}\n}}\n"
        + "service auth-worker {\n"
        + f"  user = dovecot\n  process_limit = {AUTH_WORKERS}\n  vsz_limit = {AUTH_WORKER_MEMORY}\n}}\n"
    )


def _main_23(wish: Wish) -> str:
    protocols = "imap pop3 lmtp" + (" sieve" if wish.server.sieve_port else "")
    postmaster = f"postmaster_address = {wish.postmaster}\n" if wish.postmaster else ""
    hostname = f"hostname = {wish.hostname}\n" if wish.hostname else ""
    return (
        _BANNER
        + f"""\
protocols = {protocols}
auth_mechanisms = plain login
auth_username_chars = "{AUTH_USERNAME_CHARS}"
auth_username_format = %Lu
auth_cache_size = 0
auth_worker_max_count = {AUTH_WORKERS}
disable_plaintext_auth = yes
ssl = required
ssl_min_protocol = TLSv1.2
ssl_cert = <{wish.certificate}
ssl_key = <{wish.key}
mail_location = maildir:~/Maildir
mail_privileged_group =
first_valid_uid = {min(wish.mail_uid, 500)}
mail_plugins = $mail_plugins quota
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
quota_full_tempfail = no
{postmaster}{hostname}protocol imap {{
  mail_plugins = $mail_plugins imap_quota last_login
}}
protocol pop3 {{
  mail_plugins = $mail_plugins last_login
}}
protocol lmtp {{
  mail_plugins = $mail_plugins sieve
}}
plugin {{
  last_login_dict = file:%h/{LAST_LOGIN_FILE}
  last_login_key = {LAST_LOGIN_KEY}/%s/%{{userdb:app_password}}
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 10%%
  sieve = file:~/sieve;active=~/.dovecot.sieve
  sieve_redirect_envelope_from = recipient
}}
"""
        + _services(wish, "address", "service_count")
    )


def _auth_24(wish: Wish) -> str:
    login = "%{user | lower}"
    # Grace as a share of the limit: 2.4 knows only a size, and its 10 MB would make a small quota none.
    quota = "quota_bytes || 'B' AS quota_storage_size, quota_bytes / 10 || 'B' AS quota_storage_grace"
    user_query = _user_query(wish, login, "%{protocol}", quota)
    return (
        _BANNER
        + f"""\
{_connect_24(wish)}\
passdb app_passwords {{
  driver = sql
  sql_query = {_app_query(wish, login, "%{protocol}", "%{password | sha256 | hexlify}")}
  result_failure = continue
  result_internalfail = return-fail
}}
passdb sql {{
  query = {_pass_query(wish, login, "%{protocol}")}
  result_failure = {_failure(wish)}
  result_internalfail = return-fail
}}
userdb sql {{
  query = {user_query}
  iterate_query = SELECT login AS user FROM {_view(wish, "user_list")} WHERE login > ''
  result_failure = {_failure(wish)}
  result_internalfail = return-fail
}}
"""
    )


def _main_24(wish: Wish) -> str:
    sieve = "  sieve = yes\n" if wish.server.sieve_port else ""
    postmaster = f"postmaster_address = {wish.postmaster}\n" if wish.postmaster else ""
    hostname = f"hostname = {wish.hostname}\n" if wish.hostname else ""
    return (
        _BANNER
        + f"""\
protocols {{
  imap = yes
  pop3 = yes
  lmtp = yes
{sieve}}}
auth_mechanisms = plain login
auth_username_chars = "{AUTH_USERNAME_CHARS}"
auth_username_format = %{{user | lower}}
auth_cache_size = 0
auth_allow_cleartext = no
ssl = required
ssl_min_protocol = TLSv1.2
ssl_server_cert_file = {wish.certificate}
ssl_server_key_file = {wish.key}
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = .
first_valid_uid = {min(wish.mail_uid, 500)}
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
quota_full_tempfail = no
{postmaster}{hostname}mail_plugins {{
  quota = yes
}}
protocol imap {{
  mail_plugins {{
    imap_quota = yes
    last_login = yes
  }}
}}
protocol pop3 {{
  mail_plugins {{
    last_login = yes
  }}
}}
protocol lmtp {{
  mail_plugins {{
    sieve = yes
  }}
}}
last_login {{
  dict file {{
    path = %{{home}}/{LAST_LOGIN_FILE}
  }}
}}
last_login_key = {LAST_LOGIN_KEY}/%{{protocol}}/%{{userdb:app_password}}
quota "User quota" {{
}}
sieve_redirect_envelope_from = recipient
sieve_script personal {{
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}}
"""
        + _services(wish, "listen", "restart_request_count")
    )


def _check_path(path: Path) -> None:
    if not str(path).isprintable() or any(c in str(path) for c in "'\"\\{}#$ "):
        raise ServerError(
            f"Dovecot's configuration cannot name the path {str(path)!r}",
            hint="use a path without spaces, quotes, braces, # and $",
        )
