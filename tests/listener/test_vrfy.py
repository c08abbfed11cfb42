"""VRFY and EXPN."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.smtphost import STRANGER, SmtpHost


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("VRFY dave", ["250 2.1.5 Dave Example <dave@lab2.campus>"]),
        ("VRFY <dave@lab2>", ["250 2.1.5 Dave Example <dave@lab2>"]),
        ("VRFY nosuch", ["550 5.1.1 nosuch... User unknown"]),
        ("VRFY henry@lab3.campus", ["252 2.5.2 <henry@lab3.campus>"]),
        ("VRFY carol", ["250 2.1.5 Carol ??xample <carol@lab2.campus>"]),
        ("VRFY <dave", ["553 5.0.0 <dave... Unbalanced '<'"]),
        ("VRFY <>", ["553 5.0.0 <>... User address required"]),
        ("EXPN postmaster", ["250 2.1.5 root <root@lab2.campus>"]),
        ("EXPN henry@lab3.campus", ["250 2.1.5 <henry@lab3.campus>"]),
        (
            "EXPN staff",
            [
                "250-2.1.5 Dave Example <dave@lab2.campus>",
                "250-2.1.5 Carol ??xample <carol@lab2.campus>",
                "250 2.1.5 <henry@lab3.campus>",
            ],
        ),
        (
            "EXPN self",
            ["250-2.1.5 <self@lab2.campus>", "250 2.1.5 Dave Example <dave@lab2.campus>"],
        ),
        ("EXPN loop", ["250 2.1.5 <loop@lab2.campus>"]),
        ("VRFY dave+lists", ["250 2.1.5 Dave Example <dave+lists@lab2.campus>"]),
        ("EXPN dave+lists", ["250 2.1.5 Dave Example <dave+lists@lab2.campus>"]),
        ("VRFY nosuch+x", ["550 5.1.1 nosuch+x... User unknown"]),
        ("VRFY postmaster+x", ["250 2.1.5 root <root@lab2.campus>"]),
        *[
            (
                f"{verb} staff+x",
                [
                    "250-2.1.5 Dave Example <dave@lab2.campus>",
                    "250-2.1.5 Carol ??xample <carol@lab2.campus>",
                    "250 2.1.5 <henry@lab3.campus>",
                ],
            )
            for verb in ("VRFY", "EXPN")
        ],
    ],
)
def test_vrfy_and_expn_tell_people_and_no_programs(
    host: SmtpHost, question: str, answer: list[str]
) -> None:
    assert host.connect(*STRANGER).says(question) == answer


@pytest.mark.parametrize("evil", ["/G=Dave/@lab3.campus", '"|x"@lab3.campus', "/x@table.example"])
def test_what_the_runner_would_put_aside_is_no_recipient(host: SmtpHost, evil: str) -> None:
    """Nor from a client that may relay, nor if the mailer table makes it somebody."""
    Path(host.options.mailer_table).write_text("table.example local:dave\n")
    peer = host.connect("127.0.0.1", "localhost")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    answer = f"550 5.7.1 <{evil}>... Cannot mail directly to programs or files"
    assert peer.says(f"RCPT TO:<{evil}>") == [answer]


@pytest.mark.parametrize(
    "name",
    [
        "dave",
        "DAVE+x",
        "staff+x",
        "+dave",
        "nosuch",
        "nosuch+x",
        "postmaster",
        "dave@table.example",
    ],
)
def test_rcpt_vrfy_and_expn_agree_who_exists(host: SmtpHost, name: str) -> None:
    Path(host.options.mailer_table).write_text("table.example local:nosuch\n")
    peer = host.connect(*STRANGER)
    peer.says("MAIL FROM:<emma@lab1.campus>")
    questions = (f"RCPT TO:<{name}>", f"VRFY {name}", f"EXPN {name}")
    known = {peer.says(question)[0][:3] for question in questions}
    assert known in ({"250"}, {"550"})
