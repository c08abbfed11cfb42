"""What a mail provider's refusal means, in words, and what its customer can do about it.

Providers put the reason into the text of a reply; its code is the same for many. A row of the table has the
beginning of the code and words that the text has; the first row that fits counts, so what one provider says
stands before what all say. The texts are those of Google, Microsoft, Amazon, SendGrid, Fastmail, Apple, Yahoo,
GMX, Zoho, Brevo and Mailgun, and of Postfix, Exim and Dovecot, which most others run.

Nothing here opens or asks anything. What a host says is not trusted: its text chooses a row, and is never part
of the answer.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple


class ReplyKind(enum.Enum):
    """What a refusal is about; whoever reads it decides by that what to ask for next."""

    PASSWORD = "password"
    #: the password of the account is right or wrong, and never enough
    APP_PASSWORD = "app-password"
    #: passwords are not taken at all: OAuth
    OAUTH = "oauth"
    #: this account, or organization, may not send by SMTP at all
    LOGIN_DISABLED = "login-disabled"
    #: nobody has logged in
    LOGIN_WANTED = "login-wanted"
    LOCKED = "locked"
    SENDER = "sender"
    RELAY = "relay"
    #: what we say in EHLO
    HELO = "helo"
    #: the reputation, or the name, of our address
    ADDRESS = "address"
    #: SPF, DKIM, DMARC of the sender's domain
    DOMAIN = "domain"
    LIMIT = "limit"
    SIZE = "size"
    RECIPIENT = "recipient"
    CONTENT = "content"
    TLS = "tls"
    LATER = "later"


class ReplyMeaning(NamedTuple):
    """What a reply means; both sentences begin with a small letter and have no full stop."""

    kind: ReplyKind
    meaning: str
    remedy: str


class _Row(NamedTuple):
    #: beginning of the code, "5", "535", or with the status behind it, "535 5.7.139"
    code: str
    #: regular expression, found in the text in small letters
    words: str
    kind: ReplyKind
    meaning: str
    remedy: str


_K = ReplyKind
_APP_PASSWORD = "make an app password in the account's security page, and put it into authinfo"
_MASQUERADE = "let mail leave with an address of that account: MasqueradeAs, or genericstable"
_PTR = "have whoever gave you the address set its PTR to this host's name, or send through a smart host"
_SMART_HOST = "send through a provider: SmartHost, port 587, and a login"
_WAIT = "the mail waits, and goes when the limit is over; if that is often, ask for a higher one"

_ROWS = (
    # --- Google ---
    _Row("534", "application-specific password|invalidsecondfactor", _K.APP_PASSWORD,
         "Google wants an app password, not the account's own", _APP_PASSWORD + " (myaccount.google.com/apppasswords)"),
    _Row("53", "p=weblogin|log ?in (with|via) your web browser", _K.LOCKED,
         "Google holds the login back until somebody has logged in by a browser",
         "log in there once as that account, then make an app password"),
    _Row("535", "username and password not accepted|p=badcredentials", _K.PASSWORD,
         "Google does not know this user with this password",
         "the user is the whole address, the password an app password (myaccount.google.com/apppasswords)"),
    _Row("550", "daily user sending (quota|limit)|p=usersdailylimit", _K.LIMIT,
         "this Google account has sent all that it may in a day", _WAIT),
    _Row("55", "invalid credentials for relay|p=invalidcredentialsrelay", _K.RELAY,
         "Google's relay does not know this host's address",
         "add the address in the Admin console (Apps, Gmail, Routing, SMTP relay service), or log in at smtp.gmail.com"),
    _Row("", "p=notauthorizederror|not authorized to 5?5?0?-?5?.?7?.?1? ?send email directly", _K.ADDRESS,
         "Google takes no mail directly from addresses like ours (a home or cloud network)", _SMART_HOST),
    # --- Microsoft ---
    _Row("535", "smtpclientauthentication is disabled|smtp_auth_disabled", _K.LOGIN_DISABLED,
         "authenticated SMTP is switched off for this organization or mailbox at Microsoft",
         "an administrator there allows it: Set-CASMailbox -SmtpClientAuthenticationDisabled $false (mailbox, Manage email apps)"),
    _Row("", "basic authentication is (disabled|not supported)", _K.OAUTH,
         "Microsoft takes no passwords here any more, only OAuth", "minimta token get NAME --provider microsoft"),
    _Row("535", "security defaults|did not meet the criteria", _K.LOGIN_DISABLED,
         "a rule of this organization (security defaults, conditional access) forbids the login",
         "an administrator there makes an exception for this account; or use OAuth, minimta token get"),
    _Row("535", "user credentials were incorrect|5\\.7\\.3 authentication unsuccessful", _K.PASSWORD,
         "Microsoft does not take this login", "see whether user and password are right, and authenticated SMTP is allowed for the mailbox; else OAuth: minimta token get"),
    _Row("53", "5\\.7\\.57|not authenticated to send", _K.LOGIN_WANTED,
         "Microsoft wants a login, and there was none", "a row in authinfo for smtp.office365.com"),
    _Row("55", "sendasdenied|permissions? to send as|not allowed to send as", _K.SENDER,
         "this mailbox may not send as that address", _MASQUERADE + "; or give it Send As there"),
    _Row("55", "tenantattribution", _K.RELAY,
         "Microsoft does not know which organization this mail is of", "a connector there for this host's address, or a login at smtp.office365.com"),
    _Row("55", "unregistered domains", _K.SENDER,
         "the sender's domain is not one of the organization's", _MASQUERADE),
    _Row("55", "banned sending ip|part of their network is on our block ?list|traffic not accepted from this ip|s3140", _K.ADDRESS,
         "Microsoft blocks this host's address or network", "ask for its removal at sender.office.com, or send through a smart host"),
    _Row("55", "bad outbound sender|account (has been )?blocked|spam abuse detected", _K.LOCKED,
         "Microsoft has shut this account for what it sent", "an administrator there looks into it and lets it go (Restricted entities)"),
    _Row("", "reached your daily limit|submission quota exceeded|recipient limit exceeded|5\\.1\\.90", _K.LIMIT,
         "this mailbox has sent to as many as it may in a day", _WAIT),
    _Row("4", "sender thread limit|concurrent connections? limit|4\\.7\\.500|4\\.3\\.2 storedrv", _K.LIMIT,
         "too many messages at the same time for this mailbox", "MaxConnectionsPerHop, or fewer at once; the mail waits"),
    _Row("550", "5\\.4\\.1 recipient address rejected: access denied", _K.RECIPIENT,
         "there is no such address at that organization", "correct the address, in the alias or .forward that names it, too"),
    _Row("550", "5\\.7\\.515|required authentication level", _K.DOMAIN,
         "the sender's domain has no SPF, DKIM and DMARC that fit", "publish them (minimta dkim DOMAIN), or send through a provider"),
    # --- Amazon, SendGrid, others that sell it ---
    _Row("554", "email address is not verified|identities failed the check", _K.SENDER,
         "Amazon SES sends only from addresses that were verified there (in the sandbox also only to such)",
         "verify the domain in that region, ask for production access, and " + _MASQUERADE),
    _Row("535", "authentication credentials invalid", _K.PASSWORD,
         "the login is none that this provider knows",
         "at Amazon it is SMTP credentials of that region that are wanted, no access key; see authinfo"),
    _Row("", "throttling failure: daily|maximum credits exceeded|exceeded your messaging limits|daily (message )?quota", _K.LIMIT,
         "the account has sent all that it may for now", _WAIT),
    _Row("4", "throttling failure|maximum sending rate", _K.LIMIT,
         "more messages a second than the account may send", "the mail waits and is sent later; ask for a higher rate"),
    _Row("554", "sending (suspended|paused)|account (is )?(disabled|suspended)", _K.LOCKED,
         "the provider has stopped this account", "see its console, or ask its support"),
    _Row("554", "not authorized to perform", _K.LOGIN_DISABLED,
         "this user may log in, but not send (IAM policy)", "allow it ses:SendRawEmail"),
    _Row("550", "verified sender identity|does not match a verified", _K.SENDER,
         "SendGrid sends only from verified senders", "verify the domain there, and " + _MASQUERADE),
    _Row("535", "authorization grant is invalid|bad username / password", _K.PASSWORD,
         "SendGrid does not know this key", "the user is the word apikey, the password an API key that may send mail"),
    _Row("5", "unauthorized ip address", _K.ADDRESS,
         "the provider takes this login only from addresses on a list", "add this host's address to it there"),
    _Row("5", "activate your smtp account|smtp account is not yet activated", _K.LOGIN_DISABLED,
         "the provider has not yet released this account for SMTP", "ask its support"),
    _Row("", "sandbox subdomains? ", _K.SENDER,
         "a sandbox domain sends only to addresses that were authorized there", "use a domain of your own there"),
    # --- providers of mailboxes ---
    _Row("551", "not authorised to send from this", _K.SENDER,
         "Fastmail sends only from addresses and domains of the account", "add the address there, or " + _MASQUERADE),
    _Row("550", "from address is not one of your addresses", _K.SENDER,
         "iCloud sends only from the account's own addresses", _MASQUERADE),
    _Row("55", "relaying disallowed|sender address is not allowed|not owned by user|not logged in|must be same as authorization user|"
         "sender (address )?(rejected|verify failed)?:? ?(not )?(allowed|permitted) (for|to)|sender is not allowed", _K.SENDER,
         "this login may not send as that address", _MASQUERADE),
    _Row("501", "same as authorization user", _K.SENDER, "this login may not send as that address", _MASQUERADE),
    _Row("550", "request failed; mailbox unavailable", _K.SENDER,
         "Yahoo sends only from the account's own address", _MASQUERADE),
    _Row("53", "too many (bad auth|failed|login)|account (is )?(temporarily )?(locked|blocked)|try again later", _K.LOCKED,
         "after too many wrong logins the account is shut for a while", "correct authinfo first, then wait"),
    _Row("53", "app(lication)?[- ]?(specific )?password", _K.APP_PASSWORD,
         "the provider wants an app password, not the account's own", _APP_PASSWORD),
    _Row("", "xoauth2|oauth ?2|invalid_grant|invalid_token", _K.OAUTH,
         "the access token is not taken", "minimta token check NAME; authorize it again with minimta token renew NAME"),
    # --- what all say ---
    _Row("53", "must issue a starttls|starttls (is )?required|encryption required", _K.TLS,
         "nothing is taken there without TLS", "port 587 or 465; see TLSPolicy, which may forbid it"),
    _Row("538", "", _K.TLS, "the login needs TLS", "port 587 or 465; see TLSPolicy, which may forbid it"),
    _Row("534", "", _K.LOGIN_DISABLED, "this kind of login is not taken", "another mechanism (M: in authinfo), an app password, or OAuth"),
    _Row("535", "", _K.PASSWORD, "user or password is wrong", "correct authinfo; many providers want the whole address as user, and an app password"),
    _Row("530", "", _K.LOGIN_WANTED, "the host wants a login, and there was none", "a row in authinfo for it"),
    _Row("525", "", _K.LOGIN_DISABLED, "this account may not log in here", "ask the provider"),
    _Row("", "authentication (is )?required|authenticat(e|ion) first|unauthenticated senders? not allowed", _K.LOGIN_WANTED,
         "the host wants a login, and there was none", "a row in authinfo for it"),
    _Row("", "helo command rejected|need fully-qualified hostname|invalid (helo|ehlo)|(helo|ehlo)[^.]* (invalid|rejected|not accepted)", _K.HELO,
         "the name with which this host greets is not accepted", "HostName = the full name of this host, one that DNS knows"),
    _Row("", "ptr resource record|\\bptr record|p=ipv6autherror|reverse (dns|hostname)|cannot find your (reverse )?hostname|no reverse|5\\.7\\.25|4\\.7\\.25|guidelines regarding ptr", _K.ADDRESS,
         "this host's address has no name in DNS (PTR), or one that does not lead back", _PTR),
    _Row("", "spamhaus|blocked using|black ?list|block ?list|listed (at|in|by|on)|\\brbl\\b|dnsbl|barracuda|poor reputation|bad reputation|likely unsolicited|unusual rate|rate limited due to ip", _K.ADDRESS,
         "this host's address is on a block list, or has a bad name", "look where it is listed and why, or send through a smart host: " + _SMART_HOST),
    _Row("", "\\bspf\\b|\\bdkim\\b|\\bdmarc\\b|unauthenticated|p=unauthenticated|5\\.7\\.26|5\\.7\\.2[34789]|5\\.7\\.30", _K.DOMAIN,
         "the sender's domain does not vouch for this host (SPF, DKIM, DMARC)",
         "put this host into its SPF record and sign with DKIM (minimta dkim DOMAIN), or send through its provider"),
    _Row("", "sender address rejected: (domain not found|undeliverable)|(sender|from).{0,40}(domain|host).{0,20}(not (exist|found|resolve)|unresolvable)|does not exist.*sender|5\\.1\\.8", _K.SENDER,
         "the sender's domain does not exist in DNS", "give mail an address that exists: MasqueradeAs, or genericstable"),
    _Row("", "relay(ing)? (access )?(is )?(denied|not permitted|not allowed|prohibited)|unable to relay|not permitted to relay|we do not relay|5\\.7\\.64", _K.RELAY,
         "the host does not relay for us: it wants a login, or is the wrong host", "a row in authinfo for it, or correct SmartHost"),
    _Row("", "greylist|graylist|postgrey|try again (later|in)", _K.LATER,
         "the host makes strangers wait (greylisting)", "nothing: it is tried again"),
    _Row("", "message size|too (large|big)|exceed(s|ed).{0,30}size|5\\.3\\.4|5\\.2\\.3", _K.SIZE,
         "the message is larger than the host takes", "send less; MaxMessageSize here refuses it sooner"),
    _Row("", "mailbox (is )?full|over ?quota|quota exceeded|out of storage|5\\.2\\.2|4\\.2\\.2", _K.RECIPIENT,
         "the recipient's mailbox is full", "the recipient makes room"),
    _Row("", "\\brate\\b|too many|limit exceeded|throttl", _K.LIMIT, "more than the host takes of us at a time", _WAIT),
    _Row("55", "user unknown|unknown user|no such (user|recipient|mailbox)|does not exist|nosuchuser|recipient (address )?rejected|mailbox (unavailable|not found)|invalid recipient|5\\.1\\.[0126]|address rejected", _K.RECIPIENT,
         "there is no such address there", "correct it, in the alias or .forward that names it, too"),
    _Row("55", "virus|spam|content|prohibited|policy|malware|5\\.7\\.0|suspicious", _K.CONTENT,
         "the host refuses what the message says, or how it looks", "look at the message; the host's own page, if it names one"),
    _Row("421", "", _K.LATER, "the host is busy, or wants no more of us for now", "nothing: it is tried again"),
)  # fmt: skip

#: a reply in a longer text: the code, and perhaps a status
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)(?=[ -])[ -]?(?:([245]\.\d{1,3}\.\d{1,3}))?")
_AGAIN = re.compile(r"\s+[45]\d\d[- ](?:[45]\.\d{1,3}\.\d{1,3} )?")
_MATCHERS = tuple((row, re.compile(row.words)) for row in _ROWS)


def explain(text: str) -> ReplyMeaning | None:
    """What the refusal in *text* means, None if there is none in it, or none that is known.

    *text* is a reply with all its lines, or what mailq or the log has around it.
    """
    found = _REPLY.search(text)
    if found is None:
        return None
    code, reply = found[1], text[found.start() :]
    # A reply of several lines has its code at the beginning of each.
    words = _AGAIN.sub(" ", " ".join(reply.split())).lower()
    for row, pattern in _MATCHERS:
        if code.startswith(row.code) and pattern.search(words):
            return ReplyMeaning(row.kind, row.meaning, row.remedy)
    return None
