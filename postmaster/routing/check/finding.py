"""What a check of the directory found, and every code it can have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: its code, the address, domain or file it is about, what is wrong, what mends it."""

    code: str
    object: str
    message: str
    remedy: str


#: Code -> what it means, in the order in which they are looked for.
CODES = {
    "loop": "Mail would go in a circle.",
    "dead_target": "An alias or forward names an address of a hosted domain that does not exist.",
    "dead_end": "An alias or forward leads nowhere, so mail for it is refused.",
    "missing_postmaster": "Nobody answers for postmaster@ a domain.",
    "missing_abuse": "Nobody answers for abuse@ a domain.",
    "control_address": "An address that proves control of a domain reaches an ordinary user.",
    "lookups_missing": "A file that servers read is missing, damaged, or without its side files.",
    "lookups_behind": "A file that servers read is behind the directory.",
    "lookups_differ": "A file that servers read says something else than the directory.",
    "mail_folder_without_user": "A folder of mail belongs to no user.",
    "user_without_mail_folder": "A user's folder of mail is not there.",
    "two_classes": "Postfix takes a domain of the directory for another class of domain as well.",
    "shadowed_mailbox": "A table of Postfix takes the mail of a mailbox away.",
    "alias_domain_backscatter": "Every address of a domain is accepted, and unknown ones come back later.",
    "forward_without_srs": "Mail is sent on elsewhere under the sender's own address, which SPF forbids.",
    "not_checked": "Something could not be looked at.",
}
