"""What Sendmail can be told and ``options`` has no row for: what is always so, and what is refused.

    ALWAYS      says what is so here anyway: it may be set to that and to nothing else, so that nothing is
                read and then ignored; with an empty default to anything, for it cannot matter here
    REFUSED     has no place here; who sets it is told what to use instead

Sendmail's 174 options are in ``options``, or here. Read when a name is none of ``options``.
"""

from __future__ import annotations

from minimta.config.option import Option, OptionError
from minimta.config.quantities import boolean, interval, natural, seconds
from minimta.config.values import file_mode


def _resolver_options(text: str) -> str:
    """Words of ResolverOptions that ask for what is done anyway. Raise ValueError for others."""
    for word in text.split():
        if word.lower() not in ("workaroundbrokenaaaa", "+usevc_on_truncation"):
            raise ValueError(
                f"{word!r} cannot be had; /etc/resolv.conf has options for name servers"
            )
    return ""


# fmt: off
ALWAYS = (
    Option("SevenBitInput", "False", boolean, "the eighth bit of an octet is kept", "7"),
    Option("AliasWait", "", interval, "a new alias database replaces the old one at once, nobody waits for it", "a"),
    Option("BlankSub", ".", str.strip, "a blank in an address becomes a dot", "B"),
    Option("HoldExpensive", "", boolean, "no mailer is expensive", "c"),
    Option("CheckpointInterval", "", natural, "who has got the message is written down after each delivery", "C"),
    Option("TempFileMode", "0600", file_mode, "mode of all files in the queue", "F"),
    Option("QueueFileMode", "0600", file_mode, "mode of all files in the queue"),
    Option("MatchGECOS", "False", boolean, "a full name is no address", "G"),
    Option("HelpFile", "", str.strip, "HELP has a text of its own", "H"),
    Option("SendMimeErrors", "True", boolean, "bounces are MIME", "j"),
    Option("UseErrorsTo", "False", boolean, "bounces go to the envelope sender, whatever Errors-To says", "l"),
    Option("CheckAliases", "False", boolean, "newaliases does not look up what the right sides name", "n"),
    Option("OldStyleHeaders", "True", boolean, "blanks separate recipients where no comma, semicolon, bracket or parenthesis is", "o"),
    Option("DontPruneRoutes", "False", boolean, "of a source route only the last address counts", "R"),
    Option("SuperSafe", "True", boolean, "a message is on disk before it is accepted", "s"),
    Option("TryNullMXList", "False", boolean, "a domain whose best MX host is this one is a mail loop", "w"),
    Option("ForkEachJob", "", boolean, "each program, and each other host, has a process of its own", "Y"),
    Option("ResolverOptions", "WorkAroundBrokenAAAA", _resolver_options, "no AAAA record is waited for in vain; else /etc/resolv.conf says how name servers are asked", "I"),
    Option("RrtImpliesDsn", "False", boolean, "Return-Receipt-To asks for nothing; -N does"),
    Option("DHParameters", "", str.strip, "keys are agreed upon with elliptic curves"),
    Option("RejectNUL", "True", boolean, "a message with a NUL is refused"),
    Option("AllowBogusHELO", "True", boolean, "what a client calls itself is written down, and refuses nobody"),
    Option("RandFile", "", str.strip, "random numbers come from the kernel"),
    Option("AuthMaxBits", "", natural, "no login encrypts what follows; TLS does"),
    Option("CertFingerprintAlgorithm", "sha256", str.lower, "fingerprints of certificates are SHA-256"),
    Option("UnixFromLine", "From $g $d", str.strip, "how a message begins in a mailbox: sender and date"),
    Option("SingleLineFromHeader", "False", boolean, "a From field keeps its lines"),
    Option("MustQuoteChars", ".", str.strip, "beside those that RFC 5322 has quoted, a full name is quoted with these"),
    Option("OperatorChars", ".:%@!^/[]+", str.strip, "addresses are read as RFC 5321 has them"),
    Option("ColonOkInAddr", "True", boolean, "a colon may stand in an address, and names no host"),
    Option("DontExpandCnames", "True", boolean, "the host of an address is not replaced by what a CNAME record names"),
    Option("DontInitGroups", "False", boolean, "programs have all groups of their user"),
    Option("UnsafeGroupWrites", "True", boolean, "what a group may write is not trusted, unless DontBlameSendmail says so"),
    Option("DontProbeInterfaces", "False", boolean, "the addresses of this host's interfaces are its own"),
    Option("MailboxDatabase", "pw", str.strip, "users are those of passwd(5), or of PasswdFile"),
    Option("HostsFile", "/etc/hosts", str.strip, "names of hosts are looked up there first"),
    Option("UseCompressedIPv6Addresses", "True", boolean, "addresses of IPv6 are written short"),
    Option("RequiresDirfsync", "True", boolean, "a directory is on disk before a message is accepted"),
    Option("DialDelay", "0", seconds, "who is not reached is tried again by the next queue run"),
    Option("FastSplit", "", natural, "no host is looked up before a message is accepted"),
    Option("MaxRunnersPerQueue", "", natural, "MaxQueueChildren is for all queue runs together"),
    Option("DataFileBufferSize", "", natural, "a message goes to the disk at once"),
    Option("XscriptFileBufferSize", "", natural, "a transcript of a session is no file"),
    Option("SharedMemoryKey", "", str.strip, "messages are counted when somebody asks (sendmail -bP)"),
    Option("SharedMemoryKeyFile", "", str.strip, "the same"),
    Option("ProcessTitlePrefix", "", str.strip, "processes keep the name by which they were called"),
    Option("Timeout.ident", "0", seconds, "clients are not asked for a user name (ident)"),
    Option("Timeout.aconnect", "0", seconds, "each address of a destination has its own Timeout.connect"),
    Option("Timeout.misc", "", seconds, "other hosts are sent no NOOP or VERB"),
    Option("Timeout.fileopen", "", seconds, "files are opened without waiting for anybody"),
    Option("Timeout.control", "", seconds, "there is no control socket"),
)

