from __future__ import annotations

import json
import sys
from pathlib import PurePosixPath

import pytest

from launchers import drmaa_call, drmaa_words
from launchers.drmaa_words import NO_SESSION, REFUSED, UNUSABLE, Library, explain, ids_of, problem_of, states_of
from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobSpec, JobState
from launchers.protocol import Failure, Output

SPEC = JobSpec("sweep", "dl-sweep-1", ("worker",), PurePosixPath("/logs"), first=3, last=4)
LIBRARY = Library(variables={"SGE_ROOT": ("/a", "/b")}, drop=("JOB_*",), keep=frozenset({"JOB_X"}), env={"LC_ALL": "C"})
SUBMIT = LIBRARY.submit({"jobName": "x"}, SPEC).argv


def failed(code: int, kind: str = "", text: str = "it said no", argv=SUBMIT) -> Output:
    return Output(argv, code, json.dumps({"error": f"{kind}Exception"}) + "\n" if kind else "", f"{text}\n")


def test_the_program_knows_the_same_exit_codes():
    assert (drmaa_call.REFUSED, drmaa_call.UNUSABLE, drmaa_call.NO_SESSION) == (REFUSED, UNUSABLE, NO_SESSION)


def test_every_question_is_our_program_with_a_request_on_stdin():
    command = LIBRARY.submit({"jobName": "x"}, SPEC)
    assert command.argv == (sys.executable, "-W", "ignore", drmaa_call.__file__, "submit")
    asked = json.loads(command.stdin)
    assert asked == {
        "variables": {"SGE_ROOT": ["/a", "/b"]},
        "timeout_s": 60,
        "attributes": {"jobName": "x"},
        "first": 3,
        "last": 4,
    }
    assert (command.drop, command.keep, command.timeout_s) == (("JOB_*",), {"JOB_X"}, 60.0)
    assert command.env == {"LC_ALL": "C", "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536"}
    assert json.loads(LIBRARY.status(["1.1"]).stdin)["ids"] == ["1.1"]
    assert json.loads(LIBRARY.cancel(iter(["1.1"])).stdin)["ids"] == ["1.1"]
    assert (
        LIBRARY.status(["1.1"] * 5000).timeout_s == json.loads(LIBRARY.status(["1.1"] * 5000).stdin)["timeout_s"] == 160
    )
    assert [LIBRARY.status([]).argv[-1], LIBRARY.cancel([]).argv[-1], LIBRARY.check().argv[-1]] == [
        *("status", "cancel", "check"),
    ]


def test_ids_by_index():
    assert ids_of(Output(SUBMIT, 0, '{"ids": ["7.3", "7.4"]}\n'), SPEC) == {3: "7.3", 4: "7.4"}


@pytest.mark.parametrize("text", ["", "[]", '{"ids": ["7.3"]}', '{"ids": "ab"}', '{"ids": null}', "{"])
def test_another_answer_to_a_submission_is_an_error(text):
    with pytest.raises(UnexpectedOutputError, match="expected 2 job ids"):
        ids_of(Output(SUBMIT, 0, text), SPEC)


def test_states_in_the_words_of_drmaa():
    words = {
        "queued_active": JobState.PENDING,
        "user_on_hold": JobState.PENDING,
        "running": JobState.RUNNING,
        "system_suspended": JobState.RUNNING,
        "done": JobState.COMPLETED,
        "failed": JobState.FAILED,
        "undetermined": JobState.UNKNOWN,
        "a word of tomorrow": JobState.UNKNOWN,
    }
    found = states_of(Output((), 0, json.dumps({"states": {word: word for word in words}})), Failure(""))
    assert {key: status.state for key, status in found.items()} == words
    assert found["user_on_hold"].explanation == "held by its user"
    assert found["a word of tomorrow"].reason == "a word of tomorrow"


def test_every_word_of_the_package_is_known():
    words = "undetermined queued_active system_on_hold user_on_hold user_system_on_hold running system_suspended"
    words += " user_suspended user_system_suspended done failed"
    assert set(drmaa_words._STATES) == set(words.split())


def test_an_answer_without_states_is_none():
    with pytest.raises(StatusError) as caught:
        states_of(Output((), 0, "hello"), Failure(""))
    assert caught.value.transient


@pytest.mark.parametrize(
    ("output", "transient", "uncertain"),
    [
        (failed(REFUSED, "DeniedByDrm"), False, False),
        (failed(REFUSED, "DrmCommunication"), True, True),
        (failed(REFUSED, "DrmCommunication", argv=LIBRARY.cancel([]).argv), True, False),
        (failed(NO_SESSION, "DrmCommunication"), True, False),
        (failed(NO_SESSION, "NoActiveSession"), True, False),
        (failed(NO_SESSION, "Internal", "Please set the environment variable SGE_ROOT."), False, False),
        (failed(REFUSED, "TryLater"), True, True),
        (failed(UNUSABLE, "_UnusableError"), False, False),
        (failed(-11, text=""), True, True),
        (failed(-11, argv=LIBRARY.status([]).argv), True, False),
    ],
    ids=str,
)
def test_what_is_tried_again_and_what_may_have_worked(output, transient, uncertain):
    failure = explain(output)
    assert (failure.transient, failure.uncertain) == (transient, uncertain)
    assert output.stderr.strip() in failure.text


def test_a_crash_is_called_one():
    assert explain(failed(-11, text="")).text == "the DRMAA library crashed by signal 11"


def test_a_lost_session_is_explained():
    assert "it said no\nthe library lost its session" in explain(failed(REFUSED, "NoActiveSession")).text


def test_what_the_system_makes_of_the_words_is_kept():
    known = Failure("it said no\nhint", transient=True, option="-q")
    assert explain(failed(REFUSED, "DeniedByDrm"), known) == Failure(
        "it said no\nhint", transient=True, option="-q", uncertain=True
    )


def test_a_library_that_cannot_be_used_is_not_tried_again_whatever_its_words():
    known = Failure("connection refused", transient=True)
    assert not explain(failed(UNUSABLE, "_UnusableError", "connection refused"), known).transient


def test_a_problem_is_one_of_the_library_alone():
    assert problem_of(failed(UNUSABLE, text="set this")) == "set this"
    assert problem_of(failed(NO_SESSION)) == ""
    assert problem_of(Output((), 0, '{"library": ""}')) == ""
