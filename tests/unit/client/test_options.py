import pytest

from distributed.client.options import make_options, worker_names
from distributed.messages import TaskOptions


def test_no_wishes_are_no_options():
    assert make_options() is None
    assert make_options(resources={}) is None


def test_wishes_are_kept():
    assert make_options(
        priority=-3, retries=2, workers="w1", allow_other_workers=True, resources={"GPU": 1}
    ) == TaskOptions(-3, 2, ["w1"], True, {"GPU": 1.0})


@pytest.mark.parametrize(
    ("wishes", "error", "text"),
    [
        ({"allow_other_workers": True}, ValueError, "without workers="),
        ({"workers": []}, ValueError, "no worker"),
        ({"workers": [1]}, TypeError, "as strings, not int"),
        ({"priority": 1.5}, TypeError, "priority is a whole number, not 1.5"),
        ({"retries": True}, TypeError, "retries is a whole number"),
        ({"retries": -1}, ValueError, "from 0 to"),
        ({"priority": 2**40}, ValueError, "2\\*\\*31"),
        ({"resources": {"GPU": "1"}}, TypeError, "resources map names to numbers"),
        ({"resources": {1: 1}}, TypeError, "resources map names to numbers"),
        ({"resources": {"GPU": -1}}, ValueError, "cannot hold -1 of GPU"),
        ({"resources": {"GPU": float("nan")}}, ValueError, "cannot hold nan"),
    ],
)
def test_mistakes_are_refused_before_anything_travels(wishes, error, text):
    with pytest.raises(error, match=text):
        make_options(**wishes)


def test_workers_may_be_one_or_several():
    assert worker_names(None) is None
    assert worker_names("a:1") == ["a:1"]
    assert worker_names(("a", "b")) == ["a", "b"]
