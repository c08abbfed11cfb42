"""SCRAM with the vectors of RFC 5802 and RFC 7677, and what either end must not believe."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import pytest

from minimta.smtp import scram
from minimta.smtp.saslprep import saslprep
from minimta.smtp.scram import (
    ChannelBinding,
    SaslError,
    ScramClient,
    ScramKeys,
    ScramServer,
    WrongPassword,
)

# RFC 7677 section 3
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVERS = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SIGNED = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
BINDING = ChannelBinding("tls-exporter", b"\x01" * 32)


def client(mechanism: str = "SCRAM-SHA-256", password: str = "pencil") -> ScramClient:
    return ScramClient(mechanism, "user", password, NONCE)


def keys() -> ScramKeys:
    return scram.keys_of("pencil", SALT, 4096)


def server(
    find: Callable[[str], ScramKeys | None] = lambda user: keys() if user == "user" else None,
    mechanism: str = "SCRAM-SHA-256",
    **bindings: bytes,
) -> ScramServer:
    named = {name.replace("_", "-"): data for name, data in bindings.items()}
    return ScramServer(mechanism, find, b"only ours", SERVERS, named)


def test_a_client_says_what_rfc_7677_says() -> None:
    ours = client()
    assert ours.initial() == FIRST
    assert ours.step(CHALLENGE) == FINAL
    assert ours.step(SIGNED) == b""
    ours.finish()


def test_a_client_says_what_rfc_5802_says() -> None:
    ours = ScramClient("SCRAM-SHA-1", "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL")
    assert ours.initial() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    nonce = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
    assert (
        ours.step(nonce + b",s=QSXCR+Q6sek8bf92,i=4096")
        == b"c=biws," + nonce + b",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    )
    assert ours.step(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""
    ours.finish()


def test_a_server_says_what_rfc_7677_says() -> None:
    challenge, state = server().first(FIRST)
    assert challenge == CHALLENGE
    assert scram.last(state, FINAL) == SIGNED
    assert (state.user, state.identity) == ("user", "")


def test_both_ends_agree_with_every_kind_of_name() -> None:
    for user, password in (("emma", "a b"), ("o=,x", "=,"), ("é", "pass\u00adword"), ("Ⅸ", "ª")):
        prepared = saslprep(user)
        made = scram.keys_of(password, b"salt", 4096)
        theirs = server({prepared: made}.get)
        ours = ScramClient("SCRAM-SHA-256", user, password, NONCE, identity="a=,b")
        challenge, state = theirs.first(ours.initial())
        final = scram.last(state, ours.step(challenge))
        assert final is not None
        assert ours.step(final) == b""
        ours.finish()
        assert (state.user, state.identity) == (prepared, "a=,b")


# --- what a client must not believe ---------------------------------------------------------------


@pytest.mark.parametrize(
    "challenge",
    [
        CHALLENGE.replace(b"i=4096", b"i=4095"),
        CHALLENGE.replace(b"i=4096", b"i=1000001"),
        CHALLENGE.replace(b"i=4096", b"i=99999999999999999999"),
        CHALLENGE.replace(b"i=4096", b"i=+4096"),
        CHALLENGE.replace(b"i=4096", b"i=4_096"),
        CHALLENGE.replace(b"4096", "４０９６".encode()),
        CHALLENGE.replace(b"r=rO", b"r=rX"),
        b"r=" + NONCE.encode() + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        CHALLENGE.replace(b"gQ==", b"gQ="),
        CHALLENGE.replace(b"gQ==", b"gR=="),
        b"m=new," + CHALLENGE,
        CHALLENGE + b",m=new",
        CHALLENGE[::-1],
        CHALLENGE.replace(b",i=4096", b""),
        b"",
        CHALLENGE + b",x=" + b"y" * scram.MAX_MESSAGE,
        b"e=other-error",
        b"r=\xff,s=,i=4096",
    ],
)
def test_a_client_refuses_a_first_message_that_is_none(challenge: bytes) -> None:
    ours = client()
    ours.initial()
    with pytest.raises(SaslError):
        ours.step(challenge)


def test_a_client_takes_extensions_that_it_need_not_know() -> None:
    ours = client()
    ours.initial()
    assert ours.step(CHALLENGE + b",x=new").startswith(b"c=biws,")


@pytest.mark.parametrize("signed", [b"v=" + SIGNED[3:] + b"A", b"e=invalid-proof", b"", b"v="])
def test_a_server_that_cannot_prove_itself_is_refused(signed: bytes) -> None:
    ours = client()
    ours.initial()
    ours.step(CHALLENGE)
    with pytest.raises(SaslError):
        ours.step(signed)
    with pytest.raises(SaslError):
        ours.finish()


def test_what_a_server_says_of_its_trouble_is_told() -> None:
    ours = client()
    ours.initial()
    ours.step(CHALLENGE)
    with pytest.raises(SaslError, match="broke off"):
        ours.step(b"e=other-error")


@pytest.mark.parametrize("error", ["invalid-proof", "unknown-user"])
def test_a_password_that_a_server_calls_wrong_is_wrong_for_all_mechanisms(error: str) -> None:
    """RFC 5802 section 7."""
    ours = client()
    ours.initial()
    ours.step(CHALLENGE)
    with pytest.raises(WrongPassword, match=f"the server says {error}$"):
        ours.step(b"e=" + error.encode())


def test_a_server_that_says_yes_without_a_proof_is_refused() -> None:
    ours = client()
    ours.initial()
    with pytest.raises(SaslError):
        ours.finish()
    ours.step(CHALLENGE)
    with pytest.raises(SaslError):
        ours.finish()


def test_a_server_with_another_password_is_refused() -> None:
    ours = client(password="other")
    ours.initial()
    ours.step(CHALLENGE)
    with pytest.raises(SaslError):
        ours.step(SIGNED)


@pytest.mark.parametrize(
    ("octets", "rounds", "is_taken"),
    [(4096, 4096, True), (4097, 4096, False), (0, 1_000_000, True), (0, 1_000_001, False)],
)
def test_so_much_a_client_puts_up_with(octets: int, rounds: int, is_taken: bool) -> None:
    challenge = CHALLENGE.replace(b"i=4096", b"i=%d" % rounds)
    if octets:
        challenge += b",x=" + b"y" * (octets - len(challenge) - 3)
    ours = client()
    ours.initial()
    if is_taken:
        assert ours.step(challenge).startswith(FINAL[: FINAL.index(b",p=")])
        return
    with pytest.raises(SaslError):
        ours.step(challenge)


# --- what a server must not believe ---------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,n=,r=x",
        b"n,,r=x,n=user",
        b"n,x,n=user,r=x",
        b"n,,m=new,n=user,r=x",
        b"n,,n=us=er,r=x",
        b"n,,n=us=2cer,r=x",
        b"z,,n=user,r=x",
        b"p=tls-exporter,,n=user,r=x",
        b"n,,n=user,r=" + b"x" * scram.MAX_MESSAGE,
        b"n,,n=us\x00er,r=x",
        b"n,,n=us\xffer,r=x",
        "n,,n=us\u0627er,r=x".encode(),
    ],
)
def test_a_server_refuses_a_first_message_that_is_none(first: bytes) -> None:
    with pytest.raises(SaslError):
        server().first(first)


@pytest.mark.parametrize(
    "final",
    [
        b"",
        FINAL.replace(b"c=biws", b"c=eSws"),
        FINAL.replace(b"r=rO", b"r=rX"),
        FINAL[:-2] + b"==",
        FINAL + b"A",
        FINAL[: FINAL.index(b",p=")],
        FINAL + b",x=more",
        b"m=new," + FINAL,
        *(FINAL.partition(b",p=")[0] + b",p=" + base64.b64encode(bytes(size)) for size in (31, 33)),
    ],
)
def test_a_server_refuses_a_final_message_that_is_none(final: bytes) -> None:
    _, state = server().first(FIRST)
    with pytest.raises(SaslError):
        scram.last(state, final)


def test_a_wrong_password_is_no_login() -> None:
    ours = client(password="pencils")
    challenge, state = server().first(ours.initial())
    assert scram.last(state, ours.step(challenge)) is None


def test_an_unknown_user_gets_an_answer_of_the_same_form_each_time_and_no_login() -> None:
    ours = ScramClient("SCRAM-SHA-256", "nosuch", "pencil", NONCE)
    challenge, state = server().first(ours.initial())
    again, _ = server().first(ours.initial())
    assert challenge == again
    assert [part[:2] for part in challenge.split(b",")] == [b"r=", b"s=", b"i="]
    assert len(challenge) == len(CHALLENGE)
    salts = [
        base64.b64decode(one.partition(b",s=")[2].partition(b",")[0])
        for one in (challenge, CHALLENGE)
    ]
    assert len(salts[0]) == len(salts[1])
    assert scram.last(state, ours.step(challenge)) is None
    other = ScramServer("SCRAM-SHA-256", lambda user: None, b"another secret", SERVERS)
    assert other.first(ours.initial())[0] != challenge
    assert server().first(FIRST.replace(b"user", b"noone!"))[0] != challenge


def test_even_who_knows_the_fake_keys_is_no_unknown_user() -> None:
    ours = client()
    challenge, real = server().first(ours.initial())
    known = scram.ScramState("user", "", False, keys(), real.nonce, real.bound, real.begun)
    assert scram.last(known, ours.step(challenge)) is None


def test_proofs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    real = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.extend((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    ours = client()
    challenge, state = server().first(ours.initial())
    final = scram.last(state, ours.step(challenge))
    assert final is not None
    ours.step(final)
    assert keys().stored_key in compared
    assert base64.b64decode(final.removeprefix(b"v=")) in compared


# --- channel binding ------------------------------------------------------------------------------


def plus(binding: ChannelBinding = BINDING) -> ScramClient:
    return ScramClient("SCRAM-SHA-256-PLUS", "user", "pencil", NONCE, binding=binding)


def test_plus_binds_the_login_to_the_connection() -> None:
    theirs = server(mechanism="SCRAM-SHA-256-PLUS", tls_exporter=BINDING.data)
    ours = plus()
    assert ours.initial().startswith(b"p=tls-exporter,,")
    challenge, state = theirs.first(ours.initial())
    final = scram.last(state, ours.step(challenge))
    assert final is not None
    ours.step(final)
    ours.finish()


def test_a_login_over_another_connection_is_refused() -> None:
    theirs = server(mechanism="SCRAM-SHA-256-PLUS", tls_exporter=b"\x02" * 32)
    ours = plus()
    challenge, state = theirs.first(ours.initial())
    with pytest.raises(SaslError):
        scram.last(state, ours.step(challenge))


def test_plus_without_a_binding_or_with_another_kind_is_refused() -> None:
    theirs = server(mechanism="SCRAM-SHA-256-PLUS", tls_exporter=BINDING.data)
    for first in (FIRST, plus(ChannelBinding("tls-unique", b"x")).initial()):
        with pytest.raises(SaslError):
            theirs.first(first)


def test_a_client_that_was_not_shown_plus_says_so_and_a_server_that_has_it_refuses() -> None:
    ours = ScramClient("SCRAM-SHA-256", "user", "pencil", NONCE, binding=BINDING)
    assert ours.initial().startswith(b"y,,")
    with pytest.raises(SaslError):
        server(tls_exporter=BINDING.data).first(ours.initial())
    challenge, state = server().first(ours.initial())
    assert scram.last(state, ours.step(challenge)) is not None


# --- SASLprep -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u06271\u0628", "\u06271\u0628"),
    ],
)
def test_saslprep_does_as_rfc_4013_section_3_shows(given: str, prepared: str) -> None:
    assert saslprep(given) == prepared


@pytest.mark.parametrize("given", ["\u0007", "\u06271", "\u0627a\u0628", "\ue000", "\ufffd"])
def test_saslprep_refuses_what_rfc_4013_refuses(given: str) -> None:
    with pytest.raises(ValueError, match="RFC 4013"):
        saslprep(given)


def test_what_is_stored_has_no_characters_that_are_unknown() -> None:
    assert saslprep("\u0221") == "\u0221"
    with pytest.raises(ValueError, match="not assigned"):
        saslprep("\u0221", stored=True)


def test_keys_are_not_shown() -> None:
    shown = repr(keys())
    assert "stored_key" not in shown
    assert "server_key" not in shown
