"""What patches cost and save: one pair of payloads after the other, with the time of making the patch.

``python -m bench.deltas``
"""

from __future__ import annotations

import json
import random
import timeit
from collections.abc import Iterator
from typing import Any, Final

from openline.protocol.delta import encode

#: Entries in payloads of about 200 bytes, 2 KB and 60 KB.
SIZES: Final = (2, 22, 680)


def entries(count: int) -> list[dict[str, Any]]:
    """Give a payload as apps have them."""
    return [
        {
            "id": number,
            "symbol": f"EUR{number:04d}",
            "price": round(100 + number * 1.37, 2),
            "volume": number * 13 % 997,
        }
        for number in range(count)
    ]


def pairs(count: int) -> Iterator[tuple[str, object, object]]:
    """Give what changes, before, and after."""
    before = entries(count)
    for name, step in (("one number", count), ("each 20th entry", 20), ("each entry", 1)):
        after = entries(count)
        for entry in after[::step]:
            entry["price"] += 1
        yield name, before, after
    yield "one entry in front, the last gone", before, [{"id": -1, "symbol": "NEW", "price": 1}, *before[:-1]]
    text = "Совсем немного меняется в длинном тексте. " * count
    yield "a word of a Russian text", text, text.replace("немного", "мало", 1)
    yield "all of it", before, random.Random(count).randbytes(40 * count).hex()


def main() -> None:
    """Print a table."""
    head = f"{'change':36}{'bytes':>8}{'patch':>8}{'µs':>8}"
    print(head)
    for count in SIZES:
        for name, before, after in pairs(count):
            source, target = (
                json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() for value in (before, after)
            )
            patch = encode(source, target)
            times = max(3, 20_000 // (50 + len(target) // 20))
            seconds = min(timeit.repeat(lambda: encode(source, target), number=times, repeat=3)) / times  # noqa: B023
            size = "whole" if patch is None else str(len(patch))
            print(f"{name:36}{len(target):8}{size:>8}{seconds * 1e6:8.0f}")


if __name__ == "__main__":
    main()
