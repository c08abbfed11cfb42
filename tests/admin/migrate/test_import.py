"""minimta import: what is carried, what is named, and what the files are after --write."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.config import file as config_file
from minimta.mailers.remote import authinfo
from minimta.system import safefile

MC = Path(__file__).parent / "mc"
NAMES = sorted(path.stem for path in MC.glob("*.mc"))


class Imported:
    """What an import printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err
        #: without the comments, which say where a line comes from
        self.config = [line for line in out.split("\n") if line and line[0] != "#"]
        #: rows for other files
        self.rows = [line.removeprefix("#   ") for line in out.split("\n") if line[:4] == "#   "]
        self.named = [
            line for line in err.split("\n") if ": not carried: " in line or ": wrong: " in line
        ]


class OldMachine:
    """The tree of a machine that had another program."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capfd = capfd
        self.write("/etc/hostname", "vm1.lan\n")

    def write(self, path: str, text: str) -> str:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return str(place)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.root / path.lstrip("/")).stat().st_mode)

    def imports(self, *words: str) -> Imported:
        self._capfd.readouterr()
        code = verbs.main(["import", "--root", str(self.root), *words])
        return Imported(code, *self._capfd.readouterr())

    def of(self, files: Mapping[str, str], *words: str) -> Imported:
        """Of the first of these files; the others lie where they are."""
        paths = [self.write(path, text) for path, text in files.items()]
        return self.imports(*words, paths[0])


@pytest.fixture
def machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> OldMachine:
    return OldMachine(tmp_path, capfd)


def test_mail_of_sendmail_that_no_run_would_see_is_told(machine: OldMachine) -> None:
    machine.write("/var/q/q1/qf/qf6AM9CfOn000096", "V8\n")
    machine.write("/var/q/q1/df/df6AM9CfOn000096", "Hi\n")
    name = machine.write("/etc/mail/sendmail.mc", "define(`QUEUE_DIR', `/var/q/q*')dnl\n")
    done = machine.imports(name)
    place = machine.root / "var/q/q1"
    assert f"warning: 1 message in {place}/qf, as Sendmail may have it, that no run" in done.err
    assert f"mv {place}/[dqx]f/* {place}/" in done.err
    assert "no run" not in machine.imports(machine.write("/etc/mail/submit.mc", "")).err


# --- ten sendmail.mc ----------------------------------------------------------------------------------


def of_no_option(line: str) -> bool:
    """Is it an option that may come to be one of ours?"""
    return ": there is no " in line


@pytest.mark.parametrize("name", NAMES)
def test_a_sendmail_mc_is_carried_as_it_is_expected(name: str, machine: OldMachine) -> None:
    found = machine.imports(machine.write(f"/etc/mail/{name}.mc", (MC / f"{name}.mc").read_text()))
    expected, _, named = (MC / f"{name}.expected").read_text().partition("\n-- named --\n")
    known = {line.partition(" = ")[0] for line in expected.split("\n")}
    # An option that Sendmail has may become one of ours: then it is carried, too.
    assert [line for line in found.config if line.partition(" = ")[0] in known] == expected.split(
        "\n"
    )
    assert [line for line in found.named if not of_no_option(line)] == named.strip("\n").split(
        "\n"
    )[: None if named.strip() else 0]


def test_the_order_of_the_lines_does_not_matter(machine: OldMachine) -> None:
    lines = (MC / "redhat-ses.mc").read_text().split("\n")
    first = machine.imports(machine.write("/a.mc", "\n".join(lines)))
    second = machine.imports(machine.write("/b.mc", "\n".join(reversed(lines))))
    # Rows that accumulate come in the order of the file; of single options none may differ.
    assert sorted(first.config) == sorted(second.config)


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("define(`SMART_HOST', `smtp.example.org')", ["SmartHost = smtp.example.org"]),
        ("define(`SMART_HOST', `esmtp:[smtp.example.org]')\ndefine(`ESMTP_MAILER_ARGS', `TCP $h 1025')",
         ["SmartHost = [smtp.example.org]:1025"]),
        ("define(`SMART_HOST',\n    `relay:a.example, b.example.')\ndefine(`RELAY_MAILER_ARGS', `IPC $h submission')",
         ["SmartHost = a.example:587, b.example:587"]),
        ("FEATURE(`delay_checks')", ["DelayChecks = yes"]),
        ("FEATURE(delay_checks, hater)", ["DelayChecks = hater"]),
        ("define(`QUEUE_DIR', `/var/spool/mqueue/q*')", ["QueueDirectory = /var/spool/mqueue/q*"]),
        ("define(`confMAX_HOP', `25') dnl was 100", ["MaxHopCount = 25"]),
        ("define(`confMAX_HOP', `25')\ndefine(`confMAX_HOP', `30')", ["MaxHopCount = 30"]),
        ("define(`confMAX_HOP', `25')\nundefine(`confMAX_HOP')", []),
        ("dnl define(`confMAX_HOP', `25')", []),
        ("# define(`confMAX_HOP', `25')", []),
        ("divert(-1)\ndefine(`confMAX_HOP', `25')\ndivert(0)dnl", ["MaxHopCount = 25"]),
        ("define(`H', `25')define(`confMAX_HOP', H)", ["MaxHopCount = 25"]),
        ("define(`confMAX_HOP', `25')\ndefine(`confMAX_HOP', defn(`confMAX_HOP')`0')", ["MaxHopCount = 250"]),
        ("ifdef(`confMAX_HOP', `dnl', `define(`confMAX_HOP', `7')')", ["MaxHopCount = 7"]),
        ("ifelse(`a', `b', `', `a', `a', `define(`confMAX_HOP', `8')', `x')", ["MaxHopCount = 8"]),
        ("define(`X', f(a, (b, c), d))define(`confMAX_HOP', `25')", ["MaxHopCount = 25"]),
        ("FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/tables/access.db')", ["AccessFile = /etc/mail/tables/access"]),
        ("MASQUERADE_DOMAIN(`a.example b.example')", ["MasqueradeDomain = a.example", "MasqueradeDomain = b.example"]),
        ("LOCAL_CONFIG\nDSsmart.example\nO MaxHopCount=9", ["SmartHost = smart.example", "MaxHopCount = 9"]),
        ("FEATURE(`nullclient', `hub.example')", ["SmartHost = hub.example", "MailHub = hub.example",
          "MasqueradeAs = hub.example", "MasqueradeEnvelope = True", "AllMasquerade = True"]),
        ("MAIL_FILTER(`f1', `S=inet:8891@localhost')\ndefine(`confINPUT_MAIL_FILTERS', `f1')",
         ["MailFilter = f1, S=inet:8891@localhost", "InputMailFilters = f1"]),
    ],
)  # fmt: skip
def test_m4_is_read_as_m4_reads_it(machine: OldMachine, line: str, config: list[str]) -> None:
    quiet = "FEATURE(`no_default_msa')\nDAEMON_OPTIONS(`Port=smtp,Addr=127.0.0.1, Name=MTA')\nMAILER(`smtp')\n"
    found = machine.imports(machine.write("/x.mc", f"{quiet}{line}\n"))
    assert sorted(found.config) == sorted(
        [*config, "DaemonPortOptions = Port=smtp, Addr=127.0.0.1, Name=MTA"]
    )
    assert found.code == os.EX_OK, found.err


def test_logins_that_stand_in_the_access_table_go_to_a_private_file(machine: OldMachine) -> None:
    machine.write(
        "/etc/mail/access",
        'Connect:10 RELAY\nAuthInfo:smtp.sendgrid.net "U:apikey" "P:s3cret" "M:PLAIN"\n',
    )
    mc = machine.write("/etc/mail/sendmail.mc", "FEATURE(`access_db')\nMAILER(`smtp')\n")
    shown = machine.imports(mc)
    assert 'AuthInfo:smtp.sendgrid.net "U:apikey" "P:***" "M:PLAIN"' in shown.rows
    assert "s3cret" not in shown.out + shown.err
    written = machine.imports("--write", mc)
    assert (
        machine.read("/etc/mail/authinfo")
        == 'AuthInfo:smtp.sendgrid.net "U:apikey" "P:s3cret" "M:PLAIN"\n'
    )
    assert machine.mode("/etc/mail/authinfo") == 0o600
    assert "s3cret" not in written.out + written.err


def test_a_file_of_logins_that_is_there_becomes_private_and_stays_as_it_is_written(
    machine: OldMachine,
) -> None:
    rows = '# ours\nAuthInfo:smtp.gmail.com "U:root" "I:emma@gmail.com" "P:pw"\n'
    machine.write("/etc/mail/authinfo/gmail-auth", rows)
    mc = machine.write("/etc/mail/sendmail.mc", (MC / "debian-gmail.mc").read_text())
    machine.imports("--write", mc)
    assert machine.read("/etc/mail/authinfo/gmail-auth") == rows
    assert machine.mode("/etc/mail/authinfo/gmail-auth") == 0o600


def test_a_table_of_which_only_the_database_is_there_is_named(machine: OldMachine) -> None:
    machine.write("/etc/mail/virtusertable.db", "x")
    found = machine.imports(
        machine.write("/etc/mail/sendmail.mc", "FEATURE(`virtusertable')\nMAILER(`smtp')\n")
    )
    assert "makemap -u hash /etc/mail/virtusertable > /etc/mail/virtusertable" in found.named[0]


def test_a_table_that_sendmail_did_not_read_is_not_read_here(machine: OldMachine) -> None:
    machine.write("/etc/mail/virtusertable", "a@b c\n")
    found = machine.imports(machine.write("/etc/mail/sendmail.mc", "MAILER(`smtp')\n"))
    assert "VirtUserTable =" in found.config


# --- other programs -----------------------------------------------------------------------------------

POSTFIX = """\
# a null client
myhostname = vm1.example.org
myorigin = $mydomain
mydestination =
relayhost = [smtp.example.org]:submission
inet_interfaces = loopback-only
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = encrypt
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_generic_maps = hash:/etc/postfix/generic
mynetworks = 127.0.0.0/8 [::1]/128
    10.1.0.0/16, 192.0.2.0/23
