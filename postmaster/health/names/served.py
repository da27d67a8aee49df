"""What a server shows: a certificate, compared with TLSA records; an MTA-STS policy.

RFC 6698 and 7672 for TLSA, RFC 8461 3.3 for the policy. It is fetched from the addresses that are given,
with the name in the handshake, so no other resolver has a say.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

from postmaster.health.certificate import as_clients_do
from postmaster.health.names.records import POLICY_LONGEST, Malformed, Policy, parse_policy
from postmaster.process import shared

SHARE = 0.3  # of the time that is left


def matches(records: Iterable[Any], shown: bytes) -> bool | None:
    """Whether a certificate fits TLSA records; None where only the chain behind it could tell.

    Only DANE-EE (3) and DANE-TA (2) count for SMTP (RFC 7672 3.1.3).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(shown).public_key()
    selected = {0: shown, 1: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}
    is_open = False
    for one in records:
        if one.usage == 2:
            is_open = True
        elif one.usage == 3 and one.selector in selected:
            data = selected[one.selector]
            hashed = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}
            if hashed.get(one.mtype) == one.cert:
                return True
    return None if is_open else False


class _Pinned(http.client.HTTPSConnection):
    """A connection to a name at an address that was found already."""

    def __init__(self, name: str, address: str, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(name, timeout=timeout, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@shared
def policy(domain: str, addresses: tuple[str, ...], ends: float) -> Policy | Malformed | OSError:
    """A domain's MTA-STS policy, or why a sender gets none, in a share of the time until `ends`."""
    try:
        return parse_policy(_page(domain, addresses, max(0.01, (ends - time.monotonic()) * SHARE)))
    except (Malformed, OSError) as error:
        return error.with_traceback(None)  # which would keep all that it went through


def _page(domain: str, addresses: Sequence[str], timeout: float) -> bytes:
    """The text of its page. Raises Malformed for what a sender would not take, OSError."""
    name = f"mta-sts.{domain}"
    context = as_clients_do()
    trouble: OSError = OSError("it has no address")
    for address in addresses[:2]:
        connection = _Pinned(name, address, timeout / 2, context)
        try:
            connection.request("GET", "/.well-known/mta-sts.txt", headers={"User-Agent": "postmaster"})
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise Malformed(f"https://{name}/.well-known/mta-sts.txt answers {answer.status}")
                return answer.read(POLICY_LONGEST + 1)
        except ssl.SSLCertVerificationError as error:
            raise Malformed(
                f"the certificate of https://{name} is not valid: {error.verify_message}"
            ) from None
        except http.client.HTTPException as error:
            raise Malformed(f"https://{name} does not speak HTTP: {type(error).__name__}") from None
        except OSError as error:
            trouble = error
        finally:
            connection.close()
    raise trouble
