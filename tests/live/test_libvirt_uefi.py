"""A domain with UEFI: libvirt keeps account of no overlay on its variables."""

import pytest

from tests.live.runs import snapplan
from tests.live.test_libvirt import refused
from tests.support.libvirt import Domain, libvirtd

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]

_OVMF = "/usr/share/OVMF/OVMF_{}_4M.fd"
VARIABLES = "/machine/system.flash1"


class UefiDomain(Domain):
    """Its variables are a raw file of their own, made from the template."""

    def _xml(self) -> str:
        flash = (
            f"<loader readonly='yes' type='pflash'>{_OVMF.format('CODE')}</loader>"
            f"<nvram template='{_OVMF.format('VARS')}'>{self.daemon.folder}/vars.fd</nvram></os>"
        )
        more = f"{flash}<features><acpi/></features>"
        return super()._xml().replace("machine='pc'", "machine='q35'").replace("</os>", more)


@pytest.fixture(scope="module")
def domain():
    with libvirtd() as daemon:
        found = UefiDomain(daemon, "uefi", 2, "", "virtio")
        found.define()
        daemon.virsh("start", "uefi")
        yield found


def test_an_overlay_on_the_variables_is_refused_and_not_drafted(domain, tmp_path):
    """The next start would be from the file under it; over an extra socket as well (fact 132)."""
    file = tmp_path / "o.yaml"
    overlay = f"{{external: {tmp_path / 'vars.qcow2'}}}"
    file.write_text(f'tag: o\nmachine-state: none\ndisks: {{"{VARIABLES}": {overlay}}}\n')
    vm = ("--vm", domain.address)
    assert "overlay-behind-libvirt" in refused(snapplan("plan", file, *vm, "--json"))
    drafted = snapplan("inspect", *vm, "--request").stdout
    assert f'"{VARIABLES}": exclude' in drafted


def test_all_but_the_variables_is_saved_beside_them(domain, tmp_path):
    """They are excluded by name, and said to be left out; libvirt's view of the disks is right."""
    where = ("--vm", domain.address, "--store", tmp_path / "store")
    overlay, file = domain.daemon.folder / "over.qcow2", tmp_path / "x.yaml"
    file.write_text(
        "tag: x\nmachine-state: {internal: vda}\n"
        f'disks: {{vda: internal, vdb: {{external: {overlay}}}, "{VARIABLES}": exclude}}\n'
    )
    saved = snapplan("apply", file, *where)
    assert saved.returncode == 0, saved.stderr
    assert f"left out although the guest can write to it: {VARIABLES}" in saved.stdout
    assert domain.sources() == [str(domain.disks[0]), str(overlay)]
    deleted = snapplan("delete", "x", *where, "--yes", "--overlays", "commit")
    assert deleted.returncode == 0, deleted.stderr
    assert domain.sources() == [str(disk) for disk in domain.disks]
