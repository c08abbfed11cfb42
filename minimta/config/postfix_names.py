"""What options of Postfix (postconf(5)) and dma (dma.conf) are called here, for who comes from there."""

from __future__ import annotations

#: small letters -> the name here
NAMES = {
    "alias_maps": "AliasFile",
    "home_mailbox": "LocalMailer",
    "inet_interfaces": "DaemonPortOptions",
    "mailbox_transport": "LocalMailer",
    "mailname": "HostName",
    "masquerade_domains": "MasqueradeAs",
    "message_size_limit": "MaxMessageSize",
    "milter_default_action": "MailFilter",
    "mydestination": "LocalHostNames",
    "myhostname": "HostName",
    "mynetworks": "RelayDomains",
    "queue_directory": "QueueDirectory",
    "relay_domains": "RelayDomains",
    "relayhost": "SmartHost",
    "sender_dependent_relayhost_maps": "SenderRelay",
    "smtp_generic_maps": "GenericsTable",
    "smtp_sasl_password_maps": "AuthInfoFile",
    "smtp_tls_cafile": "CACertFile",
    "smtp_tls_policy_maps": "TLSPolicy",
    "smtpd_milters": "InputMailFilters",
    "smtpd_tls_cert_file": "ServerCertFile",
    "smtpd_tls_key_file": "ServerKeyFile",
    "spooldir": "QueueDirectory",
    "transport_maps": "MailerTable",
    "virtual_alias_maps": "VirtUserTable",
}
