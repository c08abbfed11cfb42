"""Which filters mail passes: InputMailFilters, of a port and of all, and the rows of MailFilter."""

from __future__ import annotations

from minimta.config.filters import MailFilter, chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.config.ports import Port

#: seconds for a filter to say hello to who only wants to know whether it is there
_PATIENCE = 3
_TIMES = ("connect", "send", "read", "end")


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


def silent(options: Options) -> list[tuple[MailFilter, str]]:
    """Those of all ports and of commands that cannot be talked to now, and why. Takes seconds."""
    from minimta.milter.filter import FilterConnection  # who only looks at options does not talk
    from minimta.milter.protocol import FilterFailed

    used = {row for port in (None, *options.daemon_ports) for row in of_port(port, options)}
    found = []
    for row in sorted(used, key=lambda row: row.name):
        place = (row.family, row.address, row.port)
        hasty = MailFilter(row.name, place, row.on_failure, dict.fromkeys(_TIMES, _PATIENCE))
        one = FilterConnection(hasty, macros={}, data_size=65535, note=lambda text, level: None)
        try:
            one.open()
        except FilterFailed as error:
            found.append((row, str(error)))
        one.quit()
    return found
