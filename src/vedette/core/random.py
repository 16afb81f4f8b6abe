"""Counter-based random generators: the same numbers for the same place, whoever asks and in which order.

Every random choice of the project is drawn from ``generator(seed, stream, *counters)``. The stream names what
is chosen ("augment", "shuffle"), the counters say where (epoch, position in the epoch). Nothing is carried
from one draw to the next, so results do not depend on the number of workers, on ranks or on resuming.

How the Philox 4x64 state is laid out:

===========  ==================================================================================
key[0]       the seed
key[1]       64 bits of BLAKE2b over the stream name and the number of counters
counter[0]   0 at the start; Philox advances it by one for every four 64-bit numbers drawn
counter[1:]  the counters, unused ones 0
===========  ==================================================================================

Two generators share numbers only if seed, stream, count of counters and counters are all equal, or one of
them drew more than 2**66 numbers. (Two stream names would also have to collide in 64 bits of BLAKE2b.)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from vedette.core.types import IntArray
from vedette.errors import UsageError

if TYPE_CHECKING:
    import torch

MAX_SEED = 2**63 - 1
MAX_COUNTERS = 3


def generator(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """A numpy generator for one place.

    Args:
        seed: 0..2**63-1.
        stream: what the numbers are for; any text.
        counters: up to three whole numbers, 0..2**63-1 each, such as (epoch, position).

    Raises:
        UsageError: a number is out of range, or there are more than three counters.
    """
    _check(seed, stream, counters)
    label = f"{len(counters)}:{stream}".encode()
    stream_word = int.from_bytes(hashlib.blake2b(label, digest_size=8).digest(), "little")
    padding = (0,) * (MAX_COUNTERS - len(counters))
    key = np.array((seed, stream_word), dtype=np.uint64)
    counter = np.array((0, *counters, *padding), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def permutation(seed: int, stream: str, epoch: int, n: int) -> IntArray:
    """The numbers 0..n-1 in random order, int64 [n].

    The order in which n random 64-bit words sort; it depends on Philox alone, not on the shuffling
    algorithm of a numpy version.
    """
    if n < 0:
        raise UsageError(f"cannot permute {n} items", fix="give a number of at least 0")
    words = generator(seed, stream, epoch).bit_generator.random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def torch_generator(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A torch CPU generator for one place; numpy and torch generators of one place are unrelated.

    Torch keeps 32 bits of a CPU seed, so that two places agree by chance once in four billion pairs.
    """
    import torch

    word = generator(seed, f"torch:{stream}", *counters).bit_generator.random_raw()
    return torch.Generator().manual_seed(int(word) >> 1)


def _check(seed: int, stream: str, counters: tuple[int, ...]) -> None:
    if len(counters) > MAX_COUNTERS:
        raise UsageError(f"{len(counters)} counters, at most {MAX_COUNTERS} fit", where=f"stream '{stream}'")
    for name, value in (("seed", seed), *(("counter", counter) for counter in counters)):
        if not 0 <= value <= MAX_SEED:
            raise UsageError(
                f"{name} {value} is out of range",
                where=f"stream '{stream}'",
                fix="give a whole number from 0 to 2**63-1",
            )
