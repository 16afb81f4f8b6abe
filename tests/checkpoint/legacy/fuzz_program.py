"""Reads mutated checkpoints in a process that counts what they make it do; also the negative control.

``python -m tests.checkpoint.legacy.fuzz_program FOLDER SEED COUNT`` mutates ``FOLDER/base-*.pt`` and prints JSON.
With ``control`` as fourth argument the opcode mutants go through Python's own unpickler instead.
"""

from __future__ import annotations

import collections
import contextlib
import io
import itertools
import json
import pickle
import pickletools
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from tests.checkpoint.legacy.archives import SYSTEM, by_hand, records_of, stored, text
from tests.checkpoint.legacy.published import published_modules
from vedette.checkpoint.legacy.confinement import FORBIDDEN
from vedette.checkpoint.legacy.container_stream import MAGIC
from vedette.checkpoint.legacy.read import read_open
from vedette.errors import CheckpointError

KINDS = ("raw", "truncated", "pickle", "opcode", "zip", "stream")
_INJECTED = (
    b"cposix\nsystem\n",
    b"cos\nsystem\n",
    b"c__builtin__\neval\n",
    b"cbuiltins\nexec\n",
    b"csubprocess\nPopen\n",
    b"ctorch.nn.modules.module\ntorch.os.system\n",
)


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def edited(code: bytes, rng: random.Random, canary: str) -> bytes:
    """Instructions of a pickle deleted, doubled, exchanged or replaced, or a call put between them."""
    begins = [position for _, _, position in pickletools.genops(code)] + [len(code)]
    ops = [code[a:b] for a, b in itertools.pairwise(begins)]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(1, len(ops))
        match rng.randrange(6):
            case 0:
                del ops[at]
            case 1:
                ops.insert(at, ops[at])
            case 2:
                other = rng.randrange(1, len(ops))
                ops[at], ops[other] = ops[other], ops[at]
            case 3:
                ops[at] = ops[rng.randrange(1, len(ops))]
            case 4:  # a call, whose result is thrown away or stays
                ops.insert(
                    at, rng.choice(_INJECTED) + text(f"echo >{canary}") + b"\x85R" + rng.choice((b"", b"0"))
                )
            case 5:  # the call takes the place of a name
                names = [number for number, op in enumerate(ops) if op[:1] == b"c"]
                if names:
                    ops[rng.choice(names)] = rng.choice(_INJECTED)
    return b"".join(ops)


def injected(code: bytes, rng: random.Random, canary: str) -> bytes:
    """A call between two instructions that leaves everything else as it was: only a safe reader stops it."""
    begins = [position for _, _, position in pickletools.genops(code)]
    at = rng.choice(begins[1:])
    return code[:at] + SYSTEM + text(f"echo >{canary}") + b"\x85R0" + code[at:]


def rearranged(records: dict[str, bytes], rng: random.Random) -> bytes:
    """Records lost, doubled, renamed, exchanged, longer or shorter, or with headers that lie."""
    entries = [(f"archive/{name}".encode(), content) for name, content in records.items()]
    at, other = rng.randrange(len(entries)), rng.randrange(len(entries))
    name, content = entries[at]
    match rng.randrange(7):
        case 0:
            del entries[at]
        case 1:
            entries.append(entries[at])
        case 2:
            entries[at] = (rng.choice((b"../x", b"archive/../x", name + b"\xff", b"other/x", b"")), content)
        case 3:
            entries[at] = (name, entries[other][1])
        case 4:
            entries[at] = (name, content[: rng.randrange(len(content) + 1)] + bytes(rng.randrange(9)))
        case 5:
            return by_hand(
                entries,
                flags=rng.choice((1, 8, 0x40)),
                size_error=rng.randint(-3, 3),
                crc_error=rng.randrange(2),
            )
        case 6:
            return flipped(by_hand(entries), rng)
    return by_hand(entries)


def mutant(
    kind: str, archive: bytes, stream: bytes, records: dict[str, bytes], rng: random.Random, canary: str
) -> bytes:
    code = records["data.pkl"]
    match kind:
        case "raw":
            return flipped(archive, rng)
        case "truncated":
            data = rng.choice((archive, stream))
            return data[: rng.randrange(len(data))]
        case "pickle":
            return stored({**records, "data.pkl": flipped(code, rng)})
        case "opcode":
            return stored({**records, "data.pkl": edited(code, rng, canary)})
        case "zip":
            return rearranged(records, rng)
        case _:
            return MAGIC + flipped(stream[len(MAGIC) :], rng)


def watch() -> tuple[list[str], list[bool]]:
    """Record, from now on and while armed, what no reader may do."""
    events: list[str] = []
    armed = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if armed and event.startswith((*FORBIDDEN, "open", "shutil.", "os.mkdir")):
            events.append(f"{event} {str(arguments)[:100]}")

    sys.addaudithook(hook)
    return events, armed


def fuzz(folder: Path, seed: int, count: int) -> dict[str, Any]:
    archives = [path.read_bytes() for path in sorted(folder.glob("base-*-zip.pt"))]
    streams = [path.read_bytes() for path in sorted(folder.glob("base-*-stream.pt"))]
    records = [records_of(path) for path in sorted(folder.glob("base-*-zip.pt"))]
    for data in (*archives, *streams):  # also makes torch import what it imports late
        read_open(io.BytesIO(data), len(data), where="base")
    canary = str(folder / "canary")
    outcomes: collections.Counter[str] = collections.Counter()
    escaped: list[str] = []
    events, armed = watch()
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        kind, which = KINDS[number % len(KINDS)], rng.randrange(len(archives))
        data = mutant(kind, archives[which], streams[which], records[which], rng, canary)
        try:
            read_open(io.BytesIO(data), len(data), where="mutant")
            outcomes[f"{kind} loaded"] += 1
        except CheckpointError:
            outcomes[f"{kind} refused"] += 1
        except BaseException as error:
            escaped.append(f"{kind} {number}: {error!r}")
    armed.clear()
    return {"outcomes": outcomes, "escaped": escaped, "events": events, "canary": Path(canary).exists()}


class _Unsafe(pickle.Unpickler):
    """What loading a checkpoint the usual way does."""

    def persistent_load(self, identifier: Any) -> Any:
        return torch.FloatStorage(int(identifier[-1]))


def control(folder: Path, seed: int, count: int) -> dict[str, Any]:
    records = records_of(next(iter(sorted(folder.glob("base-*-zip.pt")))))
    canary = folder / "canary"
    fired = refused = 0
    with published_modules(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            code = injected(records["data.pkl"], random.Random(f"{seed}:{number}"), str(canary))
            data = stored({**records, "data.pkl": code})
            try:
                read_open(io.BytesIO(data), len(data), where="mutant")
            except CheckpointError:
                refused += not canary.exists()
            with contextlib.suppress(Exception):
                _Unsafe(io.BytesIO(code)).load()
            fired += canary.exists()
            canary.unlink(missing_ok=True)
    return {"fired": fired, "refused": refused}


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    run = control if arguments[3:] == ["control"] else fuzz
    print(json.dumps(run(Path(arguments[0]), int(arguments[1]), int(arguments[2]))))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
