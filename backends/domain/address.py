"""Where a domain is: a libvirt URI, and the domain's name or UUID behind ``#``.

``qemu:///system#web`` is the domain `web` of this machine's libvirt.  Everything before the last ``#``
is libvirt's own URI, so what libvirt can reach, snapplan can: ``qemu:///session``,
``qemu+unix:///system?socket=PATH``, ``qemu+ssh://host/system``.
"""

from __future__ import annotations

from attrs import frozen

from planner.errors import BadInput, Problem
from planner.store.finding import is_here

__all__ = ["DomainAddress", "parse_address"]

_REMEDY = "write qemu:///system#DOMAIN, as `virsh -c qemu:///system list` names it"


@frozen
class DomainAddress:
    """A domain's address.

    Attributes:
        uri: What libvirt is opened with.
        domain: The domain's name, or its UUID.
    """

    uri: str
    domain: str

    def __str__(self) -> str:
        return f"{self.uri}#{self.domain}"

    @property
    def is_local(self) -> bool:
        """Whether libvirt, and so QEMU, runs on this machine."""
        return is_here(self.uri)


def parse_address(text: str) -> DomainAddress:
    """The address of a domain.

    Raises:
        BadInput: It names no domain, or no libvirt that runs QEMU (``address-malformed``).
    """
    uri, hash_sign, domain = text.rpartition("#")
    if not hash_sign:
        raise _malformed(text, "it names no domain")
    if not domain or "\0" in text:
        raise _malformed(text, "the domain has no name")
    if not uri.startswith("qemu") or ":///" not in uri.replace("://", ":///", 1):
        raise _malformed(text, "it is no URI of libvirt's QEMU driver")
    return DomainAddress(uri, domain)


def _malformed(text: str, why: str) -> BadInput:
    problem = Problem("address-malformed", text, why, _REMEDY)
    return BadInput(f"{text}: {why}", problems=(problem,), code=problem.code)
