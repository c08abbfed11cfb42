"""Values of options about TLS that few set: TLSSrvOptions, ServerSSLOptions, ClientSSLOptions."""

from __future__ import annotations

#: what may be said of TLS; an empty value: it is so anyway
_SSL_OPTIONS = {
    "SSL_OP_NO_TLSv1_2": "OP_NO_TLSv1_2",
    "SSL_OP_NO_TLSv1_3": "OP_NO_TLSv1_3",
    "SSL_OP_NO_TICKET": "OP_NO_TICKET",
    "SSL_OP_NO_SSLv2": "",
    "SSL_OP_NO_SSLv3": "",
    "SSL_OP_NO_TLSv1": "",
    "SSL_OP_NO_TLSv1_1": "",
    "SSL_OP_NO_COMPRESSION": "",
    "SSL_OP_NO_RENEGOTIATION": "",
    "SSL_OP_CIPHER_SERVER_PREFERENCE": "",
    "SSL_OP_SINGLE_DH_USE": "",
    "SSL_OP_SINGLE_ECDH_USE": "",
}


def server_letters(text: str) -> str:
    """Letters of TLSSrvOptions. Raise ValueError for one that nothing here obeys."""
    letters = "".join(text.replace(",", " ").split())
    if wrong := letters.strip("V"):
        raise ValueError(f"{wrong[0]!r} cannot be had, only V")
    return letters


def ssl_names(text: str) -> tuple[str, ...]:
    """Names of ssl's options, of ServerSSLOptions. Raise ValueError for what cannot be had."""
    words = [word.removeprefix("+") for word in text.replace(",", " ").split()]
    for word in words:
        if word not in _SSL_OPTIONS:
            raise ValueError(f"{word} cannot be had, only {', '.join(_SSL_OPTIONS)}")
    if {"SSL_OP_NO_TLSv1_2", "SSL_OP_NO_TLSv1_3"} <= set(words):
        raise ValueError("no version of TLS is left")
    return tuple(name for word in words if (name := _SSL_OPTIONS[word]))
