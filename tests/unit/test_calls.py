import operator
import pickle

from distributed.calls import Nested, evaluate, same


def test_nested_calls_are_made_before_the_outer_one():
    inner = Nested(operator.mul, [3, Nested(operator.add, [1, 1])])
    assert evaluate(operator.add, [inner, 4]) == 10
    assert evaluate(sum, [[1, inner, Nested(int, ["5"])]]) == 12
    assert evaluate(list, [(1, 2)]) == [1, 2]


def test_nested_calls_travel():
    call = pickle.loads(pickle.dumps(Nested(operator.add, [1, 2])))
    assert evaluate(same, [call]) == 3
