"""Count the words of the Python documentation: a map, then a tree of sums.

    dlaunch local -n 2 -- python examples/words.py
    python examples/words.py             # without a cluster: starts one on this machine

The text is the reference that Python carries for its own ``help()``.  Every chapter is counted by a
task of its own; the counts are added two by two until one is left.  The program counts once more
without the cluster and compares: exit code 1 if they differ.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pydoc_data.topics import topics

from distributed import Client, Future

WORD = re.compile(r"[a-z]{4,}")


def count(chapter: str) -> Counter[str]:
    """Return how often each word of four letters and more occurs."""
    return Counter(WORD.findall(chapter.lower()))


def add(left: Counter[str], right: Counter[str]) -> Counter[str]:
    """Return two counts as one."""
    return left + right


def reduce_by_tree(client: Client, level: list[Future]) -> Future:
    """Add up all counts of a level in pairs, level by level; return the last."""
    while len(level) > 1:
        odd = level[len(level) // 2 * 2 :]
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [client.submit(add, left, right) for left, right in pairs] + odd
    return level[0]


def main() -> int:
    """Count on the cluster and here, print the most frequent words, and compare."""
    chapters = [topics[name] for name in sorted(topics)]
    with Client() as client:
        print(client)
        found = reduce_by_tree(client, client.map(count, chapters)).result()
    print(f"{len(chapters)} chapters, {found.total()} words, {len(found)} different")
    for word, times in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:5]:
        print(f"{times:6} {word}")
    right = found == count("\n".join(chapters))
    print(f"check: {'right' if right else 'WRONG'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