header_checks = regexp:/etc/postfix/header_checks
"""


def test_a_null_client_of_postfix(machine: OldMachine) -> None:
    files = {
        "/etc/postfix/main.cf": POSTFIX,
        "/etc/postfix/sasl_passwd": "[smtp.example.org]:submission emma:pa:ss\n",
        "/etc/postfix/generic": "root@vm1.example.org alerts@example.org\n",
    }
    found = machine.of(files)
    assert found.config == [
        "HostName = vm1.example.org",
        "SmartHost = [smtp.example.org]:587",
        "MasqueradeAs = example.org",
        "MasqueradeEnvelope = True",
        "GenericsDomain = vm1.example.org",
    ]
    assert found.rows[1:] == [
        'AuthInfo:smtp.example.org:587 "U:emma" "P:***"',
        "root@vm1.example.org\talerts@example.org",
        "@vm1.example.org\t%1@example.org",
        "root: root@example.org",
        "10.1", "192.0.2", "192.0.3",
    ]  # fmt: skip
    assert "\n# *** is a password, which only --write takes there\n" in found.out
    assert "main.cf: line 4: note: users of this host are called NAME@example.org at" in found.err
    assert found.named == [
        "/etc/postfix/main.cf: line 15: not carried: header_checks: nothing here is told so"
    ]
    assert found.code == os.EX_UNAVAILABLE
    machine.imports("--write", str(machine.root / "etc/postfix/main.cf"))
    assert (
        machine.read("/etc/mail/authinfo") == 'AuthInfo:smtp.example.org:587 "U:emma" "P:pa:ss"\n'
    )
    assert machine.read("/etc/mail/relay-domains") == "10.1\n192.0.2\n192.0.3\n"


def test_senders_at_myorigin_are_those_of_this_host(machine: OldMachine) -> None:
    rows = ["Dave@example.org d.miller@example.net", "carol@old.example carol@example.net"]
    files = {"/etc/postfix/main.cf": POSTFIX, "/etc/postfix/generic": "\n".join(rows) + "\n"}
    found = machine.of(files).rows
    assert [row.split("\t") for row in found if row.endswith("example.net")] == [
        ["Dave@example.org", "d.miller@example.net"],
        ["dave@vm1.example.org", "d.miller@example.net"],
        ["carol@old.example", "carol@example.net"],
    ]


def test_a_small_host_of_postfix(machine: OldMachine) -> None:
    files = {
        "/etc/postfix/main.cf": (
            "myhostname = mail.example.org\nmyorigin = /etc/mailname\n"
            "mydestination = $myhostname, example.org, mail, localhost.localdomain, localhost\n"
            "inet_interfaces = all\ninet_protocols = all\nhome_mailbox = Maildir/\n"
            "virtual_alias_maps = hash:/etc/postfix/virtual\ntransport_maps = hash:/etc/postfix/transport\n"
            "message_size_limit = 20480000\ndelay_warning_time = 0h\nsmtpd_helo_required = yes\n"
            "smtpd_milters = inet:localhost:8891, unix:opendkim/sock\nmilter_default_action = accept\n"
            "no_equals_here\n"
        ),
        "/etc/mailname": "example.org\n",
        "/etc/postfix/virtual": "info@example.org emma\nall@example.org emma, dave\n",
        "/etc/postfix/transport": "old.example relay:[10.0.0.9]:2525\n* smtp:[gw.example]\n",
    }
    found = machine.of(files)
    assert found.config == [
        "HostName = mail.example.org",
        "LocalMailer = maildir",
        "DaemonPortOptions = Name=MTA, Addr=0.0.0.0, Port=25",
        "DaemonPortOptions = Name=MTA-v6, Addr=::, Port=25, M=O",
        "MailFilter = filter1, S=inet:8891@localhost",
        "MailFilter = filter2, S=unix:/var/spool/postfix/opendkim/sock",
        "InputMailFilters = filter1, filter2",
        "PrivacyOptions = authwarnings, needmailhelo",
        "MaxMessageSize = 20480000",
        "MasqueradeAs = example.org",
        "MasqueradeEnvelope = True",
        "Timeout.queuewarn = 0",
    ]
    assert (
        "old.example\tesmtp:[10.0.0.9]:2525" in found.rows and ".\tesmtp:[gw.example]" in found.rows
    )
    assert "info@example.org\temma" in found.rows and "example.org" in found.rows
    assert "localhost.localdomain" in found.rows  # it is no name of ours by itself
    assert [line.partition(": ")[2] for line in found.named] == [
        "line 14: wrong: no parameter of Postfix: no_equals_here",
        "line 2: not carried: all@example.org: several recipients are an alias",
    ]
    assert found.code == os.EX_DATAERR


SSMTP = """\
root=admin@example.org
mailhub=smtp.example.org:587
rewriteDomain=example.org
hostname=vm1.example.org
FromLineOverride=YES
UseTLS=YES
UseSTARTTLS=YES
AuthUser=emma
AuthPass=pa ss
"""


def test_ssmtp(machine: OldMachine) -> None:
    found = machine.of(
        {
            "/etc/ssmtp/ssmtp.conf": SSMTP,
            "/etc/ssmtp/revaliases": "root:root1@example.org:other.example:2525\n",
        }
    )
    assert found.config == [
        "HostName = vm1.example.org",
        "SmartHost = [smtp.example.org]:587",
        "MasqueradeAs = example.org",
        "MasqueradeEnvelope = True",
    ]
    assert found.rows[1:] == [
        'AuthInfo:smtp.example.org:587 "U:emma" "P:***"',
        "root: admin@example.org",
        "@vm1.example.org\t%1@example.org",
        "root\troot1@example.org",
        "root1@example.org\t[other.example]:2525",
    ]
    assert found.code == os.EX_OK and "pa ss" not in found.out + found.err


MSMTP = """\
defaults
tls on
tls_trust_file /etc/ssl/certs/ca-certificates.crt
logfile ~/.msmtp.log