_RESOLVER = "/etc/resolv.conf says so: options timeout:SECONDS attempts:NUMBER"
_REVOKED = "RelayCertFile has the certificates of clients that may relay, one by one; what is taken out of it counts no more"
#: name -> what to use instead
REFUSED = {
    "LDAPDefaultSpec": "nothing is looked up in LDAP; write what it says to a table, or to aliases, by cron",
    "UserDatabaseSpec": "there is no user database; AliasFile and GenericsTable do what it did",
    "ServiceSwitchFile": "users and hosts are looked up as /etc/nsswitch.conf has it, aliases in AliasFile",
    "DirectSubmissionModifiers": "DaemonPortOptions has modifiers for what comes by SMTP; what comes by sendmail(8) has none",
    "TrustedUser": "who owns QueueDirectory may do what root may: run the queue, rebuild aliases, start the daemon",
    "UseMSP": "callers without rights use the client queue by themselves; -Ac and -Am choose for others",
    "ControlSocketName": "signals control the daemon (HUP, TERM), and minimta(8) shows its state",
    "DefaultAuthInfo": "AuthInfoFile holds the logins at other hosts",
    "CRLFile": _REVOKED,
    "CRLPath": _REVOKED,
    "SSLEngine": "keys are in files: ServerKeyFile, ClientKeyFile",
    "SSLEnginePath": "keys are in files: ServerKeyFile, ClientKeyFile",
    "SafeFileEnvironment": "a file that an alias or .forward file names is written as the user who named it, by a path that nobody else can change, if it is a regular one",
    "QueueFactor": "QueueLA alone says when messages are only queued",
    "Timeout.resolver.retrans": _RESOLVER,
    "Timeout.resolver.retrans.first": _RESOLVER,
    "Timeout.resolver.retrans.normal": _RESOLVER,
    "Timeout.resolver.retry": _RESOLVER,
    "Timeout.resolver.retry.first": _RESOLVER,
    "Timeout.resolver.retry.normal": _RESOLVER,
}
# fmt: on

_BY_NAME = {row.name.lower(): row for row in ALWAYS}
_REFUSED = {name.lower(): name for name in REFUSED}


def always(key: str) -> Option | None:
    """The row of ALWAYS with this name in small letters. Raise OptionError for a name in REFUSED."""
    if key in _REFUSED:
        name = _REFUSED[key]
        raise OptionError(f"option {name} is not supported: {REFUSED[name]}")
    return _BY_NAME.get(key)


def always_by_letter(letter: str) -> Option | None:
    """The row of ALWAYS with this letter."""
    return next((row for row in ALWAYS if row.letter == letter), None)
