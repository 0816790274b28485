"""Real sshds on this machine: brought up, used as a normal user, taken down and looked after."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator

import psutil

from tests.beds.hosts import HostsBed, brought_up, script

__all__ = ["SshBed", "ssh_bed"]

_LOOPBACK = os.environ.get("SSH_NETNS") == "0"
_SPARE = ("hpc5", "hpc6")


class SshBed(HostsBed):
    """An sshd on each of four nodes and two more; with SSH_NETNS=0 on 127.0.0.1 to 127.0.0.6 of this machine.

    ``down``: an address where nobody is; ``guest`` (bash), ``tcsh`` and ``fish`` are accounts with other home folders,
    which cannot read the normal user's files.
    """

    head = "127.0.0.1" if _LOOPBACK else HostsBed.head
    nodes = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4") if _LOOPBACK else HostsBed.nodes
    addresses = nodes if _LOOPBACK else ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4")
    down = "127.0.0.9" if _LOOPBACK else "10.77.0.99"
    guest = f"{HostsBed.user}-guest"
    # Accounts with another login shell.
    tcsh = f"{HostsBed.user}-tcsh"
    fish = f"{HostsBed.user}-fish"

    def processes(self) -> list[psutil.Process]:
        uids = {pwd.getpwnam(name).pw_uid for name in (self.guest, self.tcsh, self.fish)}
        theirs = [p for p in psutil.process_iter(["uids", "status"]) if p.info["uids"] and p.info["uids"].real in uids]
        return [*super().processes(), *(p for p in theirs if p.info["status"] != psutil.STATUS_ZOMBIE)]

    def queued(self) -> list[str]:
        return []

    def cancel_all(self) -> None:
        pass

    @contextlib.contextmanager
    def two_down(self) -> Iterator[tuple[str, str]]:
        """Two more hosts, whose sshds are down meanwhile."""
        if _LOOPBACK:  # where there is one sshd for all
            yield "127.0.0.7", "127.0.0.8"
            return
        script("sshd-down.sh", *_SPARE, timeout_s=60.0)
        try:
            yield _SPARE
        finally:
            script("sshd-up.sh", timeout_s=60.0)


@contextlib.contextmanager
def ssh_bed() -> Iterator[SshBed]:
    """Bring the sshds up; at the end prove that nothing is left, take them down.  Raises BedError if it cannot."""
    bed = SshBed()
    with brought_up(bed, "sshd-up.sh", "sshd-down.sh"):
        yield bed
