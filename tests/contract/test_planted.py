"""The contract finds what it is there to find: plugins with one planted mistake each."""

from __future__ import annotations

import dataclasses

import pytest

from launchers import testing
from launchers.jobs import JobState, JobStatus
from launchers.protocol import Failure, Output
from launchers.slurm import SlurmPlugin
from tests.contract.beds import PlayedSlurmBed


class NumbersFromZero(SlurmPlugin):
    def submit_command(self, script, spec):
        command = super().submit_command(script, spec)
        return dataclasses.replace(command, argv=(*command.argv[:-1], f"--array=0-{spec.last - 1}"))


class CancelsTooMuch(SlurmPlugin):
    def cancel_command(self, ids):
        return super().cancel_command([word.partition("_")[0] for word in ids])


class OutageIsAnAnswer(SlurmPlugin):
    def parse_status(self, output):
        return super().parse_status(Output(output.argv, 0, output.stdout, output.stderr))


class EveryJobIsFine(SlurmPlugin):
    def parse_status(self, output):
        return {key: JobStatus(JobState.RUNNING) for key in super().parse_status(output)}


class TriesForEver(SlurmPlugin):
    def explain_failure(self, output):
        return dataclasses.replace(super().explain_failure(output), transient=True)


class NeverTriesAgain(SlurmPlugin):
    def explain_failure(self, output):
        return dataclasses.replace(super().explain_failure(output), transient=False)


class ExplainsInItsOwnWords(SlurmPlugin):
    def explain_failure(self, output):
        return Failure("it did not work")


class AsksAShell(SlurmPlugin):
    def status_command(self, ids):
        command = super().status_command(ids)
        return dataclasses.replace(command, argv=("sh", "-c", " ".join(command.argv)))


class FindsAll(SlurmPlugin):
    def find_command(self, job_name):
        command = super().find_command(job_name)
        return dataclasses.replace(command, argv=tuple(w for w in command.argv if w not in ("-n", job_name)))


class ReadsAnyNumber(SlurmPlugin):
    def parse_submit(self, output, spec):
        return super().parse_submit(Output(output.argv, 0, output.stdout.strip() + "\n1"), spec)


class NeverInTheQueue(SlurmPlugin):
    def context(self, spec):
        return super().context(dataclasses.replace(spec, walltime_s=None))


@pytest.mark.parametrize(
    ("plugin", "question"),
    [
        (NumbersFromZero, testing.submits_an_array),
        (CancelsTooMuch, testing.cancels_one_element),
        (OutageIsAnAnswer, testing.explains_an_outage),
        (OutageIsAnAnswer, testing.rejects_nonsense),
        (EveryJobIsFine, testing.cancels_all),
        (TriesForEver, testing.explains_a_refusal),
        (NeverTriesAgain, testing.explains_an_outage),
        (ExplainsInItsOwnWords, testing.explains_a_refusal),
        (ExplainsInItsOwnWords, testing.explains_silence),
        (AsksAShell, testing.builds_the_same_twice),
        (FindsAll, testing.finds_jobs_by_name),
        (ReadsAnyNumber, testing.rejects_nonsense),
        (NeverInTheQueue, testing.takes_or_refuses_every_wish),
    ],
    ids=lambda value: value.__name__,
)
def test_a_planted_mistake_is_found(plugin, question, tmp_path):
    with PlayedSlurmBed(tmp_path) as bed:
        bed.plugin = plugin()
        bed.timeout_s = 1.5
        with pytest.raises(AssertionError):
            question(bed)


def test_a_played_system_that_only_pretends_is_enough(tmp_path):
    made = []

    def make_bed():
        folder = tmp_path / str(len(made))
        folder.mkdir()
        bed = PlayedSlurmBed(folder)
        bed.batch.set_options(runs=False)
        bed.runs_jobs = False
        made.append(bed)
        return bed

    testing.check_plugin(make_bed)
    assert len(made) == len(testing.QUESTIONS)
