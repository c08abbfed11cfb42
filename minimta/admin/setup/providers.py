"""What is known of the providers that ``minimta setup`` has a name for, as they are in 2026.

A row says where mail is handed in and by whom; which sender is taken from us; where a password for a
program comes from; and what to do when one is refused. Nothing else here knows a provider by name,
but ``authorize`` the servers of OAuth and ``provider_replies`` what providers answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MailProvider:
    """One that people send mail through."""

    name: str
    title: str
    #: {region} is to be filled in
    host: str
    #: submission with STARTTLS; what else it listens on stands in other_ports
    port: int = 587
    other_ports: tuple[int, ...] = (465,)
    #: what to ask for as the login; "" if the user is the same for everybody
    user_prompt: str = "Mail address"
    user: str = ""
    secret_prompt: str = "App password"
    #: is the login an address, and the only sender that is taken?
    sends_as_user: bool = True
    #: where a password for a program is made
    where: str = ""
    #: what most often is the matter with a login that is refused
    advice: str = ""
    #: of ``authorize.PROVIDERS``: "" if there is no OAuth for mail
    oauth: str = ""
    #: is OAuth what it wants, and a password the exception?
    prefers_oauth: bool = False
    #: domains of addresses by which it is known
    domains: tuple[str, ...] = ()


PROVIDERS = {
    row.name: row
    for row in (
        MailProvider(
            "gmail",
            "Gmail, Google Workspace",
            "smtp.gmail.com",
            user_prompt="Gmail address",
            where="https://myaccount.google.com/apppasswords (needs 2-step verification)",
            advice="Google takes an app password here, not that of the account: make one at"
            " https://myaccount.google.com/apppasswords; where the organization allows none,"
            " OAuth: --client-id ID --client-secret-file FILE",
            oauth="google",
            domains=("gmail.com", "googlemail.com"),
        ),
        MailProvider(
            "office365",
            "Microsoft 365, Exchange Online",
            "smtp.office365.com",
            other_ports=(25,),
            user_prompt="Address of the mailbox that sends",
            secret_prompt="Password of the mailbox",
            advice="Microsoft wants OAuth: register an application at https://entra.microsoft.com and"
            " give its --client-id; a password goes only while the tenant still allows it, and the"
            " mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled $false)",
            oauth="microsoft",
            prefers_oauth=True,
        ),
        MailProvider(
            "fastmail",
            "Fastmail",
            "smtp.fastmail.com",
            user_prompt="Fastmail address (the account's login)",
            where="Settings, Privacy & Security, Manage app passwords",
            advice="Fastmail takes an app password with the access Mail (SMTP), not that of the"
            " account: Settings, Privacy & Security, Manage app passwords",
            domains=("fastmail.com", "fastmail.fm"),
        ),
        MailProvider(
            "ses",
            "Amazon SES",
            "email-smtp.{region}.amazonaws.com",
            other_ports=(2587, 465, 2465),
            user_prompt="SMTP user name (SES console, SMTP settings)",
            secret_prompt="SMTP password",
            sends_as_user=False,
            where="SES console, SMTP settings, Create SMTP credentials",
            advice="SES wants SMTP credentials (SES console, SMTP settings), which are not the access"
            " key of a user, and are good in their own region: --region",
        ),
        MailProvider(
            "sendgrid",
            "SendGrid",
            "smtp.sendgrid.net",
            other_ports=(2525, 465),
            user_prompt="",
            user="apikey",
            secret_prompt="API key",
            sends_as_user=False,
            where="Settings, API Keys, with the permission Mail Send",
            advice="SendGrid wants an API key with the permission Mail Send as the password; the user"
            " is the word apikey for everybody",
        ),
    )
}
#: mailboxes of persons at Microsoft have a host, and a tenant, of their own
CONSUMER_DOMAINS = ("outlook.com", "hotmail.com", "live.com", "msn.com")
CONSUMER_HOST, CONSUMER_TENANT = "smtp-mail.outlook.com", "consumers"


def by_address(address: str) -> MailProvider | None:
    """The provider of the domain of *address*, if that says it."""
    domain = address.rpartition("@")[2].lower()
    if domain in CONSUMER_DOMAINS:
        return PROVIDERS["office365"]
    return next((row for row in PROVIDERS.values() if domain in row.domains), None)


def by_host(host: str) -> MailProvider | None:
    """The provider that *host* is of: who types the name of the server means it."""
    if host.startswith("email-smtp.") and host.endswith(".amazonaws.com"):
        return PROVIDERS["ses"]
    return next((row for row in PROVIDERS.values() if row.host == host), None)
