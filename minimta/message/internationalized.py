"""Addresses beyond ASCII (RFC 6531, RFC 6532): UTF-8 local parts, and domains of U-labels (RFC 5890).

    a_labels         a domain as DNS and all comparisons have it: "müller.example" is xn--mller-kva.example
    downgraded       an address in ASCII that is the same one: only its domain was beyond
    folded           text for comparing, in any case and any normalization form

What is not UTF-8, or holds control characters or what shows nothing, is no address. The labels are
those of IDNA 2008 as far as their characters go: letters, digits and marks that normalization and
small letters leave as they are. "ß" is a letter of its own, as it is in browsers; dots and letters
of other widths, which look like others, make no domain.

Few messages need it: whoever imports it does so when an address is not ASCII.
"""

from __future__ import annotations

import unicodedata

# Python reads the codec when it is first used, which who has given up its rights may not.
"x".encode("punycode")

#: letters, digits and marks; capital letters become small ones before
_CATEGORIES = ("Ll", "Lo", "Lm", "Mn", "Mc", "Nd")
#: octets of a label, and of a domain (RFC 1035 section 2.3.4)
_LONGEST_LABEL, _LONGEST = 63, 253


def downgraded(local: bytes, domain: bytes) -> bytes:
    """The same address in ASCII; b"" if there is none (RFC 6531 section 3.2: nothing is guessed)."""
    labels = a_labels(domain)
    return b"%b@%b" % (local, labels) if local.isascii() and labels else b""


def folded(text: bytes) -> bytes:
    """Equal for names that only differ in case or normalization (RFC 6530 section 10.1)."""
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError:
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", characters).lower()).encode()


def a_labels(domain: bytes) -> bytes:
    """*domain* in A-labels and small letters; b"" if no host can have such a name."""
    if domain.isascii():
        return domain.lower()
    try:
        labels = folded(domain).decode("utf-8").split(".")
        made = b".".join(_a_label(label) for label in labels)
    except UnicodeError:
        return b""
    return made if len(made) <= _LONGEST else b""


def _a_label(label: str) -> bytes:
    """Raise UnicodeError."""
    if label.isascii():
        if not label.replace("-", "").replace("_", "").isalnum():
            raise UnicodeError(label)
        return label.encode("ascii")
    is_stable = unicodedata.normalize("NFKC", label) == label  # RFC 5892 section 2.2
    has_only_letters = all(
        letter == "-" or unicodedata.category(letter) in _CATEGORIES for letter in label
    )
    begins_well = unicodedata.category(label[0])[0] != "M" and label[2:4] != "--"
    made = b"xn--" + label.encode("punycode")
    if not (is_stable and has_only_letters and begins_well) or len(made) > _LONGEST_LABEL:
        raise UnicodeError(label)
    if label[0] == "-" or label[-1] == "-":
        raise UnicodeError(label)
    return made
