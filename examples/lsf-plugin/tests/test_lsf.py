"""The contract of dlaunch's plugins, asked of LSF as it is played."""

import contextlib

import pytest
from dlaunch_lsf.lsf import LsfPlugin
from played_lsf import OUTAGE, REFUSED_QUEUE, install_lsf

from launchers.testing import QUESTIONS, Bed


class PlayedLsf(Bed):
    """Played commands, whose jobs are processes of this machine."""

    def __init__(self, folder):
        self.batch = install_lsf(folder / "lsf", runs=True)
        super().__init__(LsfPlugin(), folder, path=[self.batch.programs], refused={"queue": REFUSED_QUEUE})

    def __exit__(self, *error):
        super().__exit__(*error)
        self.batch.close()

    @contextlib.contextmanager
    def outage(self):
        """LSF does not answer."""
        self.batch.order(*OUTAGE)
        yield True
        self.batch.behave()


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract(question, tmp_path):
    with PlayedLsf(tmp_path) as bed:
        question(bed)
