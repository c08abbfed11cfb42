"""What a process without rights tells the one that has them: the values; ``protocol`` writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minimta.mailers.remote import sts_policy
from minimta.mailers.remote.host_status import HostStatus
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.message.outcome import Outcome
from minimta.system.tls_values import TlsFacts


@dataclass(frozen=True, slots=True)
class OutcomesLine:
    """What became of users of one job."""

    job: int
    #: number of the user in the job -> what became of it
    outcomes: Mapping[int, Outcome]


@dataclass(frozen=True, slots=True)
class DialogueLine:
    """What was said about a job before the outcomes of it that follow."""

    job: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SayLine:
    """A line of the dialogue."""

    text: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """Something for the log, about a job or (-1) none."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class TlsLine:
    """With which TLS a host is talked to; a fact for the log, so each field is one word."""

    relay: str
    facts: TlsFacts


@dataclass(frozen=True, slots=True)
class LoginLine:
    """What became of a login of the worker's own."""

    #: the next hop that it was for, as NextHop.key
    hop: str
    relay: str
    accepted: bool
    #: the mechanism, or why the password was refused
    text: str
    #: of the cipher, 0 in clear
    bits: int


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """Why the process ends."""

    text: str


@dataclass(frozen=True, slots=True)
class AliveLine:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class KeptLine:
    """All jobs are settled, and the worker keeps its connection for others."""


@dataclass(frozen=True, slots=True)
class TakenLine:
    """Other jobs have come; until then nothing was done for them."""


@dataclass(frozen=True, slots=True)
class TargetLine:
    """An address that would be connected to."""

    target: Target


@dataclass(frozen=True, slots=True)
class ProblemLine:
    """Why a host, or the whole next hop, is no good."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class HostLine:
    """Was a host reached?"""

    found: HostStatus


@dataclass(frozen=True, slots=True)
class StsLine:
    """A policy of MTA-STS that was fetched, or could not be."""

    domain: str
    #: of the TXT record
    id: str
    #: "" if it could not be fetched
    mode: str = ""
    max_age: int = 0
    mx: tuple[str, ...] = ()
    #: why it could not, for people, and as RFC 8460 section 4.3 calls it
    trouble: str = ""
    result: str = ""

    def policy(self) -> StsPolicy | None:
        """What was fetched, None if nothing. Raise ValueError if it makes no sense."""
        return sts_policy.checked(self.mode, self.max_age, self.mx) if self.mode else None


@dataclass(frozen=True, slots=True)
class ResultLine:
    """How TLS with a host came out, for the owner of the domain (RFC 8460)."""

    domain: str
    #: policy-type: tlsa, sts, no-policy-found
    policy_type: str
    host: str
    #: result-type, "" for success
    result: str
    #: policy-string: records, or the lines of a policy
    policy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameLine:
    """A host name."""

    text: str


Line = (
    LoginLine
    | OutcomesLine
    | DialogueLine
    | SayLine
    | LogLine
    | TlsLine
    | ErrorLine
    | AliveLine
    | KeptLine
    | TakenLine
    | TargetLine
    | ProblemLine
    | HostLine
    | StsLine
    | ResultLine
    | NameLine
)
