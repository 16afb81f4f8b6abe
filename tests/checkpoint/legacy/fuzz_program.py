"""Reads mutated checkpoints in a process that counts what they make it do; also the negative control.

``python -m tests.checkpoint.legacy.fuzz_program FOLDER SEED COUNT`` mutates ``FOLDER/base-*`` and prints JSON.
With ``control`` as fourth argument the opcode mutants go through Python's own unpickler instead.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import io
import itertools
import json
import pickle
import pickletools
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from tests.checkpoint.legacy.archives import SYSTEM, by_hand, records_of, stored, text
from tests.checkpoint.legacy.published import published_modules
from tests.checkpoint.test_tensors import seal
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.legacy.confinement import FORBIDDEN
from vedette.checkpoint.legacy.container_stream import MAGIC
from vedette.checkpoint.legacy.read import read_open
from vedette.errors import CheckpointError

KINDS = ("raw", "truncated", "pickle", "opcode", "zip", "stream", "own", "header")
"""What is mutated: both containers, the pickle, its instructions, the archive; our own format as it is, or its header
with a right checksum."""
_SECONDS = 20
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


_STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**31, 2**63, 10**400, 1e308, 0.5, "", "nc", "../x", "\x1b[2J", "x" * 600, [], {}, [[]] * 500,
    {"a": {"b": []}}, [1.0, "a"], "__import__('os').system('echo >canary')", "SiLU", "Conv",
)  # fmt: skip


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with something in it exchanged, lost, doubled or of another kind."""
    inside = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not inside or rng.random() < 0.15:
        return rng.choice(_STRANGE)
    place = rng.choice(list(inside))
    copy = dict(value) if isinstance(value, dict) else list(value)
    match rng.randrange(8):
        case 0:
            del copy[place]
        case 1 if isinstance(copy, list):
            copy[place:place] = [copy[place]] * rng.choice((1, 2, 300))
        case 1:
            copy[rng.choice(("", "extra", str(place) * 2))] = copy[place]
        case _:
            copy[place] = changed(copy[place], rng)
    return copy


def resealed(data: bytes, rng: random.Random) -> bytes:
    """A file of ours with another header, or another content of its metadata, and a right checksum."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header["__metadata__"]["metadata"])
    if rng.random() < 0.7:
        content = changed(content, rng)
    else:
        header = changed({name: value for name, value in header.items() if name != "__metadata__"}, rng)
    header = header if isinstance(header, dict) else {"header": header}
    header["__metadata__"] = {"metadata": json.dumps(content)}
    return seal(header, data[8 + length :])


class Watch:
    """Records what no reader may do, while armed. One file may be opened."""

    def __init__(self, readable: Path) -> None:
        self.events: list[str] = []
        self.armed = False
        self._readable = str(readable)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed or (
            event == "open" and arguments[:2] in ((self._readable, "r"), (self._readable, "rb"))
        ):
            return
        if event.startswith((*FORBIDDEN, "open", "shutil.", "os.mkdir")):
            self.events.append(f"{event} {str(arguments)[:100]}")


def peak_bytes() -> int:
    """The most memory this process has had; 0 where the system does not say."""
    if (
        sys.platform == "linux"
    ):  # what getrusage says begins with the memory of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Bases:
    """Files that are fine, to be mutated."""

    def __init__(self, folder: Path) -> None:
        self.archives = [path.read_bytes() for path in sorted(folder.glob("base-*-zip.pt"))]
        self.streams = [path.read_bytes() for path in sorted(folder.glob("base-*-stream.pt"))]
        self.records = [records_of(path) for path in sorted(folder.glob("base-*-zip.pt"))]
        self.own = [path.read_bytes() for path in sorted(folder.glob("base-*.safetensors"))]

    def mutant(self, kind: str, rng: random.Random, canary: str) -> bytes:
        own = rng.choice(self.own)
        if kind == "header":
            return resealed(own, rng)
        if kind == "own":
            return flipped(own, rng) if rng.random() < 0.5 else own[: rng.randrange(len(own))]
        which = rng.randrange(len(self.archives))
        return mutant(kind, self.archives[which], self.streams[which], self.records[which], rng, canary)


def fuzz(folder: Path, seed: int, count: int) -> dict[str, Any]:
    bases, canary, place = Bases(folder), str(folder / "canary"), folder / "mutant.safetensors"
    for data in (*bases.archives, *bases.streams):  # also makes torch import what it imports late
        read_open(io.BytesIO(data), len(data), where="base")
    place.write_bytes(bases.own[0])
    load_detector(place)
    outcomes: collections.Counter[str] = collections.Counter()
    escaped: list[str] = []
    watch, worst, largest, before = Watch(place), 0.0, 0, peak_bytes()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        data = bases.mutant(kind, random.Random(f"{seed}:{number}"), canary)
        place.write_bytes(data)
        largest = max(largest, len(data))
        faulthandler.dump_traceback_later(_SECONDS, exit=True)
        started = time.process_time()
        watch.armed = True
        try:
            if kind in ("own", "header"):
                load_detector(place)
            else:
                read_open(io.BytesIO(data), len(data), where="mutant")
            outcomes[f"{kind} loaded"] += 1
        except CheckpointError:
            outcomes[f"{kind} refused"] += 1
        except BaseException as error:
            escaped.append(f"{kind} {number}: {error!r}")
        watch.armed = False
        worst = max(worst, time.process_time() - started)
    faulthandler.cancel_dump_traceback_later()
    return {
        "outcomes": outcomes, "escaped": escaped, "events": watch.events, "canary": Path(canary).exists(),
        "worst_seconds": worst, "more_memory": peak_bytes() - before, "largest": largest,
    }  # fmt: skip


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
