"""A libvirtd that runs as root, as `qemu:///system` is, on folders of its own: in a mount namespace.

There a test's folders lie over those that it has on the machine; its socket is seen through the folder.
QEMU runs as the user that Debian made for it, and libvirt gives it the images (dynamic ownership).
"""

import os
from pathlib import Path

from tests.support.libvirt import Libvirtd, elsewhere, needed

__all__ = ["SystemLibvirtd"]

_PLACES = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "logs": "/var/log/libvirt",
}
_COVERED = """
folder=$1; shift
while [[ $1 != -- ]]; do mkdir -p "$2"; mount --bind "$folder/$1" "$2"; shift 2; done
shift
exec setpriv --pdeathsig KILL "$@"
"""


class SystemLibvirtd(Libvirtd):
    """A privileged libvirtd; only root can start it."""

    user = ""
    """Whom QEMU runs as; empty: as libvirt was built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = None
        self.socket = folder / "run/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        folder.chmod(0o755)
        for name in (*_PLACES, "consoles"):
            (folder / name).mkdir()
        self.consoles.chmod(0o777)
        config = 'security_driver = "none"\nstdio_handler = "file"\n'
        if self.user:
            config += f'user = "{self.user}"\ngroup = "{self.user}"\n'
        (folder / "etc/qemu.conf").write_text(config)
        (folder / "daemon.conf").write_text('log_level = 3\nauth_unix_rw = "none"\n')

    @property
    def pid_files(self) -> Path:
        return self.folder / "run/qemu"

    @property
    def consoles(self) -> Path:
        return self.folder / "consoles"

    @staticmethod
    def give(path: Path) -> None:
        """libvirt does that itself."""

    def _program(self) -> list[str]:
        assert os.geteuid() == 0, "only root can start a privileged libvirtd"
        places = [word for place in _PLACES.items() for word in place]
        namespace = ["unshare", "--mount", "--propagation", "private", "--"]
        covered = ["/bin/bash", "-ec", _COVERED, "covered", str(self.folder), *places, "--"]
        return [*elsewhere(), *namespace, *covered, needed("libvirtd")]
