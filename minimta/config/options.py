"""Every option, once: Sendmail's name, its letter, type, default, meaning. Nothing else defines one.

A row of ``Options`` is an option that does something: ``options.queue_la`` is its value, of the type
that its reader returns. A row of ``ALWAYS`` is one of Sendmail's that says what is always so here:
it may be set to that and to nothing else, so that nothing is read and then ignored. Names that
Sendmail does not have are marked "ours". The tables of minimta.cf(5) are made from these, and a
test compares them.
"""

from __future__ import annotations

from minimta.config.option import Option, OptionError
from minimta.config.option import row as _option
from minimta.config.quantities import (
    boolean,
    interval,
    lengths,
    maybe_interval,
    natural,
    number,
    positive,
    positive_seconds,
    seconds,
    seconds_or_never,
    size,
    wait,
)
from minimta.config.values import (
    alias_files,
    blame,
    charset,
    choice,
    class_words,
    data_size,
    directory,
    fallback_hosts,
    filter_macros,
    filter_names,
    forward_path,
    host_address,
    host_name,
    local_delivery,
    log_places,
    luser_relay,
    mail_address,
    mail_filters,
    privacy,
    proxy,
    smart_host,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.block_lists import BlockList
    from minimta.config.ports import ClientPort, Port

#: in the class Options the name is the option's
_domain = host_name


def _queue_pattern(text: str) -> str:
    """A place, or one with "*" at its end, for all directories whose names begin so. Raise ValueError."""
    place = _place(text)
    if "*" in place[:-1] or place[-2:] == "**":
        raise ValueError(f"{place}: a * can only be the last character")
    return place


def _daemon_ports(text: str) -> tuple[Port, ...]:
    """Rows of DaemonPortOptions, separated by semicolons: see ``ports``. Raise ValueError."""
    from minimta.config import ports  # the default is read by the daemon alone

    return ports.read(text)


def _place(text: str) -> str:
    """A directory that must be somewhere, wherever a command is called. Raise ValueError."""
    if not text.strip():
        raise ValueError("no path at all")
    return directory(text)


def _client_ports(text: str) -> tuple[ClientPort, ...]:
    """Rows of ClientPortOptions, separated by semicolons: see ``ports``. Raise ValueError."""
    if not text.strip():
        return ()  # asked by workers, who can import nothing
    from minimta.config import ports  # wanted only by who sends to other hosts

    return ports.read_client(text)


def _auth_backend(text: str) -> str:
    from minimta.config import logins  # few commands want to know

    return logins.backend(text)


def _auth_mechanisms(text: str) -> tuple[str, ...]:
    from minimta.config import logins

    return logins.mechanisms(text)


def _auth_letters(text: str) -> str:
    from minimta.config import logins

    return logins.letters(text)


def _alert_command(text: str) -> str:
    from minimta.config import alerts  # few set it, and only the runner asks

    return alerts.command(text)


def _srv_options(text: str) -> str:
    from minimta.config import tls_options  # few set it

    return tls_options.server_letters(text)


def _ssl_options(text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()  # asked by workers, who can import nothing
    from minimta.config import tls_options

    return tls_options.ssl_names(text)


def _block_lists(text: str) -> tuple[BlockList, ...]:
    """Lists of DNSBL: see ``block_lists``. Raise ValueError."""
    from minimta.config import block_lists  # wanted only by the listener

    return block_lists.read(text)


class Options:
    """Typed values. Times are seconds, sizes octets. Read-only after start-up."""

    # fmt: off
    host_name = _option("HostName", "", host_name, "this host's full name ($j); empty: ask the system (ours)")
    queue_pattern = _option("QueueDirectory", "/var/spool/mqueue", _queue_pattern, "where qf and df files live; with * at its end in several directories, all those whose names begin so", "Q")
    client_queue_directory = _option("ClientQueueDirectory", "/var/spool/clientmqueue", _place, "where callers without rights leave their messages (ours)")
    mailbox_directory = _option("MailboxDirectory", "/var/mail", _place, "where the mailboxes are, one file a user (ours)")
    alias_files = _option("AliasFile", "/etc/aliases", alias_files, "sources of the alias databases that newaliases compiles, separated by commas; the first that has a name counts; -o PATH: it may be missing", "A")
    passwd_file = _option("PasswdFile", "", directory, "users from this file in passwd form instead of the system's (ours)")
    local_host_names = _option("LocalHostNames", "/etc/mail/local-host-names", directory, "file of further names that this host takes mail for (class w)")
    trusted_users = _option("TrustedUsers", "/etc/mail/trusted-users", directory, "file of users who may give any sender with -f without a warning (class t)")
    forward_path = _option("ForwardPath", "$z/.forward.$w+$h:$z/.forward+$h:$z/.forward.$w:$z/.forward", forward_path, "files that forward a user's mail, the first that exists counts; $z home, $u user, $h detail, $w host; empty: none", "J")
    default_user = _option("DefaultUser", "daemon", str.strip, "user as which programs and files of the aliases run", "u")
    dont_blame = _option("DontBlameSendmail", "safe", blame, "checks of files that are left out: GroupWritableForwardFile, ForwardFileInUnsafeDirPath and others")
    local_mailer = _option("LocalMailer", "mbox", local_delivery, "mbox, maildir, lmtp:SOCKET, lmtp:HOST:PORT, or a program with its arguments behind a bar: $u user, $h detail, $f sender (ours)")
    smrsh_directory = _option("SmrshDirectory", "/etc/mail/smrsh", directory, "if it exists, aliases and .forward files may run only what is in it (smrsh); empty: anything (ours)")
    max_program_memory = _option("MaxProgramMemory", "512000000", size, "octets of memory for each process of a program, 0 = no limit (ours)")
    max_program_processes = _option("MaxProgramProcesses", "200", number, "processes that a user may have while a program of theirs runs, 0 = no limit (ours)")
    host_status_directory = _option("HostStatusDirectory", "", str.strip, "directory, in QueueDirectory if it is no absolute path, where it is kept how other hosts were found; empty: what was not reached is remembered for a moment")
    mailer_table = _option("MailerTable", "/etc/mail/mailertable", directory, "text table domain -> mailer:host; PATH.cdb counts before it")
    virtuser_table = _option("VirtUserTable", "/etc/mail/virtusertable", directory, "text table address of a domain of this host -> user, address or error:; PATH.cdb counts before it")
    virtuser_domain = _option("VirtUserDomain", "", class_words, "further domains, no names of this host, whose users stand in VirtUserTable, and to which anybody may send; names, and files of names (class VirtHost)", accumulates=True)
    virtuser_entire_domain = _option("VirtUserEntireDomain", "False", boolean, "what is below a VirtUserDomain counts, too")
    fallback_mx_host = _option("FallbackMXhost", "", fallback_hosts, "a last host for all that goes by MX: it is asked when no exchanger of a domain was reached, or name servers do not answer; no MX lookup if it is in brackets")
    fallback_smart_host = _option("FallbackSmartHost", "", fallback_hosts, "where mail goes for domains that do not exist in DNS, as it is seen from here")
    connect_only_to = _option("ConnectOnlyTo", "", host_address, "for tests: an address to which every connection to other hosts is made, whatever their own is")
    luser_relay = _option("LuserRelay", "", luser_relay, "who gets mail for a name that nobody has: a host, user@host, local:USER, error:CODE TEXT")
    mail_hub = _option("MailHub", "", smart_host, "the host with the mailboxes of this one's users; aliases are followed here")
    local_relay = _option("LocalRelay", "", smart_host, "the same, if there is no MailHub")
    sticky_host = _option("StickyHost", "False", boolean, "addresses with a name of this host stay here, whatever LocalRelay and LuserRelay say; MailHub gets them as they are, before the aliases (FEATURE(stickyhost))")
    auth_info_file = _option("AuthInfoFile", "/etc/mail/authinfo", directory, "logins at other hosts, as Sendmail's FEATURE(authinfo) has them; PATH.cdb counts before it; mode 600, root's; empty: none (ours)")
    sender_relay = _option("SenderRelay", "/etc/mail/sender-relay", directory, "text table sender or @domain -> next hop, in place of SmartHost; PATH.cdb counts before it; empty: none (ours)")
    token_directory = _option("TokenDirectory", "/var/lib/minimta/tokens", directory, "where `minimta token` keeps access to providers that want OAuth, a file each; mode 700, root's (ours)")
    https_proxy = _option("HTTPSProxy", "", proxy, "host:port by which authorization servers (OAuth) and policies (MTA-STS) are asked; empty: none, whatever the environment says (ours)")
    smart_host = _option("SmartHost", "", smart_host, "send all that is not local there: host, [host] without MX lookup, [host]:port, an address; several, separated by commas, are tried in order")
    access_file = _option("AccessFile", "/etc/mail/access", directory, "the access table, who may do what: text, or the cdb beside it that makemap made; empty: none (ours)")
    relay_domains = _option("RelayDomains", "/etc/mail/relay-domains", directory, "file of hosts, domains and networks that may relay, and of domains that anybody may send to (class R; ours)")
    blocklist_recipients = _option("BlocklistRecipients", "False", boolean, "rows of the access table without a tag refuse recipients, too (ours)")
    delay_checks = _option("DelayChecks", "no", choice("no", "yes", "friend", "hater"), "what is held against client and sender is told at RCPT; not to recipients whose `Spam:` row says FRIEND, or only to those with HATER (ours)")
    accept_unresolvable = _option("AcceptUnresolvableDomains", "False", boolean, "the domain of a sender need not exist (ours)")
    refuse_null_mx = _option("RefuseNullMX", "False", boolean, "no mail is taken from senders whose domain says in DNS that it takes none (RFC 7505), so that no answer could reach them (ours)")
    block_lists = _option("DNSBL", "", _block_lists, "a list of addresses (its zone, perhaps a text with $a) whose mail is refused: FEATURE(dnsbl); one line a list (ours)", accumulates=True)
    trust_loopback = _option("TrustLoopback", "True", boolean, "clients of this host may relay; False where a proxy brings strangers' connections from a local address (ours)")
    refuse_private = _option("RefusePrivateAddresses", "False", boolean, "no host that only DNS or an address names is connected to where the Internet does not lead: 10/8, 192.168/16, fc00::/7 and others (ours)")
    # DIFFERS: Sendmail has it off; a domain that has signed such records wants them to count.
    dane = _option("DANE", "True", boolean, "TLSA records of a host say which certificate it must have, where DNSSEC vouches for them (RFC 7672)")
    mta_sts = _option("MTASTS", "True", boolean, "a policy that a domain has published by HTTPS says which hosts take its mail, and that their certificates are verified (RFC 8461; ours)")
    dkim_sign = _option("DKIMSign", "/etc/mail/dkim-sign", directory, "text table domain of From -> selector and key file, with which mail of this host's own users and clients is signed (DKIM); empty: none (ours)")
    tls_policy = _option("TLSPolicy", "/etc/mail/tls-policy", directory, "table next hop -> none, may, encrypt, verify, fingerprint, dane, dane-only, sts: what TLS must be there before anything is sent; text, or the cdb beside it; empty: none (ours)")
    ca_cert_file = _option("CACertFile", "", directory, "certificates of the authorities that are believed (PEM); without it and `CACertPath` those that the system knows")
    ca_cert_path = _option("CACertPath", "", directory, "the same, a directory that openssl-rehash(1) made")
    client_cert_file = _option("ClientCertFile", "", directory, "our certificate, with its chain (PEM), shown to hosts that ask for one")
    client_key_file = _option("ClientKeyFile", "", directory, "its key, which nobody else may read; empty: in the same file")
    server_cert_file = _option("ServerCertFile", "/etc/mail/server.pem", directory, "certificate of the listener, with its chain (PEM); without it STARTTLS is not offered; two, with a comma between them, for two kinds of key")
    server_key_file = _option("ServerKeyFile", "", directory, "its key, which nobody else may read; empty: in the same file")
    tls_srv_options = _option("TLSSrvOptions", "", _srv_options, "V: clients are not asked for a certificate, as else they are if `CACertFile`, `CACertPath` or `RelayCertFile` is set")
    cipher_list = _option("CipherList", "", str.strip, "ciphers of TLS 1.2, as openssl-ciphers(1) names them, both ways; empty: those that the system prefers")
    server_ssl_options = _option("ServerSSLOptions", "", _ssl_options, "what the listener does in TLS beside what it does anyway: SSL_OP_NO_TLSv1_2, SSL_OP_NO_TLSv1_3, SSL_OP_NO_TICKET")
    client_ssl_options = _option("ClientSSLOptions", "", _ssl_options, "the same, with other hosts")
    relay_cert_file = _option("RelayCertFile", "", directory, "certificates (PEM) of clients that may relay, whoever signed them (ours)")
    auth_backend = _option("AuthBackend", "/etc/mail/smtp-users", _auth_backend, "who knows the users that may log in (AUTH): a file that `minimta passwd` writes, dovecot:SOCKET, saslauthd:SOCKET; empty, or no such file: nobody may (ours)")
    auth_mechanisms = _option("AuthMechanisms", "SCRAM-SHA-256 PLAIN LOGIN", _auth_mechanisms, "how clients may log in; what is not one of these three is never offered")
    auth_options = _option("AuthOptions", "", _auth_letters, "m: only by SCRAM; A, d, p and y are always so")
    auth_realm = _option("AuthRealm", "", str.strip, "realm of users who log in without one: emma is the same as emma@REALM")
    clear_auth = _option("ClearAuth", "none", choice("none", "loopback"), "who may log in without TLS: nobody, or clients of this host (ours)")
    max_login_failures = _option("MaxLoginFailures", "20", natural, "failed logins after which an address is shut out for ten minutes, 0 = never (ours)")
    login_senders = _option("LoginSenders", "", directory, "text table sender, or @domain -> users, with commas between them, who may send as that, others only as themselves; PATH.cdb counts before it; empty: as anybody (ours)")
    # DIFFERS: Sendmail defers, unless it is set; as Postfix does it mail goes out where TLS is broken.
    tls_fallback_to_clear = _option("TLSFallbacktoClear", "True", boolean, "when a handshake fails that need not be made, the host is tried once more in clear")
    daemon_ports = _option("DaemonPortOptions", "Name=MTA, Addr=127.0.0.1, Port=25; Name=MTA-v6, Addr=::1, Port=25", _daemon_ports, "where to listen: Name, Addr, Port, Family, Modifiers, Listen, ReceiveSize, SendSize, children, delayLA, refuseLA, queueLA, DeliveryMode, TLS, HAProxy; one line a port", "O", accumulates=True, late=True)
    client_ports = _option("ClientPortOptions", "", _client_ports, "by which addresses other hosts are reached: Family=inet or inet6, Addr; one line a family, and without any both", accumulates=True)
    mail_filters = _option("MailFilter", "", mail_filters, "a filter of mail (milter): name, S=unix:PATH or inet:PORT@HOST, F=T, R or 4 (when it fails: 451, 554, 421), T=C:5m;S:10s;R:10s;E:5m; one line a filter (Sendmail's X lines)", accumulates=True)
    input_mail_filters = _option("InputMailFilters", "", filter_names, "names of the filters that mail passes, in this order; a port may have others (InputMailFilters=)")
    milter_macros_connect = _option("Milter.macros.connect", "j, _, {daemon_name}, {if_name}, {if_addr}", filter_macros, "macros that filters get with a connection")
    milter_macros_helo = _option("Milter.macros.helo", "{tls_version}, {cipher}, {cipher_bits}, {cert_subject}, {cert_issuer}", filter_macros, "with HELO and EHLO")
    milter_macros_envfrom = _option("Milter.macros.envfrom", "i, {auth_type}, {auth_authen}, {auth_ssf}, {auth_author}, {mail_mailer}, {mail_host}, {mail_addr}", filter_macros, "with MAIL")
    milter_macros_envrcpt = _option("Milter.macros.envrcpt", "{rcpt_mailer}, {rcpt_host}, {rcpt_addr}", filter_macros, "with RCPT")
    milter_macros_data = _option("Milter.macros.data", "", filter_macros, "with DATA")
    milter_macros_eoh = _option("Milter.macros.eoh", "", filter_macros, "with the end of the header")
    milter_macros_eom = _option("Milter.macros.eom", "{msg_id}", filter_macros, "with the end of the message")
    milter_log_level = _option("Milter.LogLevel", "-1", number, "the LogLevel of what filters do; -1: LogLevel")
    milter_max_data_size = _option("Milter.maxdatasize", "65535", data_size, "octets of a packet to a filter, 65535, 262143 or 1048575; the larger ones if the filter can take them")
    delivery_mode = _option("DeliveryMode", "background", choice("background", "interactive", "queueonly", "deferred"), "when a new message is first tried", "d", anybody=True)
    default_charset = _option("DefaultCharSet", "unknown-8bit", charset, "what 8-bit text is called that does not say what it is, when a host without 8BITMIME gets it", anybody=True)
    soft_bounce = _option("SoftBounce", "False", boolean, "for the first days of a new configuration: what would be refused or returned for good waits, 4yz in place of 5yz")
    error_mode = _option("ErrorMode", "print", choice("print", "quiet", "mail", "write", "exit"), "how the submitter is told of errors", "e", anybody=True)
    ignore_dots = _option("IgnoreDots", "False", boolean, "a line with a single dot does not end the message (-i)", "i", anybody=True)
    save_from_line = _option("SaveFromLine", "False", boolean, "a Unix From_ line before the header is kept, as X-Mailbox-Line (-s)", "f", anybody=True)
    me_too = _option("MeToo", "True", boolean, "the sender gets a copy too when an alias names them", "m", anybody=True)
    no_recipient_action = _option("NoRecipientAction", "none", choice("none", "add-to", "add-apparently-to", "add-bcc", "add-to-undisclosed"), "what to do with a message without To, Cc, Bcc", anybody=True)
    privacy_options = _option("PrivacyOptions", "authwarnings", privacy, "what strangers and users are not told or allowed: authwarnings, needmailhelo, novrfy, noexpn, noreceipts, nobodyreturn, goaway, public and others", "p")
    run_as_user = _option("RunAsUser", "minimta", str.strip, "user that listener and remote worker become when started as root; before a change empty the queue: what the user before has made is put aside")
    one_user = _option("OneUser", "False", boolean, "everything is done as the user who runs it, who is not root: for containers; programs and files of other users' .forward are neither run nor written, and that mail waits (ours)")
    sandbox = _option("Sandbox", "True", boolean, "listener and remote worker give up, by Landlock where the kernel has it, what they do not need (ours)")
    status_file = _option("StatusFile", "", directory, "statistics for mailstats(8), written once a second at most; empty: beside QueueDirectory, with .statistics at its end; /dev/null: none")
    pid_file = _option("PidFile", "/run/sendmail.pid", directory, "pid and command line of the daemon")
    log_level = _option("LogLevel", "9", number, "0 nothing, 9 every message, 10 and more details", "L")
    log_to = _option("LogTo", "syslog", log_places, "where the log goes: syslog (facility mail), stderr, files by their absolute paths, several with commas between them; or none (ours)")
    time_zone = _option("TimeZoneSpec", "", str.strip, "the zone of dates, as TZ has it: Europe/Berlin; empty: that of the system")
    helo_name = _option("HeloName", "", _domain, "what other hosts are told in EHLO; empty: this host's full name")
    greeting = _option("SmtpGreetingMessage", "$j minimta $v/$Z; $b", str.strip, "text of the 220; $j host, $v and $Z version, $b date")
    max_message_size = _option("MaxMessageSize", "0", size, "largest message accepted in octets, 0 = no limit (RFC 1870)")
    max_headers_length = _option("MaxHeadersLength", "262144", size, "largest header block accepted in octets")
    # DIFFERS: Sendmail cuts what is longer, which breaks signatures, and may make another message of it.
    max_mime_header_length = _option("MaxMimeHeaderLength", "0", lengths, "octets of a MIME field, and behind a slash of a parameter of one (else half of that); a message with a longer one is refused; 0 = no limit")
    max_recipients = _option("MaxRecipientsPerMessage", "1000", natural, "recipients accepted for one message, 0 = no limit; over it 452")
    deliver_by_min = _option("DeliverByMin", "0", seconds_or_never, "seconds that a client must leave for delivery with BY=...;R; below 0 DELIVERBY is not offered")
    # DIFFERS: Sendmail has 25; RFC 5321 section 6.3 wants at least 100.
    max_hop_count = _option("MaxHopCount", "100", positive, "Received fields before a message is taken for a loop")
    max_alias_recursion = _option("MaxAliasRecursion", "10", number, "depth of alias and .forward expansion")
    max_daemon_children = _option("MaxDaemonChildren", "100", natural, "connections at the same time, 0 = no limit; over it 421")
    max_connections_per_client = _option("MaxConnectionsPerClient", "20", natural, "the same for one address that may not relay, 0 = no limit (ours)")
    connection_rate_throttle = _option("ConnectionRateThrottle", "0", natural, "connections that a port takes in a second, 0 = no limit; the others wait")
    max_queue_children = _option("MaxQueueChildren", "10", positive, "programs and other hosts that are delivered to at the same time, by all queue runs together")
    destination_concurrency = _option("DestinationConcurrency", "0", natural, "connections at the same time to one next hop, or one host, 0 = all but a fifth of `MaxQueueChildren` (ours)")
    single_thread_delivery = _option("SingleThreadDelivery", "False", boolean, "one connection at a time to one next hop, or one host")
    nice_queue_run = _option("NiceQueueRun", "0", natural, "by how much queue runs give way to other processes (nice(3))")
    connection_cache_size = _option("ConnectionCacheSize", "2", natural, "connections to other hosts that are kept when all is sent, for messages that may come; 0 = none", "k")
    # DIFFERS: Sendmail has 5m, within a queue run; here a connection is kept between deliveries, too.
    connection_cache_timeout = _option("ConnectionCacheTimeout", "2s", wait, "for how long, if messages come to their next hop as often as that", "K")
    destination_rate_delay = _option("DestinationRateDelay", "0", seconds, "between two messages to one next hop: what comes sooner waits in the queue; 0 = none (ours)")
    queue_la = _option("QueueLA", "8", number, "load average for each processor from which on messages are only queued; in a container the load of the host does not count", "x")
    refuse_la = _option("RefuseLA", "12", number, "load average for each processor from which on connections are refused; see `QueueLA`", "X")
    delay_la = _option("DelayLA", "0", number, "load average for each processor from which on a port takes one connection a second, and a command waits for one; 0 = never; see `QueueLA`")
    min_free_blocks = _option("MinFreeBlocks", "100", number, "free blocks the queue's file system must have, else 452", "b")
    greet_pause = _option("GreetPause", "0", number, "milliseconds before the 220 in which a client that may not relay must be silent, 0 = none (ours)")
    min_data_rate = _option("MinDataRate", "100", natural, "octets of message text that a client must send a second, after its first minute (ours)")
    max_noop_commands = _option("MaxNOOPCommands", "20", natural, "NOOP that a client may say between two messages, before each costs a second")
    reject_log_interval = _option("RejectLogInterval", "3h", wait, "how often it is told that connections are still refused (MaxDaemonChildren, RefuseLA)")
    connection_rate_window = _option("ConnectionRateWindowSize", "60s", positive_seconds, "what `ClientRate:` rows of the access table count in")
    bad_rcpt_throttle = _option("BadRcptThrottle", "10", number, "refused recipients after which each costs the client a second, 0 = never")
    group_commit = _option("GroupCommit", "True", boolean, "messages that arrive together become durable together; False: fsync each (ours)")
    eight_bit_mode = _option("EightBitMode", "mimify", choice("mimify", "pass8", "strict"), "8-bit text for a host without 8BITMIME: convert, send as it is, return", "8", anybody=True)
    min_queue_age = _option("MinQueueAge", "0", interval, "how long a deferred message rests between attempts")
    max_queue_age = _option("MaxQueueAge", "0", interval, "a deferred message rests for as long as it was old at its last attempt, which doubles the time with each, at most so long; 0: always `MinQueueAge`")
    queue_sort_order = _option("QueueSortOrder", "priority", choice("priority", "host", "time", "filename", "modification", "none"), "which message a queue run takes first")
    max_messages_per_user = _option("MaxMessagesPerUser", "0", natural, "messages of one user that are taken from clientmqueue at a time, 0 = all; the others wait for the next full run (ours)")
    max_queue_run_size = _option("MaxQueueRunSize", "0", natural, "messages in one queue run, 0 = all")
    always_bcc = _option("AlwaysBcc", "", mail_address, "who gets a copy of every message taken, in no header; only in the file (ours)", file_only=True)
    redirect_all = _option("RedirectAll", "", mail_address, "who gets, instead of its recipients, all mail that would go to other hosts; only in the file (ours)", file_only=True)
    masquerade_as = _option("MasqueradeAs", "", _domain, "senders of this host are shown to be of this domain, in the header")
    masquerade_domain = _option("MasqueradeDomain", "", class_words, "further domains whose senders are; names, and files of names (class M)", accumulates=True)
    masquerade_exception = _option("MasqueradeException", "", class_words, "domains, with all below them, whose senders are not (class N)", accumulates=True)
    masquerade_entire_domain = _option("MasqueradeEntireDomain", "False", boolean, "what is below a MasqueradeDomain counts, too")
    limited_masquerade = _option("LimitedMasquerade", "False", boolean, "of this host's names only those of MasqueradeDomain, and addresses without a domain")
    masquerade_envelope = _option("MasqueradeEnvelope", "False", boolean, "envelope senders are rewritten as those of the header are, also by GenericsTable")
    all_masquerade = _option("AllMasquerade", "False", boolean, "recipients in the header are rewritten as senders are")
    exposed_users = _option("ExposedUser", "", class_words, "whose address is never masqueraded; users, and files of users (class E)", accumulates=True)
    local_no_masquerade = _option("LocalNoMasquerade", "False", boolean, "mail that stays on this host is not rewritten")
    always_add_domain = _option("AlwaysAddDomain", "False", boolean, "addresses without a domain get this host's name, in local mail, too")
    generics_table = _option("GenericsTable", "/etc/mail/genericstable", directory, "text table user or address of this host -> address that others see; PATH.cdb counts before it")
    generics_domain = _option("GenericsDomain", "", class_words, "domains whose addresses GenericsTable may name, beside this host's full name; names, and files of names (class G)", accumulates=True)
    generics_entire_domain = _option("GenericsEntireDomain", "False", boolean, "what is below a GenericsDomain counts, too")
    srs_domain = _option("SRSDomain", "", _domain, "mail of others that is forwarded to other hosts gets a sender of this domain of ours (SRS); empty: keeps its own (ours)")
    srs_key_file = _option("SRSKeyFile", "/etc/mail/srs-key", directory, "keys of SRS, one a line, mode 600; root makes it when it is first needed (ours)")
    recipient_factor = _option("RecipientFactor", "30000", number, "what each recipient adds to the priority number", "y")
    class_factor = _option("ClassFactor", "1800", number, "what each point of Precedence takes from it", "z")
    retry_factor = _option("RetryFactor", "90000", number, "what each attempt adds to it", "Z")
    double_bounce_address = _option("DoubleBounceAddress", "postmaster", str.strip, "who gets a bounce that cannot be delivered; empty: nobody")
    postmaster_copy = _option("PostmasterCopy", "", str.strip, "who gets the header of each message that is returned, and why it is, beside its sender; empty: nobody", "P")
    error_header = _option("ErrorHeader", "", str.strip, "what stands at the beginning of each bounce: a text, or the path of a file with it; $j host", "E")
    dead_letter_drop = _option("DeadLetterDrop", "", directory, "file for messages that can be neither delivered nor returned nor saved at home")
    alert_command = _option("AlertCommand", "", _alert_command, "who is told, not by mail, that mail does not go out, and when it does again: a program with its arguments, or file:/PATH with an https URL in it; empty: nobody (ours)", file_only=True)
    alert_age = _option("AlertAge", "4h", interval, "with AlertCommand: how old a message may be; 0: however old (ours)")
    alert_format = _option("AlertFormat", "text", choice("text", "json"), "what an https URL gets: plain text (ntfy), or an object of JSON whose text, content and message are the same sentence (Slack, Mattermost, Discord, Gotify; ours)")
    timeout_queuereturn = _option("Timeout.queuereturn", "5d", interval, "bounce what has waited longer", "T")
    timeout_queuewarn = _option("Timeout.queuewarn", "4h", interval, "tell the sender, once, when it has waited longer; 0 = never")
    timeout_queuereturn_normal = _option("Timeout.queuereturn.normal", "", maybe_interval, "the same for messages with `Priority: normal`, or none; empty: Timeout.queuereturn; so are these:")
    timeout_queuereturn_urgent = _option("Timeout.queuereturn.urgent", "", maybe_interval, "with `Priority: urgent`")
    timeout_queuereturn_non_urgent = _option("Timeout.queuereturn.non-urgent", "", maybe_interval, "with `Priority: non-urgent`")
    timeout_queuereturn_dsn = _option("Timeout.queuereturn.dsn", "", maybe_interval, "bounces, receipts and warnings")
    timeout_queuewarn_normal = _option("Timeout.queuewarn.normal", "", maybe_interval, "when the sender is told of messages with `Priority: normal`, or none; empty: Timeout.queuewarn; so are these:")
    timeout_queuewarn_urgent = _option("Timeout.queuewarn.urgent", "", maybe_interval, "with `Priority: urgent`")
    timeout_queuewarn_non_urgent = _option("Timeout.queuewarn.non-urgent", "", maybe_interval, "with `Priority: non-urgent`")
    timeout_queuewarn_dsn = _option("Timeout.queuewarn.dsn", "", maybe_interval, "bounces, receipts and warnings, of which nobody is told")
    timeout_program = _option("Timeout.program", "15m", wait, "a program that runs longer is ended and tried again later (ours)")
    timeout_hoststatus = _option("Timeout.hoststatus", "30m", wait, "with HostStatusDirectory: a host that was not reached is not asked again for so long")
    timeout_command = _option("Timeout.command", "5m", seconds, "listener: wait for the next command")
    timeout_datablock = _option("Timeout.datablock", "5m", seconds, "wait for the next block of message data, both ways")
    timeout_connect = _option("Timeout.connect", "1m", seconds, "client: TCP connection")
    timeout_iconnect = _option("Timeout.iconnect", "1m", seconds, "client: TCP connection in the first attempt")
    timeout_initial = _option("Timeout.initial", "5m", seconds, "client: the 220 greeting")
    timeout_helo = _option("Timeout.helo", "5m", seconds, "client: reply to EHLO and HELO")
    timeout_lhlo = _option("Timeout.lhlo", "2m", seconds, "client: reply to LHLO (LMTP)")
    # DIFFERS: Sendmail waits an hour; a handshake is made by machines.
    timeout_starttls = _option("Timeout.starttls", "2m", seconds, "the TLS handshake, both ways")
    timeout_auth = _option("Timeout.auth", "10m", seconds, "client: each reply to AUTH")
    timeout_mail = _option("Timeout.mail", "10m", seconds, "client: reply to MAIL")
    timeout_rcpt = _option("Timeout.rcpt", "1h", seconds, "client: reply to RCPT")
    timeout_datainit = _option("Timeout.datainit", "5m", seconds, "client: the 354")
    timeout_datafinal = _option("Timeout.datafinal", "1h", seconds, "client: reply to the final dot")
    timeout_rset = _option("Timeout.rset", "5m", seconds, "client: reply to RSET")
    timeout_quit = _option("Timeout.quit", "2m", seconds, "client: reply to QUIT")
    # fmt: on

    def __init__(self) -> None:
        #: names of accumulating options that were given: the first value replaces the default
        self._given: set[str] = set()
        #: attribute of what is late -> its texts, as long as nobody has asked for the value
        self.kept: dict[str, list[str]] = {}
        #: what in the configuration file is no error and yet suspicious, a line of text each
        self.warnings: list[str] = []
        #: how many lines of the configuration file have set something
        self.configured = 0

    @property
    def has_queue_group(self) -> bool:
        """Is QueueDirectory a pattern, for several directories? See ``queue.directories``."""
        return self.queue_pattern.endswith("*")

    @property
    def queue_directory(self) -> str:
        """QueueDirectory; of a pattern the directory that the queue directories are in.

        What is kept for the queue as a whole (locks, statistics, what is known of hosts) has a name
        that begins with it.
        """
        if not self.has_queue_group:
            return self.queue_pattern
        return self.queue_pattern.rpartition("/")[0] or "/"

    @queue_directory.setter
    def queue_directory(self, path: str) -> None:
        """Let it be *path*, as a line of the configuration file would."""
        self.queue_pattern = path

    def supersede(self) -> None:
        """What accumulates begins anew: the command line replaces what the file says."""
        self._given.clear()

    def set(self, option: Option, text: str) -> None:
        """Set one option; DaemonPortOptions accumulates. Raise OptionError for a bad value."""
        value = option.value(text)
        if option.accumulates:
            if option.name in self._given:
                value = getattr(self, option.attribute) + value
            self._given.add(option.name)
        if option.attribute:
            setattr(self, option.attribute, value)

    def keep(self, option: Option, text: str) -> None:
        """Like set(), but *text* is read when the value is asked for; OptionError is raised then.

        Only for what is ``late``, which accumulates. To read ports takes as long as the rest of a file.
        """
        self._given.add(option.name)
        self.kept.setdefault(option.attribute, []).append(text)


#: all that may be set, in the order of the manual
TABLE = tuple(row for row in vars(Options).values() if isinstance(row, Option))

_BY_NAME = {row.name.lower(): row for row in TABLE}
_BY_LETTER = {row.letter: row for row in TABLE if row.letter}


def by_name(name: str) -> Option:
    """Find an option by Sendmail's name, in any case. Raise OptionError if there is none."""
    key = name.strip().lower()
    option = _BY_NAME.get(key)
    if option is None:
        from minimta.config import sendmail_names  # few say what is always so, or was never here

        option = sendmail_names.always(key)
    if option is None:
        from minimta.config import unknown_names  # only on the way to an error

        hint = unknown_names.hint(name.strip(), TABLE)
        raise OptionError(f"unknown option name {name.strip()}{hint}")
    return option


def by_letter(letter: str) -> Option:
    """Find an option by its one-letter name (-oX). Raise OptionError if there is none."""
    option = _BY_LETTER.get(letter)
    if option is None:
        from minimta.config import sendmail_names

        option = sendmail_names.always_by_letter(letter)
    if option is None:
        shown = letter if letter.isascii() and letter.isalnum() else f"0x{ord(letter):x}"
        raise OptionError(f"unknown option name {shown}")
    return option
