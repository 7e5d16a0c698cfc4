"""A connection to libvirt and one domain of it: calls that block, each with one of the ports' answers.

Rules: what libvirt raises is turned into an answer here, once.  *Refused* is said only where libvirt
shows that QEMU was not asked, or QEMU that it did not do it; of all else nobody knows what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from qemu.qmp.error import ProtocolError

from backends.domain.address import DomainAddress
from backends.domain.bindings import Bindings, events_so_far
from backends.messages import read_message
from planner.errors import CannotConnect, Problem
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

__all__ = ["Link", "Message"]

Message = Mapping[str, object]

_KEEPALIVE_S = 5
_KEEPALIVE_COUNT = 3
_QEMU_SAID_NO = "unable to execute QEMU command"
_NOT_DONE = ("not ready for pivot", "already in a block job", "already exists", "Could not open")
"""In libvirt's words for what it, or QEMU, did not do."""
_NOT_ASKED = (
    "VIR_ERR_OPERATION_TIMEOUT",  # another call had the domain all the time
    "VIR_ERR_OPERATION_UNSUPPORTED",
    "VIR_ERR_OPERATION_DENIED",
    "VIR_ERR_ACCESS_DENIED",
    "VIR_ERR_NO_SUPPORT",
    "VIR_ERR_INVALID_ARG",
    "VIR_ERR_ARGUMENT_UNSUPPORTED",
    "VIR_ERR_CONFIG_UNSUPPORTED",
)


