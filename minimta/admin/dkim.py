"""``minimta dkim DOMAIN``: a key that signs mail of a domain (DKIM), and what its zone has to say.

    minimta dkim example.org                   makes a key, if there is none of this selector
    minimta dkim --selector 2027 example.org   another one, for when the first shall end

It prints the record for the zone and the row for the table (option DKIMSign). Nothing is signed
before the row stands there, and it should not before the record can be seen by everybody. The key
is /etc/mail/dkim/DOMAIN.SELECTOR.pem, RSA with 2048 bits, mode 600; one that exists stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from base64 import b64encode
from pathlib import Path

from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.install.services import call
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import files, safefile

_BITS = 2048
#: octets of one string of a TXT record (RFC 1035 section 3.3)
_LONGEST = 255


def run(arguments: list[str]) -> int:
    """0. Raise AdminError for other words (64), names that are none (65), what openssl says, OSError."""
    given = _parse(arguments)
    options = _options(given.C)
    table = options.dkim_sign
    if not table:
        raise AdminError("DKIMSign is empty: nothing is signed", os.EX_CONFIG)
    directory = Path(given.directory or os.path.join(os.path.dirname(table), "dkim"))
    domain, selector = _name(given.domain), _name(given.selector)
    key = directory / f"{domain}.{selector}.pem"
    if not key.exists():
        _make(key)
        say(f"{key}: a new key")
    public = b64encode(_public(key)).decode("ascii")
    say("the record for the zone:\n")
    say(record(domain, selector, public))
    say(f"\nwhen everybody can see it, the row for {table}:\n")
    say(f"{domain}  {selector}  {key}")
    return os.EX_OK


def record(domain: str, selector: str, public: str) -> str:
    """The TXT record, as zone files have it (RFC 6376 section 3.6.1); *public* is base64."""
    text = f"v=DKIM1; k=rsa; p={public}"
    pieces = [text[at : at + _LONGEST] for at in range(0, len(text), _LONGEST)]
    strings = "\n    ".join(f'"{piece}"' for piece in pieces)
    return f"{selector}._domainkey.{domain}. IN TXT ( {strings} )"


def _parse(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(prog="minimta dkim", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    parser.add_argument("--selector", default="minimta", help="name of the key (minimta)")
    parser.add_argument("--directory", help="where the key is (dkim, beside the table)")
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="of the From field of mail")
    given = parsed(parser, arguments)
    if given.domain is None:
        raise AdminError("one DOMAIN; see --help", os.EX_USAGE)
    return given


def _options(path: str | None) -> Options:
    try:
        return config_file.load(path, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error


def _is_label(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").isalnum() and text.strip("-") == text


def _name(text: str) -> str:
    """A name of DNS, which becomes a path. Raise AdminError."""
    labels = text.lower().removesuffix(".").split(".")
    if not all(map(_is_label, labels)):
        raise AdminError(f"{text!r} is no name of DNS", os.EX_DATAERR)
    return ".".join(labels)


def _make(key: Path) -> None:
    """Whole or not at all. Raise AdminError, OSError."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new", dir=key.parent))
    try:
        new = aside / "key"
        call(["openssl", "genrsa", "-out", str(new), str(_BITS)])
        new.chmod(0o600)
        os.link(new, key)  # somebody else's, made just now, stays
        files.sync_directory(str(key.parent))
    finally:
        shutil.rmtree(aside)


def _public(key: Path) -> bytes:
    """The public half, DER. Raise AdminError, OSError."""
    with tempfile.TemporaryDirectory() as aside:
        out = Path(aside) / "public"
        call(["openssl", "rsa", "-in", str(key), "-pubout", "-outform", "DER", "-out", str(out)])
        return out.read_bytes()
