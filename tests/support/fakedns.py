"""A name server on 127.0.0.1 that answers from a dict, over UDP and TCP.

    with FakeDns({"lab2.campus": {"MX": ["10 mx.campus."]}, "mx.campus": {"A": ["10.0.3.135"]},
                  "www.campus": {"CNAME": ["lab2.campus."]}, "bad.campus": "SERVFAIL"}) as server:
        Resolver(nameserver=server.address)

A name that is not there does not exist (NXDOMAIN); a type that is not there has no data; a type may
be "SERVFAIL", "SILENT" or "LAME" (knows nothing, and asks nobody) alone. Answers that do not fit into
512 octets are cut over UDP.

With *signed* it validates, for those who ask (the AD bit): answers are vouched for if all their names
are below one of these. A zone that is bogus is "SERVFAIL".
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Collection, Mapping
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.ownprocess import OwnProcess

Zone = Mapping[str, "str | Mapping[str, str | list[str]]"]


class FakeDns(OwnProcess):
    """Runs while the with block does."""

    def __init__(
        self,
        zone: Zone,
        *,
        noise: tuple[bytes, ...] = (),
        signed: Collection[str] = (),
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """*noise* is what comes over UDP before each reply; port 0 of *address* is any that is free."""
        self._signed = [dns.name.from_text(name) for name in signed]
        self._zone = zone
        self._noise = noise
        self._asked: list[tuple[str, str]] = []
        answer = self.answer

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                size = struct.unpack("!H", self.request.recv(2))[0]
                reply = answer(self.request.recv(size))
                if reply is not None:
                    wire = reply.to_wire()
                    self.request.sendall(struct.pack("!H", len(wire)) + wire)

        self._tcp = socketserver.ThreadingTCPServer(address, Handler)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self._tcp.server_address)
        self.address = (address[0], int(self._tcp.server_address[1]))

    def __enter__(self) -> FakeDns:
        self.start([self._tcp.socket, self._udp])
        return self

    def serve(self) -> None:
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._tcp.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def asked(self) -> list[tuple[str, str]]:
        """(name, type) of every question so far."""
        return self._asked if self._control is None else self.ask("questions")

    def questions(self) -> list[tuple[str, str]]:
        """``asked``, in the server's process."""
        return self._asked

    def _serve_udp(self) -> None:
        while True:
            wire, client = self._udp.recvfrom(65535)
            reply = self.answer(wire)
            for octets in self._noise:
                self._udp.sendto(octets, client)
            if reply is None:
                continue
            try:
                octets = reply.to_wire(max_size=512)
            except dns.exception.TooBig:
                reply.answer = []
                reply.flags |= dns.flags.TC
                octets = reply.to_wire()
            self._udp.sendto(octets, client)

    def answer(self, wire: bytes) -> dns.message.Message | None:
        """The reply to one question, None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)
        self._asked.append((name, kind))
        reply = dns.message.make_response(query, recursion_available=True)
        rcode = self._fill(reply, name, kind)
        if rcode is None:
            return None
        if rcode == "LAME":
            reply.flags &= ~dns.flags.RA
            return reply
        reply.set_rcode(dns.rcode.from_text(rcode))
        names = [rrset.name for rrset in reply.answer] or [question.name]
        if query.flags & dns.flags.AD and all(map(self._is_signed, names)):
            reply.flags |= dns.flags.AD
        return reply

    def _is_signed(self, name: dns.name.Name) -> bool:
        return any(name.is_subdomain(zone) for zone in self._signed)

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> str | None:
        """Put the records in; the rcode, "LAME", or None for silence."""
        for _ in range(20):
            records = self._zone.get(name, "NXDOMAIN")
            if isinstance(records, str):
                return None if records == "SILENT" else records
            found = records.get("CNAME", records.get(kind, []))
            if isinstance(found, str):
                return None if found == "SILENT" else found
            if found:
                kind_found = "CNAME" if "CNAME" in records else kind
                absolute = dns.name.from_text(name)
                reply.answer.append(dns.rrset.from_text_list(absolute, 60, "IN", kind_found, found))
            if "CNAME" not in records:
                break
            name = found[0].removesuffix(".")
        return "NOERROR"