class Link:
    """One domain of one libvirt; every method blocks.

    Attributes:
        uuid: The domain's UUID.
    """

    def __init__(
        self,
        api: Bindings,
        address: DomainAddress,
        heard: Callable[[Message], None],
        lost: Callable[[str], None],
    ) -> None:
        """Connect.

        Args:
            api: libvirt-python.
            address: Where the domain is.
            heard: Called with each event of QEMU's, from libvirt's thread.
            lost: Called with a reason when the domain or libvirt is gone, from libvirt's thread.

        Raises:
            CannotConnect: No libvirt answers there, it has no such domain, or that does not run.
        """
        self._api, self._address = api, address
        self._heard, self._lost = heard, lost
        self._callbacks: list[tuple[Callable[..., Any], tuple[object, ...]]] = []
        try:
            self._connection = api.libvirt.open(address.uri)
        except api.libvirt.libvirtError as error:
            raise self._cannot("nobody-listens", f"{error}", "does libvirt run there?") from error
        try:
            self._domain = self._find()
            self.uuid: str = self._domain.UUIDString()
            self._listen()
        except BaseException:
            self.close()
            raise

    def _find(self) -> Any:
        libvirt, name = self._api.libvirt, self._address.domain
        for look in (self._connection.lookupByName, self._connection.lookupByUUIDString):
            try:
                domain = look(name)
            except libvirt.libvirtError:
                continue
            if domain.isActive():
                return domain
            remedy = f"start it: virsh -c {self._address.uri} start {name}"
            raise self._cannot("domain-off", "the domain does not run", remedy)
        remedy = f"virsh -c {self._address.uri} list --all names them"
        raise self._cannot("domain-unknown", "libvirt has no domain of this name", remedy)

    def _listen(self) -> None:
        libvirt, connection = self._api.libvirt, self._connection
        connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        connection.registerCloseCallback(
            lambda *_: self._lost("libvirt ended the connection"), None
        )
        self._callbacks.append((connection.unregisterCloseCallback, ()))
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        told = connection.domainEventRegisterAny(self._domain, kind, self._lifecycle, None)
        self._callbacks.append((connection.domainEventDeregisterAny, (told,)))
        told = self._api.qemu.qemuMonitorEventRegister(
            connection, self._domain, None, self._event, None, 0
        )
        off = self._api.qemu.qemuMonitorEventDeregister
        self._callbacks.append((off, (connection, told)))
        if not self._domain.isActive():  # it may have ended before anybody listened
            raise self._cannot("domain-off", "the domain does not run any more", "start it")

    def _lifecycle(self, _connection: Any, _domain: Any, event: int, *_: object) -> None:
        if event == self._api.libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self._lost("the domain has ended")

    def _event(
        self,
        _connection: Any,
        _domain: Any,
        name: str,
        seconds: int,
        micros: int,
        said: str,
        *_: Any,
    ) -> None:
        try:
            data = json.loads(said) if said else {}
        except ValueError:
            data = {}
        stamp = {"seconds": seconds, "microseconds": micros}
        self._heard({"event": name, "data": data, "timestamp": stamp})

    # --- asking -----------------------------------------------------------------------------------

    def ask(self, command: str, arguments: Mapping[str, object], files: Sequence[int]) -> object:
        """Send a command through libvirt's monitor, and what QEMU answered.

        Raises:
            CommandRefused: QEMU answered with an error, or was not asked.
            ConnectionLost: libvirt or the domain is gone.
            NoReply: Nobody knows what became of it.
        """
        words = json.dumps({"execute": command, "arguments": dict(arguments)})
        send = self._api.qemu.qemuMonitorCommandWithFiles if files else None

        def sending() -> str:
            if send is not None:
                return str(send(self._domain, words, list(files), 0)[0])
            return str(self._api.qemu.qemuMonitorCommand(self._domain, words, 0))

        said = self._tried(sending)
        try:
            reply = read_message(said.encode())
        except ProtocolError as error:
            raise NoReply(f"{command}: {error}") from error
        refused = reply.get("error")
        if isinstance(refused, Mapping):
            raise CommandRefused(str(refused.get("class")), str(refused.get("desc")))
        if "return" not in reply:
            raise NoReply(f"{command} was answered with neither an error nor a result")
        return reply["return"]

    def suspend(self) -> object:
        """Stop the guest's CPUs; libvirt knows of it.  Raises as `ask`."""
        self._tried(self._domain.suspend)
        return {}

    def resume(self) -> object:
        """Let them run; libvirt knows of it.  Raises as `ask`."""
        self._tried(self._domain.resume)
        return {}

    # --- what libvirt keeps account of ------------------------------------------------------------

    def disks(self) -> list[tuple[str, str]]:
        """Target and alias of each disk that the domain has now."""
        found = []
        for disk in self._described().iterfind("./devices/disk"):
            target, alias = disk.find("target"), disk.find("alias")
            if target is not None and alias is not None:
                found.append((target.get("dev", ""), alias.get("name", "")))
        return found

    def description(self) -> tuple[str, str]:
        """The domain as libvirt would save it, secrets included, and what it keeps besides.

        Raises as `ask`.
        """
        libvirt = self._api.libvirt
        flags = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
        described = str(self._tried(lambda: self._domain.XMLDesc(flags)))
        # The processor that the guest sees; the description has the one that was asked for.
        cpu = self._described().find("cpu")
        return described, "" if cpu is None else f"<cookie>{ET.tostring(cpu, 'unicode')}</cookie>"

    def number_of(self, image: str) -> str:
        """By which number libvirt calls the image that a disk is on now; empty: none is on it.

        Raises as `ask`.
        """
        for source in self._described().iterfind("./devices/disk/source"):
            if image in {source.get("file"), source.get("dev")}:
                return source.get("index", "")
        return ""

    def _described(self) -> ET.Element:
        """The domain as it is now.  Raises as `ask`."""
        words = self._tried(lambda: self._domain.XMLDesc(0))
        return ET.fromstring(words)  # noqa: S314 - libvirt writes it, whose word commands QEMU

    def is_busy(self) -> bool:
        """Whether libvirt runs a job on the domain: a save, a migration, a backup.  Raises as `ask`."""
        none = self._api.libvirt.VIR_DOMAIN_JOB_NONE
        return bool(self._tried(self._domain.jobInfo)[0] != none)

    def tags(self) -> list[str]:
        """The names of the snapshots that libvirt keeps account of.  Raises as `ask`."""
        return [str(name) for name in self._tried(lambda: self._domain.snapshotListNames(0))]

    def snapshot(self, overlays: Mapping[str, str]) -> None:
        """Put overlays on disks, all in one instant or none; the files are there.  Raises as `ask`.

        Args:
            overlays: The file of each, by the disk's target.
        """
        libvirt = self._api.libvirt
        top = ET.Element("domainsnapshot")
        disks = ET.SubElement(top, "disks")
        for target, _alias in self.disks():
            kind = "external" if target in overlays else "no"
            disk = ET.SubElement(disks, "disk", {"name": target, "snapshot": kind})
            if target in overlays:
                disk.set("type", "file")
                ET.SubElement(disk, "driver", {"type": "qcow2"})
                ET.SubElement(disk, "source", {"file": overlays[target]})
        words = ET.tostring(top, encoding="unicode")
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        self._tried(lambda: self._domain.snapshotCreateXML(words, flags))

    def commit(self, target: str, base: str, top: str) -> None:
        """Begin to merge a disk's top image into one under it.  Raises as `ask`."""
        active = self._api.libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        self._tried(lambda: self._domain.blockCommit(target, base, top, 0, active))

    def commits(self, target: str) -> bool:
        """Whether a disk's top image is being merged."""
        kind = self._api.libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT
        told: Mapping[str, object] = self._tried(lambda: self._domain.blockJobInfo(target, 0))
        return bool(told) and told.get("type") == kind

    def pivot(self, target: str) -> None:
        """Put what a disk's top image was merged into in its place.  Raises as `ask`."""
        pivot = self._api.libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
        self._tried(lambda: self._domain.blockJobAbort(target, pivot))

    def abort(self, target: str) -> None:
        """End a merge; the disk's top image stays.  Raises as `ask`."""
        self._tried(lambda: self._domain.blockJobAbort(target, 0))

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except self._api.libvirt.libvirtError as error:
            raise self._meaning(error) from error
        finally:
            self._events_before()
        return result

    def _events_before(self) -> None:
        """Have every event handed out that QEMU sent before its reply (fact 130).

        The daemon hands events out before it reads what a client sends next: so one more question is
        behind them all.
        """
        try:
            self._connection.getLibVersion()
        except self._api.libvirt.libvirtError:
            return
        events_so_far(self._api)

    def _meaning(self, error: Any) -> Exception:
        words = f"libvirt: {error}"
        if not self._is_there():
            return ConnectionLost(words)
        codes = [getattr(self._api.libvirt, name) for name in _NOT_ASKED]
        if error.get_error_code() in codes:
            return CommandRefused("libvirt", words)
        if any(each in str(error) for each in (_QEMU_SAID_NO, *_NOT_DONE)):
            return CommandRefused("GenericError", str(error))
        return NoReply(words)

    def _is_there(self) -> bool:
        try:
            return bool(self._connection.isAlive() and self._domain.isActive())
        except self._api.libvirt.libvirtError:
            return False

    def close(self) -> None:
        """End the connection; the domain goes on."""
        for off, arguments in reversed(self._callbacks):
            try:
                off(*arguments)
            except self._api.libvirt.libvirtError:
                continue
        self._callbacks.clear()
        try:
            self._connection.close()
        except self._api.libvirt.libvirtError:
            return

    def _cannot(self, code: str, message: str, remedy: str) -> CannotConnect:
        problem = Problem(code, str(self._address), message, remedy)
        words = f"cannot connect to {self._address}: {message}"
        return CannotConnect(words, problems=(problem,), code=code)
