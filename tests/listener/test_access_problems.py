"""Rows of the access table that nothing obeys, or that make no sense."""

from __future__ import annotations

import pytest

from minimta.listener.access_problems import problems, tell_problems


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"srv_features:campus S", "it does nothing: nothing is offered to some clients only"),
        (b"tls_clt:campus VERFY", "is no requirement of TLS (did you mean VERIFY?)"),
        (b"tls_srv:campus ENCR", "lacks the number of bits: ENCR:112"),
        (b"tls_rcpt:campus VERIFY+CX:x", "is none of CN CN: CS: CI: CITag:"),
        (b"tls_rcp:campus VERIFY", "no such tag (did you mean tls_rcpt?); it does nothing"),
        (b"try_tls:campus NEVER", "its value is neither NO nor OK; mail that meets it is delayed"),
        (b"conect:10.0.3.4 REJECT", "no such tag (did you mean connect?); it does nothing"),
        (b"connect:10.0.3.0/24 RELAY", "networks are written as Sendmail does, 10.0.3 for"),
        (b"10.0.3.0/24 RELAY", "networks are written as Sendmail does"),
        (b"ipv6:2001:db8::/32 RELAY", "networks are written as Sendmail does"),
        (b"clientrate:10 lots", "its value is no number"),
        (b"spam:dave@ REJECT", "its value is neither FRIEND nor HATER"),
        (b"from:pest@ REJCT", "did you mean REJECT"),
        (b"from:pest@ QUARANTINE", "did you mean QUARANTINE:"),
    ],
)
def test_a_row_that_does_nothing_or_makes_no_sense_is_told(row: bytes, problem: str) -> None:
    key, value = row.split(None, 1)
    told = list(problems([(key, value)]))
    assert len(told) == 1 and problem in str(told[0]) and key.decode() in str(told[0])
    assert told[0].is_wrong is not problem.startswith("it does nothing")


def test_rows_that_are_right_are_not_told() -> None:
    good = [b"connect:10 RELAY", b"ipv6:2001:db8 OK", b"a/b@lab1.campus REJECT", b"greetpause: 0"]
    good += [b"tls_clt:campus PERM+VERIFY:112+CN++CI:/O=Lab/CN=ca", b"tls_srv: NONE"]
    good += [b"try_tls:10.0.3 NO", b"tls_rcpt:x@ ENCR:112+CITag:MyCA", b"myca:/cn=ca OK"]
    good += [b"certissuer:/cn=ca SUBJECT", b"certsubject:/cn=x RELAY"]
    good += [b"spam:x@ FRIEND", b"from:x@ ERROR:5.7.1:550 No", b"campus 550 No", b"clientconn:10 5"]
    assert list(problems((row.split(None, 1)[0], row.split(None, 1)[1]) for row in good)) == []


def test_the_log_tells_of_some_and_not_of_thousands(lines: list[str]) -> None:
    tell_problems("access", ((b"x%d:y" % n, b"OK") for n in range(100)))
    assert len(lines) == 20
    assert lines[0].startswith("access: row x0:y: no such tag")


def test_a_tag_that_no_row_names_is_told_wherever_it_stands() -> None:
    rows = [(b"myca:/cn=ca", b"OK"), (b"yourca:/cn=ca", b"OK"), (b"tls_srv:", b"VERIFY+CITag:MyCA")]
    assert [problem.key for problem in problems(rows)] == [b"yourca:/cn=ca"]
    assert [problem.key for problem in problems(rows[:2])] == [b"myca:/cn=ca", b"yourca:/cn=ca"]
