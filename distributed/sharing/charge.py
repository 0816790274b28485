"""Which memory a process has to answer for, when it shares some with others."""

from __future__ import annotations

__all__ = ["charged_bytes"]

_KIB = 1024


def charged_bytes(resident: int, pid: int | str = "self") -> int:
    """Return ``resident`` bytes of a process less what others hold of the memory that it shares.

    Of each shared page it is charged its part: half, if one other process has mapped it too.  Costs
    17 ms per GB of shared memory, so ask it only when the answer matters.  Where the system does not
    tell, ``resident``.
    """
    shared = _fields(pid, "status").get("RssShmem", 0)
    if not shared:
        return resident
    parts = _fields(pid, "smaps_rollup")
    if "Pss_Shmem" in parts:
        return resident - max(shared - parts["Pss_Shmem"], 0)
    return min(resident, parts.get("Pss", resident))  # Linux before 5.3


def _fields(pid: int | str, file: str) -> dict[str, int]:
    """Return the lines ``Name: 12 kB`` of a file below ``/proc/PID``, in bytes."""
    try:
        with open(f"/proc/{pid}/{file}", encoding="ascii", errors="replace") as lines:
            words = [line.split() for line in lines]
    except OSError:
        return {}
    return {
        word[0].rstrip(":"): int(word[1]) * _KIB
        for word in words
        if len(word) == 3 and word[2] == "kB" and word[1].isdigit()
    }