account work
host smtp.work.example
port 587
from emma@work.example
auth plain
user emma@work.example
password "pa\\"ss"

account home
host smtp.home.example
port 587
auth on
user emma@work.example
from emma@home.example
passwordeval cat /etc/home.secret

account default : work
aliases /etc/aliases
proxy_host 10.0.0.1
"""


def test_msmtp(machine: OldMachine) -> None:
    found = machine.of({"/etc/msmtprc": MSMTP.replace('\\"', "-")})
    assert found.config == [
        "MailHub = [smtp.work.example]:587",
        "StickyHost = True",
        "SmartHost = [smtp.work.example]:587",
        "MasqueradeEnvelope = True",
    ]
    assert found.rows[1:] == [
        'AuthInfo:smtp.work.example:587 "U:emma@work.example" "P:***" "M:PLAIN"',
        'AuthInfo:emma@home.example "H:smtp.home.example:587" "U:emma@work.example" "F:/etc/home.secret"',
        "@vm1.lan\temma@work.example",
        "emma@home.example\t[smtp.home.example]:587",
    ]
    assert [line.partition(": ")[2] for line in found.named] == [
        "line 24: not carried: proxy_host: nothing here is told so"
    ]


@pytest.mark.parametrize(
    ("program", "row"),
    [
        ("/usr/bin/pass show home", '"C:/usr/bin/pass show home"'),
        ("pass show home", ""),
        ("/usr/bin/pass show home | head -1", ""),
    ],
)
def test_a_program_that_prints_the_password(machine: OldMachine, program: str, row: str) -> None:
    found = machine.of({"/etc/msmtprc": MSMTP.replace("cat /etc/home.secret", program)})
    rows = [line for line in found.rows if line.startswith("AuthInfo:emma@home.example")]
    assert [line.rpartition('work.example" ')[2] for line in rows] == ([row] if row else [])
    refused = "passwordeval: a program with its full path, without a shell, or a file" in found.err
    assert refused is not bool(row)


def test_dma(machine: OldMachine) -> None:
    files = {
        "/etc/dma/dma.conf": (
            "SMARTHOST smtp.example.org\nPORT 587\nALIASES /etc/aliases\nSECURETRANSFER\nSTARTTLS\n"
            "AUTHPATH /etc/dma/auth.conf\nMAILNAME /etc/mailname\nMASQUERADE alerts@example.org\nNULLCLIENT\n"
        ),
        "/etc/dma/auth.conf": "# x\nemma|smtp.example.org:pa:ss\n",
        "/etc/mailname": "vm1.example.org\n",
    }
    found = machine.of(files)
    assert found.config == [
        "HostName = vm1.example.org",
        "MailHub = [smtp.example.org]:587",
        "StickyHost = True",
        "SmartHost = [smtp.example.org]:587",
        "MasqueradeEnvelope = True",
    ]
    assert found.rows[1:] == [
        'AuthInfo:smtp.example.org "U:emma" "P:***"',
        "@vm1.example.org\talerts@example.org",
    ]
    assert found.code == os.EX_OK and not found.named


def test_nullmailer(machine: OldMachine) -> None:
    files = {
        "/etc/nullmailer/remotes": (
            "smtp.example.org smtp --port=587 --starttls --user=emma --pass='pa ss'\n"
            "backup.example.org smtp ssl\nold.example qmqp\n"
        ),
        "/etc/nullmailer/adminaddr": "admin@example.org\n",
        "/etc/nullmailer/defaultdomain": "example.org\n",
        "/etc/mailname": "vm1.example.org\n",
    }
    found = machine.of(files)
    both = "[smtp.example.org]:587, [backup.example.org]:465"
    assert found.config == [
        "HostName = vm1.example.org",
        f"SmartHost = {both}",
    ]
    assert found.rows[1:] == [
        'AuthInfo:smtp.example.org:587 "U:emma" "P:***"',
        "[backup.example.org]:465\tencrypt",
        "@vm1.example.org\tadmin@example.org",
    ]
    assert "QMQP" in found.named[0] and len(found.named) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/mail/authinfo", 'AuthInfo:h.example "U:emma" "P:pw"\n'),
        ("/etc/postfix/sasl_passwd", "[h.example] emma:pw\n"),
        ("/etc/dma/auth.conf", "emma|h.example:pw\n"),
        ("/tmp/unnamed", 'AuthInfo:h.example "U:emma" "P:pw"\n'),
    ],
)
def test_a_file_of_logins_by_itself(machine: OldMachine, path: str, text: str) -> None:
    found = machine.of({path: text})
    assert found.rows[1:] == ['AuthInfo:h.example "U:emma" "P:***"'], found.err
    assert found.code == os.EX_OK


# --- writing ------------------------------------------------------------------------------------------


def test_what_is_written_is_a_configuration_and_one_that_is_there_is_kept(
    machine: OldMachine,
) -> None:
    mc = machine.write("/etc/mail/sendmail.mc", (MC / "redhat-ses.mc").read_text())
    assert machine.imports("--write", mc).code in (os.EX_OK, os.EX_UNAVAILABLE)
    cf = machine.root / "etc/mail/minimta.cf"
    options = config_file.load(str(cf), [], safefile.why_untrusted)
    assert options.smart_host == "email-smtp.us-east-1.amazonaws.com:587"
    assert machine.mode("/etc/mail/minimta.cf") == 0o644
    cf.write_text("# mine\n")
    refused = machine.imports("--write", mc)
    assert refused.code == os.EX_CANTCREAT and "--force replaces it" in refused.err
    assert cf.read_text() == "# mine\n"
    machine.imports("--write", "--force", mc)
    assert machine.read("/etc/mail/minimta.cf.bak") == "# mine\n"
    assert "SmartHost" in cf.read_text()
    cf.write_text("# mine again\n")
    machine.imports("--write", "--force", mc)
    assert machine.read("/etc/mail/minimta.cf.bak") == "# mine\n"
    assert machine.read("/etc/mail/minimta.cf.bak.1") == "# mine again\n"


def test_with_a_wrong_line_nothing_is_written(machine: OldMachine) -> None:
    mc = machine.write("/etc/mail/sendmail.mc", (MC / "broken-quotes.mc").read_text())
    assert machine.imports("--write", mc).code == os.EX_DATAERR
    assert not (machine.root / "etc/mail/minimta.cf").exists()


def test_rows_are_added_to_tables_that_are_there(machine: OldMachine) -> None:
    machine.write("/etc/aliases", "postmaster: root\nroot: old\n")
    machine.write("/etc/mail/genericstable", "# mine\nx y@z\n")
    conf = machine.write("/etc/ssmtp/ssmtp.conf", SSMTP)
    machine.write("/etc/ssmtp/revaliases", "root:root1@example.org\n")
    machine.imports("--write", conf)
    assert machine.read("/etc/aliases") == "postmaster: root\nroot: admin@example.org\n"
    assert machine.read("/etc/mail/genericstable") == "# mine\nx y@z\nroot\troot1@example.org\n"
    assert (machine.root / "etc/aliases.cdb").exists()


@pytest.mark.parametrize(
    ("path", "text", "code", "words"),
    [
        ("/etc/mail/sendmail.cf", "V10/Berkeley\nDZ8.17\n", os.EX_DATAERR, "give the sendmail.mc"),
        ("/etc/unknown", "hello\n", os.EX_DATAERR, "neither by name nor by its lines"),
        ("/etc/msmtprc", "\0", os.EX_DATAERR, "is no text"),
    ],
)
def test_what_is_no_such_file_is_told(
    machine: OldMachine, path: str, text: str, code: int, words: str
) -> None:
    found = machine.of({path: text})
    assert (found.code, found.out) == (code, "") and words in found.err


def test_a_file_that_is_not_there_and_no_file_at_all(machine: OldMachine) -> None:
    assert machine.imports("/nonexistent/main.cf").code == os.EX_NOINPUT
    machine.write("/etc/dma/dma.conf", "")
    found = machine.imports()
    assert found.code == os.EX_USAGE and "here there is /etc/dma/dma.conf" in found.err


# --- hostile files ------------------------------------------------------------------------------------

LAUGHS = "".join(f"define(`a{n}', {' '.join([f'a{n - 1}'] * 20)})\n" for n in range(1, 30))
REFERENCES = "".join(f"a{n} = {' '.join([f'$a{n - 1}'] * 20)}\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("/etc/mail/a.mc", LAUGHS, "definitions grow by each other"),
        ("/etc/mail/a.mc", "FEATURE(`a\n" * 2000, "the rest is not read"),
        ("/etc/mail/a.mc", "include(`/etc/mail/a.mc')\n" * 60, "too many, one in another"),
        ("/etc/mail/a.mc", "C{x} y\n" * 40000, "line 40000: not carried"),
        ("/etc/postfix/main.cf", f"{REFERENCES}myhostname = $a11\n", "HostName"),
        ("/etc/postfix/main.cf", f"a = {'$a ' * 300}\nmyhostname = $a\n", "HostName"),
    ],
)
def test_what_grows_without_end_is_told_in_time(
    machine: OldMachine, path: str, text: str, told: str
) -> None:
    began = time.process_time()
    assert told in machine.of({path: text}).err
    assert time.process_time() - began < 20


def test_conditions_too_deep_in_each_other_are_told(machine: OldMachine) -> None:
    text = "ifdef(`z',,`" * 30 + "FEATURE(`nullclient')" + "')" * 30
    found = machine.of({"/etc/mail/a.mc": text})
    assert found.code == os.EX_DATAERR and "conditions in each other" in found.err


def test_what_an_included_file_says_is_shown_to_nobody(machine: OldMachine) -> None:
    machine.write("/etc/shadow", "root:hunter2:1\n")
    for name in ("/etc/shadow", "/etc/../etc/shadow"):
        found = machine.of({"/etc/mail/a.mc": f"include(`{name}')\n"})
        assert "line 1: not carried: a line of sendmail.cf itself" in found.err
        assert "hunter2" not in found.out + found.err
    found = machine.of({"/etc/postfix/main.cf": "myorigin = /etc/shadow\n"})
    assert found.code == os.EX_UNAVAILABLE and "hunter2" not in found.out + found.err


def test_an_include_that_cannot_be_read_is_not_said_to_have_no_effect(machine: OldMachine) -> None:
    (machine.root / "etc/mail").mkdir(parents=True)
    os.mkfifo(machine.root / "etc/mail/fifo.m4")
    for name in ("/etc/mail/fifo.m4", "/etc/mail/nothing.m4", "/etc/../tmp/x.m4", "/opt/x.m4"):
        found = machine.of({"/etc/mail/a.mc": f"include(`{name}')\n"})
        assert found.code == os.EX_UNAVAILABLE and f"not carried: include({name})" in found.err


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/postfix/main.cf", "smtp_sasl_password_maps = static:emma:hunter2\n"),
        ("/etc/postfix/main.cf", "smtp_sasl_password_maps = inline:{ [h.example]=emma:hunter2 }\n"),
        ("/etc/postfix/main.cf", "[h.example]:587 emma:hunter2\n"),
        ("/etc/nullmailer/remotes", "h.example smtp --user=emma --pass hunter2\n"),
    ],
)
def test_a_password_in_an_unusual_place_is_not_shown(
    machine: OldMachine, path: str, text: str
) -> None:
    found = machine.of({path: text})
    assert found.named and "hunter2" not in found.out + found.err


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("/etc/postfix/main.cf", "mynetworks = 2001:db8::/33", "mynetworks: 2001:db8::/33: relay-domains has networks of whole octets"),
        ("/etc/postfix/main.cf", "mynetworks = 10.8.0.0/13", "mynetworks: 10.8.0.0/13: relay-domains has networks of whole octets"),
        ("/etc/postfix/main.cf", "relay_domains = hash:/etc/relay", "relay_domains: hash:/etc/relay: a table of names"),
        ("/etc/postfix/main.cf", "home_mailbox = Mailbox", "home_mailbox: mailboxes are in MailboxDirectory"),
        ("/etc/postfix/main.cf", "mailbox_command = /usr/bin/maildrop -d", "mailbox_command: /usr/bin/maildrop -d: LocalMailer = |/PROGRAM, with $u, $h and $f"),
        ("/etc/postfix/main.cf", "local_transport = lmtp:unix:x", "local_transport: lmtp:unix:x"),
        ("/etc/postfix/main.cf", "smtp_tls_security_level = fingerprint\nrelayhost = h.example", "smtp_tls_security_level = fingerprint: a row for each next hop in tls-policy"),
        ("/etc/msmtprc", "account default\nhost h.example\ntls on\ntls_starttls off\nport 2465", "TLS from the first octet at port 2465: only port 465 has it here"),
        ("/etc/msmtprc", "account default\nhost h.example\ntls on\nport 587\nauth oauthbearer\nuser emma", "auth: an access token: minimta token get, or minimta setup"),
        ("/etc/msmtprc", "account default\nhost h.example\nfrom %F@x.example", "from %F@x.example: only %U@DOMAIN"),
        ("/etc/msmtprc", "account default\nhost h.example\nset_from_header on", "set_from_header on: senders of this host are rewritten, those of others stay"),
        ("/etc/nullmailer/remotes", "h.example smtp --ssl --port=2465", "TLS from the first octet at port 2465: only port 465 has it here"),
        ("/etc/nullmailer/remotes", "h.example qmqp", "h.example: QMQP is not spoken here"),
        ("/etc/dma/dma.conf", "SMARTHOST h.example\nINSECURE", "INSECURE: a login is sent only inside of TLS"),
        ("/etc/dma/dma.conf", "SMARTHOST h.example\nFINGERPRINT abcd", "a fingerprint is that of SHA-256, 64 digits"),
        ("/etc/mail/x.mc", "define(`RELAY_MAILER_FLAGS', `k')", "RELAY_MAILER_FLAGS: mailers are built in"),
        ("/etc/mail/x.mc", "define(`confNO_SUCH', `k')", "confNO_SUCH: nothing here is called so"),
        ("/etc/mail/x.mc", "define(`confSMTP_LOGIN_MSG', `$j ${load_avg}')", "SmtpGreetingMessage: of macros only $j, $v, $Z and $b can be had"),
        ("/etc/mail/x.mc", "define(`RELAY_MAILER_ARGS', `TCP $h $x')", "RELAY_MAILER_ARGS: TCP $h $x: only a port can be carried"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_named_with_its_reason(
    machine: OldMachine, path: str, text: str, reason: str
) -> None:
    found = machine.of({path: f"{text}\n"})
    assert reason in [line.partition(": not carried: ")[2] for line in found.named]
    assert found.code == os.EX_UNAVAILABLE


def test_alias_files_of_postfix_are_carried_and_other_tables_named(machine: OldMachine) -> None:
    value = "hash:/etc/aliases, /etc/more nis:mail.aliases"
    found = machine.of(
        {"/etc/postfix/main.cf": f"myhostname = a.example.org\nalias_maps = {value}\n"}
    )
    assert "AliasFile = /etc/aliases, /etc/more" in found.config
    assert found.named == [
        "/etc/postfix/main.cf: line 2: not carried: alias_maps: nis:mail.aliases: aliases are files here"
    ]


def test_whoever_is_local_is_no_relay_domain_by_that(machine: OldMachine) -> None:
    text = (
        "myhostname = a.example.org\nmydestination = $myhostname, local.example\n"
        "relay_domains = $mydestination, hash:/etc/postfix/relay, sub.example\n"
    )
    found = machine.of({"/etc/postfix/main.cf": text}, "--write")
    assert machine.read("/etc/mail/relay-domains") == "sub.example\n"
    assert machine.read("/etc/mail/local-host-names") == "local.example\n"
    assert [line.partition(": not carried: ")[2] for line in found.named] == [
        "relay_domains: hash:/etc/postfix/relay: a table of names"
    ]


def test_a_login_that_stands_in_main_cf_is_carried(machine: OldMachine) -> None:
    text = "relayhost = [h.example]:587\nsmtp_sasl_password_maps = static:emma:hunter2\n"
    found = machine.of({"/etc/postfix/main.cf": text}, "--write")
    assert found.code == os.EX_OK and "hunter2" not in found.out + found.err
    assert machine.read("/etc/mail/authinfo") == 'AuthInfo:h.example:587 "U:emma" "P:hunter2"\n'


def test_a_user_with_a_quotation_mark_stays_one_field(machine: OldMachine) -> None:
    text = 'account default\nhost h.example\nfrom e@h.example\nauth on\nuser a"b\npassword c"d\n'
    assert machine.of({"/etc/msmtprc": text}, "--write").code == os.EX_OK
    [row] = authinfo.parse(machine.read("/etc/mail/authinfo").encode())
    assert (row.fault, row.user, row.value) == ("", 'a"b', b'c"d')


def test_a_login_that_can_be_no_row_is_wrong(machine: OldMachine) -> None:
    text = "account default\nhost h.example\nauth on\nuser a\x85b\npassword hunter2\n"
    found = machine.of({"/etc/msmtprc": text}, "--write")
    assert found.code == os.EX_DATAERR and "U: has a control character" in found.err
    assert "hunter2" not in found.err and not (machine.root / "etc/mail/authinfo").exists()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/ssmtp/ssmtp.conf", "mailhub=h.example\nroot=|/bin/id@h.example\n"),
        ("/etc/postfix/main.cf", "virtual_alias_maps = hash:/etc/postfix/virtual\n"),
    ],
)
def test_an_address_never_becomes_a_program(machine: OldMachine, path: str, text: str) -> None:
    machine.write("/etc/postfix/virtual", "root |/bin/id\n")
    found = machine.of({path: text})
    assert found.code == os.EX_DATAERR and "/bin/id" not in found.out


def test_what_was_kept_stays_and_nobody_else_may_read_it_then(machine: OldMachine) -> None:
    machine.write("/etc/mail/minimta.cf", "HostName = first.example\n")
    (machine.root / "etc/mail/minimta.cf").chmod(0o640)
    path = machine.write("/etc/mail/a.mc", "define(`SMART_HOST', `h.example')\n")
    for _ in range(3):
        assert machine.imports("--write", "--force", path).code == os.EX_OK
    assert machine.read("/etc/mail/minimta.cf.bak") == "HostName = first.example\n"
    assert machine.mode("/etc/mail/minimta.cf.bak") == 0o640
    assert machine.read("/etc/mail/minimta.cf.bak.1") == machine.read("/etc/mail/minimta.cf")


def test_a_file_that_is_too_large_is_told_so(machine: OldMachine) -> None:
    found = machine.of({"/etc/mail/a.mc": "dnl\n" * (1 << 20) + "dnl\n"})
    assert found.code == os.EX_DATAERR and "larger than 4 MB" in found.err
