"""Which filters mail passes: InputMailFilters, of a port and of all, and the rows of MailFilter."""

from __future__ import annotations

from minimta.config.filters import MailFilter, chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.config.ports import Port


def of_port(port: Port | None, options: Options) -> tuple[MailFilter, ...]:
    """The filters of what comes by *port*; None: of what a command submits. Raise ValueError."""
    wanted = port.filters if port is not None else None
    return chosen(options.input_mail_filters if wanted is None else wanted, options.mail_filters)


def why_not(options: Options) -> str:
    """Which filter is used and not defined, "" if all are."""
    try:
        for port in (None, *options.daemon_ports):
            of_port(port, options)
    except ValueError as error:
        return str(error)
    return ""
