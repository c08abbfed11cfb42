"""Certificates of openssl(1), taken apart; and what is none."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from minimta.system.tls_values import KeyPair
from minimta.system.x509 import dns_names, public_key
from tests.support.certificates import Authority, der, self_signed

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def openssl(pair: KeyPair, *words: str) -> bytes:
    command = ["openssl", "x509", "-in", pair.cert_file, "-noout", *words]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("rsa", [False, True])
def test_the_key_is_what_openssl_finds(authority: Authority, rsa: bool) -> None:
    pair = authority.issue("mx.campus", rsa=rsa)
    pem = openssl(pair, "-pubkey")
    command = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    key = subprocess.run(command, input=pem, check=True, capture_output=True).stdout
    assert hashlib.sha256(public_key(der(pair))).digest() == hashlib.sha256(key).digest()


def test_the_names_are_those_of_hosts(authority: Authority) -> None:
    pair = authority.issue("mx.campus", "*.lab.campus", "127.0.0.1")
    assert dns_names(der(pair)) == ("mx.campus", "*.lab.campus")


def test_the_common_name_counts_only_without_others(authority: Authority, tmp_path: Path) -> None:
    """RFC 7672 section 3.2.3."""
    assert dns_names(der(KeyPair(authority.certificate, ""))) == ("ca",)
    assert dns_names(der(self_signed(tmp_path, "mx.campus"))) == ("mx.campus",)


def test_what_is_no_certificate_is_a_value_error_and_nothing_else(authority: Authority) -> None:
    whole = der(authority.issue("mx.campus"))
    for length in range(0, len(whole), 7):
        for text in (whole[:length], whole[:length] + b"\xff" + whole[length + 1 :]):
            for read in (public_key, dns_names):
                try:
                    read(text)
                except ValueError:
                    pass


@pytest.mark.parametrize("text", [b"", b"\x30", b"\x30\x80", b"\x30\x00", b"\x30\x03\x02\x01\x01"])
def test_nonsense_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        public_key(text)
