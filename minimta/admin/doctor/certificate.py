"""The listener's own certificate: is there TLS at all, for how long, and for which name?"""

from __future__ import annotations

import os
from binascii import a2b_base64
from collections.abc import Iterator

from minimta.admin.doctor import service_commands
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.listener import starttls
from minimta.system import hostnames, log, x509
from minimta.system.certificates import is_named
from minimta.system.tls_values import TlsError

#: seconds before its end in which it is told: acme clients renew thirty days before
_SOON = 14 * 86400.0
_DAY = 86400.0


def own_certificate(patient: Patient) -> Iterator[Diagnosis]:
    """Whether key and certificate fit is told with the configuration; here is what they say."""
    options = patient.options
    try:
        pairs = starttls.key_pairs(options)
    except TlsError:
        return
    for pair in pairs:
        path = pair.cert_file
        if not os.path.lexists(path):
            continue  # told with the configuration, if somebody named it
        try:
            yield from _of_file(patient, path)
        except OSError as error:
            is_root = "only root can tell" if not patient.is_root else "STARTTLS is not offered"
            yield unknown(path, f"{error.strerror}; {is_root}")
        except ValueError as error:
            yield fault(
                path, f"is no certificate ({error}): STARTTLS is not offered", "ServerCertFile"
            )


def _renewal(patient: Patient) -> str:
    return f"renew it (certbot renew), then {service_commands.reload(patient)}"


def _of_file(patient: Patient, path: str) -> Iterator[Diagnosis]:
    certificate = first_of(path)
    begins, ends = x509.validity(certificate)
    days = int(abs(ends - patient.now) // _DAY)
    is_own = patient.options.server_cert_file == type(patient.options)().server_cert_file
    renew = f"rm {path}, then minimta install" if is_own else _renewal(patient)
    if ends <= patient.now:
        yield fault(path, f"the certificate has expired {days} days ago", renew)
    elif begins > patient.now:
        yield fault(path, "the certificate is not yet good", "look at the clock (date)")
    elif ends - patient.now < _SOON:
        yield warning(path, f"the certificate expires in {days} days", renew)
    else:
        yield ok(path, f"the certificate is good for {days} days")
    names = x509.dns_names(certificate)
    name = hostnames.own_name(patient.options)
    if "." in name and not is_named(names, [name]):
        shown = log.clean(", ".join(names[:3])) or "nobody"
        made = f" (a self-signed one: rm {path}, then minimta install)" if is_own else ""
        yield warning(
            path,
            f"the certificate is for {shown}, not for {name}",
            f"one for {name}{made}, or HostName",
        )


def first_of(path: str) -> bytes:
    """The first certificate of a file (PEM), as DER. Raise OSError, ValueError."""
    with open(path, encoding="ascii", errors="replace") as file:
        _, begin, rest = file.read(1 << 20).partition("-----BEGIN CERTIFICATE-----")
    armoured, end, _ = rest.partition("-----END CERTIFICATE-----")
    if not begin or not end:
        raise ValueError("there is none in it")
    return a2b_base64(armoured)
