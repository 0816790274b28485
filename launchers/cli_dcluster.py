"""The command ``dcluster``: a scheduler on one host and workers on all of them, over ``ssh``, in the foreground.

What the processes there print comes out here with a prefix that says who spoke.  When this process ends, however it
does, they end too (``remote.py``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from distributed.cli.run import EXIT_FAILED, run_command
from distributed.units import parse_duration
from launchers.hosts import Host, parse_hosts, read_hostfile
from launchers.ssh_network import SshNetwork, Wishes

__all__ = ["dcluster", "main"]

_PORT = click.IntRange(1, 65535)


@click.command("dcluster", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("hostnames", nargs=-1)
@click.option("--scheduler", metavar="HOST", help="Host of the scheduler; default: the first one.")
@click.option("--scheduler-port", type=_PORT, default=8786, show_default=True, help="Port of the scheduler.")
@click.option("--nthreads", type=click.IntRange(0), default=0, help="Threads per worker; default: cores // nprocs.")
@click.option("--nprocs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes on each host.")
@click.option(
    "--hostfile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Text file with a host a line."
)
@click.option("--ssh-username", metavar="NAME", help="User on the hosts; default: as ssh's configuration says.")
@click.option("--ssh-port", type=_PORT, help="Port of sshd; default: as ssh's configuration says, or 22.")
@click.option("--ssh-private-key", metavar="FILE", help="Private key; default: as ssh's configuration says.")
@click.option(
    "--log-directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Keep what each process prints in a file of this folder too.",
)
@click.option("--min-hosts", type=click.IntRange(1), help="Go on with so many hosts; default: all must start.")
@click.option(
    "--death-timeout", default="60s", show_default=True, help="Workers end when the scheduler is gone so long."
)
@click.option("--python", metavar="PATH", help="The Python on the hosts; default: the path of the one here.")
@click.version_option(package_name="dlaunch")
def dcluster(hostnames: tuple[str, ...], hostfile: Path | None, scheduler: str | None, **options: object) -> int:
    """Start a scheduler on the first host and workers on all HOSTNAMES, by ssh; Ctrl-C ends them.

    HOSTNAMES may be like n01, ada@n02:2222 or n[01-04]; in a file slots=4 behind a host means that its workers have 4
    threads in all.

    Exit codes: 0 ended by Ctrl-C or as told; 1 could not start, also if a host cannot be reached; 2 wrong usage; 4 no
    worker is left; 7 the scheduler died.
    """
    context = click.get_current_context()
    try:
        hosts = [*parse_hosts(hostnames), *(read_hostfile(hostfile.read_bytes()) if hostfile else [])]
        hosts = list(dict.fromkeys(hosts))
        first = parse_hosts([scheduler]) if scheduler else hosts[:1]
        wishes = read_wishes(first, hosts, **options)  # type: ignore[arg-type]
    except ValueError as error:
        where = f"{hostfile}: " if hostfile and str(error).startswith(("line ", "it ")) else ""
        raise click.UsageError(f"{where}{error}", context) from error
    if not hosts:
        print(context.get_help())
        return EXIT_FAILED
    return run_command("dcluster", lambda stop: SshNetwork(wishes, stop, _say).run())


def read_wishes(
    first: list[Host],
    hosts: list[Host],
    *,
    ssh_username: str | None,
    ssh_port: int | None,
    ssh_private_key: str | None,
    death_timeout: str,
    python: str | None,
    min_hosts: int | None,
    scheduler_port: int,
    nthreads: int,
    nprocs: int,
    log_directory: Path | None,
) -> Wishes:
    """Return what the options say; ``first`` is the scheduler's host or nothing.  Raises ValueError."""
    ssh_options = ["-l", ssh_username] if ssh_username else []
    ssh_options += ["-p", str(ssh_port)] if ssh_port else []
    ssh_options += ["-i", str(Path(ssh_private_key).expanduser())] if ssh_private_key else []
    if hosts and min_hosts is not None and min_hosts > len(hosts):
        raise ValueError(f"--min-hosts {min_hosts} can never be reached with {len(hosts)} hosts")
    return Wishes(
        scheduler=first[0] if first else Host(""),
        hosts=hosts,
        scheduler_port=scheduler_port,
        nthreads=nthreads,
        nprocs=nprocs,
        ssh_options=ssh_options,
        log_directory=log_directory,
        min_hosts=min_hosts,
        death_timeout_s=parse_duration(death_timeout),
        python=python or sys.executable,
    )


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        code: int = dcluster.main(args=argv, prog_name="dcluster", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
