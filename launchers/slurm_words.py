"""SLURM's vocabulary: states, reasons, options and messages of its commands, as tables."""

from __future__ import annotations

import re

from launchers.jobs import JobState

__all__ = ["ALIASES", "FAILURES", "KEPT_DEFAULTS", "RESERVED", "STATES", "UNCERTAIN", "explain_reason"]

STATES = {
    "PENDING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "CONFIGURING": JobState.RUNNING,
    "POWER_UP_NODE": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "COMPLETING": JobState.COMPLETING,
    "STAGE_OUT": JobState.COMPLETING,
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
    "NODE_FAIL": JobState.NODE_FAIL,
    "BOOT_FAIL": JobState.NODE_FAIL,
    "PREEMPTED": JobState.PREEMPTED,
}

_REASONS = {
    "Resources": "waits for free nodes",
    "Priority": "other jobs come first",
    "JobArrayTaskLimit": "the array's own limit of running elements is reached",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that has failed: it will never start",
    "JobHeldUser": "held by its user: scontrol release JOB lets it go",
    "JobHeldAdmin": "held by an administrator",
    "launch failed requeued held": "held since the node could not start it: scontrol release JOB lets it go",
    "JobHoldMaxRequeue": "held after it was requeued too often",
    "BeginTime": "its begin time has not come, or it was just requeued",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionConfig": "asks for more than the partition has: it will never start",
    "PartitionNodeLimit": "asks for more than the partition allows: it will never start",
    "PartitionTimeLimit": "asks for more walltime than the partition allows: it will never start",
    "ReqNodeNotAvail": "the nodes it needs are reserved (maintenance?), down or drained",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it asks for: it will never start",
    "InvalidAccount": "the account is not valid any more",
    "InvalidQOS": "the quality of service is not valid",
    "AssociationJobLimit": "the account's limit of jobs is reached",
    "NonZeroExitCode": "its script ended with an error",
    "TimeLimit": "its walltime was over",
    "OutOfMemory": "it used more memory than it asked for",
    "JobLaunchFailure": "the node could not start it",
    "RaisedSignal": "a signal ended it",
    "Prolog": "its prolog runs, or failed",
    "Cleaning": "it was requeued and its nodes are being cleaned",
}
# Hundreds of limits follow a scheme: AssocGrpCPUMinutesLimit, QOSMaxJobsPerUserLimit, MaxMemPerAccount.
_LIMITS = {
    "Assoc": "a limit of the account or user is reached",
    "QOS": "a limit of the quality of service is reached",
    "Max": "a limit of the account, user or partition is reached",
}

ALIASES = {
    "-A": "--account",
    "-a": "--array",
    "-c": "--cpus-per-task",
    "-C": "--constraint",
    "-d": "--dependency",
    "-D": "--chdir",
    "-e": "--error",
    "-G": "--gpus",
    "-H": "--hold",
    "-J": "--job-name",
    "-L": "--licenses",
    "-M": "--clusters",
    "--cluster": "--clusters",
    "-n": "--ntasks",
    "-N": "--nodes",
    "-o": "--output",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
    "-w": "--nodelist",
    "-W": "--wait",
    "-x": "--exclude",
    # These exclude one another: one of the user's replaces ours.
    "--mem-per-cpu": "--mem",
    "--mem-per-gpu": "--mem",
}

RESERVED = {
    "--array": "say how many workers by -n and --workers-per-job",
    "--clusters": "name the cluster in the environment variable SLURM_CLUSTERS",
    "--job-name": "name the cluster by --name",
    "--parsable": "dlaunch sets it itself",
    "--test-only": "use --dry-run",
    "--wait": "use --wait of dlaunch",
    "--wrap": "put your own commands before the worker by --prologue",
}

KEPT_DEFAULTS = {
    "--account": "SBATCH_ACCOUNT",
    "--partition": "SBATCH_PARTITION",
    "--qos": "SBATCH_QOS",
    "--reservation": "SBATCH_RESERVATION",
    "--constraint": "SBATCH_CONSTRAINT",
}
"""Users' own defaults that sbatch may see unless the option is given: its environment wins over the script."""

_LATER = "this may pass, so it is tried again"
_HOST = "perhaps this host (a compute node?) may not submit: run dlaunch on a login node"
_ARRAY = (
    "the array is larger than this SLURM allows (scontrol show config | grep MaxArraySize): put several workers into "
    "each job by --workers-per-job"
)

FAILURES: tuple[tuple[str, bool, str, str], ...] = (
    # (pattern, transient, option at fault or "" for the pattern's group, hint)
    (r"Unable to contact slurm controller|Socket timed out|temporarily (?:un)?able", True, "", _LATER),
    (r"Resource temporarily unavailable|Zero Bytes were transmitted", True, "", _LATER),
    (r"Connection (?:refused|timed out|reset)|connect failure|Transport endpoint", True, "", _LATER),
    (r"lock file|[Dd]atabase is (?:locked|busy)", True, "", _LATER),
    (r"[Mm]unge|Protocol authentication error|backup controller", True, "", _LATER),
    (r"MaxSubmitJob|Job store limit|job submit limit reached", True, "", _LATER),
    (r"unrecognized option '(--[\w-]+)", False, "", ""),
    (r"invalid option -- '(\w)'", False, "", ""),
    (r"Invalid (--[\w-]+) specification", False, "", ""),
    (r"[Ii]nvalid partition", False, "--partition", "sinfo -s lists the partitions"),
    (r"not permitted to use this partition", False, "--partition", "sinfo -s lists the partitions"),
    (r"Invalid account", False, "--account", "sacctmgr show associations user=$USER lists your accounts"),
    (r"Invalid qos", False, "--qos", ""),
    (r"time limit is invalid", False, "--time", "sinfo -s lists the limits of the partitions"),
    (r"Memory specification", False, "--mem", ""),
    (r"Invalid feature specification", False, "--constraint", ""),
    (r"Invalid node name", False, "--nodelist", ""),
    (r"Invalid generic resource", False, "--gres", ""),
    (r"Invalid job array specification", False, "--array", _ARRAY),
    (r"Access/permission denied|[Ss]ubmi\w+ (?:is )?(?:not allowed|forbidden|disabled)", False, "", _HOST),
    (r"[Nn]ode configuration is not available", False, "", "no node of the partition has what a job asks for"),
)


UNCERTAIN = r"[Tt]imed out|Zero Bytes were transmitted|temporarily"
"""After these the answer may have been lost rather than the request."""


def explain_reason(reason: str) -> str:
    """Return the reason SLURM gives for a state in plain words, or "" if it is not known."""
    # Like "ReqNodeNotAvail, UnavailableNodes:n7" and "RaisedSignal:53(Real-time_signal_19)".
    word = re.split("[,:]", reason, maxsplit=1)[0].strip("()")
    if known := _REASONS.get(word):
        return known
    return next((text for start, text in _LIMITS.items() if word.startswith(start)), "")
