"""A pickle as data: an interpreter for the 32 instructions that checkpoints of torch consist of, and no others.

Python's own ``pickle`` is not used. Instructions that would import, call or look up something push a
:class:`Name` or a :class:`Record`; they resolve nothing, so what a file says cannot run. Strictness beyond that
(types of targets, one item left at the end, limits) keeps the result small and simple to walk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from vedette.checkpoint.legacy.limits import (
    MAX_INTEGER_BYTES,
    MAX_KEY_PARTS,
    MAX_NAME_BYTES,
    MAX_NAMES,
    MAX_OPCODES,
    MAX_STRING_BYTES,
)
from vedette.checkpoint.legacy.records import Name, Record, damaged
from vedette.errors import CheckpointError

PROTOCOL = 2
ORDERED_DICTIONARY = "collections.OrderedDict"
_KEY_INTEGER_LIMIT = 1 << 31  # of larger ones, many that collide in a dictionary are easily found

PersistentResolver = Callable[[object], object]


def interpret(
    data: bytes, start: int = 0, *, persistent: PersistentResolver | None = None
) -> tuple[object, int]:
    """Run one pickle.

    Args:
        data: the bytes that hold it.
        start: where it begins.
        persistent: turns a persistent id into a value; without it a file may hold none.

    Returns:
        Its value, of plain values, records and what ``persistent`` returned; and the position behind its end.

    Raises:
        CheckpointError: an instruction that is not among the 32, of the wrong type, or beyond a limit.
    """
    return _Interpreter(data, start, persistent).run()


class _Interpreter:
    def __init__(self, data: bytes, start: int, persistent: PersistentResolver | None) -> None:
        self._data = data
        self._position = start
        self._persistent = persistent
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._names: dict[tuple[str, str], Name] = {}
        self._actions = self._action_table()

    def run(self) -> tuple[object, int]:
        if self._take(1) != b"\x80":
            raise damaged("a pickle does not begin with its protocol")
        protocol = self._take(1)[0]
        if protocol != PROTOCOL:
            raise CheckpointError(
                f"is written in pickle protocol {protocol}; protocol {PROTOCOL} is read",
                fix="save it again with the default protocol of torch.save",
            )
        for _ in range(MAX_OPCODES):
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                if len(self._stack) != 1 or self._marks:
                    raise damaged(f"{len(self._stack)} values are left at the end of its pickle, not one")
                return self._stack[0], self._position
            action = self._actions.get(code)
            if action is None:
                raise damaged(
                    f"the instruction {code:#04x} at byte {self._position - 1} is not used by torch.save"
                )
            action()
        raise damaged(f"its pickle has more than {MAX_OPCODES} instructions")

    def _action_table(self) -> dict[int, Callable[[], None]]:
        return {
            0x28: lambda: self._marks.append(len(self._stack)),  # MARK
            0x29: lambda: self._stack.append(()),  # EMPTY_TUPLE
            0x47: lambda: self._stack.append(self._unpack(">d", 8)),  # BINFLOAT
            0x4A: lambda: self._stack.append(self._unpack("<i", 4)),  # BININT
            0x4B: lambda: self._stack.append(self._take(1)[0]),  # BININT1
            0x4D: lambda: self._stack.append(self._unpack("<H", 2)),  # BININT2
            0x4E: lambda: self._stack.append(None),  # NONE
            0x51: self._persistent_id,  # BINPERSID
            0x52: lambda: self._record("REDUCE"),  # REDUCE
            0x58: self._text,  # BINUNICODE
            0x5D: lambda: self._stack.append([]),  # EMPTY_LIST
            0x61: self._append,  # APPEND
            0x62: self._build,  # BUILD
            0x63: self._global,  # GLOBAL
            0x65: self._appends,  # APPENDS
            0x68: lambda: self._recall(self._take(1)[0]),  # BINGET
            0x6A: lambda: self._recall(self._size()),  # LONG_BINGET
            0x71: lambda: self._remember(self._take(1)[0]),  # BINPUT
            0x72: lambda: self._remember(self._size()),  # LONG_BINPUT
            0x73: self._set_item,  # SETITEM
            0x74: lambda: self._stack.append(tuple(self._since_mark())),  # TUPLE
            0x75: self._set_items,  # SETITEMS
            0x7D: lambda: self._stack.append({}),  # EMPTY_DICT
            0x81: lambda: self._record("NEWOBJ"),  # NEWOBJ
            0x85: lambda: self._tuple(1),  # TUPLE1
            0x86: lambda: self._tuple(2),  # TUPLE2
            0x87: lambda: self._tuple(3),  # TUPLE3
            0x88: lambda: self._stack.append(True),  # NEWTRUE
            0x89: lambda: self._stack.append(False),  # NEWFALSE
            0x8A: self._long,  # LONG1
        }

    # ------------------------------------------------------------------------------------------ the bytes

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise damaged("its pickle ends too early")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _unpack(self, layout: str, count: int) -> object:
        return struct.unpack(layout, self._take(count))[0]

    def _size(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def _text(self) -> None:
        length = self._size()
        if length > MAX_STRING_BYTES:
            raise damaged(f"a text of {length} bytes, more than {MAX_STRING_BYTES}")
        self._stack.append(_decoded(self._take(length)))

    def _long(self) -> None:
        length = self._take(1)[0]
        if length > MAX_INTEGER_BYTES:
            raise damaged(f"a number of {length} bytes, more than {MAX_INTEGER_BYTES}")
        self._stack.append(int.from_bytes(self._take(length), "little", signed=True))

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position, self._position + MAX_NAME_BYTES + 1)
        if end < 0:
            raise damaged(f"a name without an end within {MAX_NAME_BYTES} bytes")
        line = self._take(end + 1 - self._position)
        return _decoded(line[:-1])

    # ------------------------------------------------------------------------------------------ the stack

    def _pop(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise damaged("its pickle takes a value that is not there")
        return self._stack.pop()

    def _top(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise damaged("its pickle changes a value that is not there")
        return self._stack[-1]

    def _since_mark(self) -> list[object]:
        if not self._marks:
            raise damaged("its pickle ends a group that has no beginning")
        begin = self._marks.pop()
        taken = self._stack[begin:]
        del self._stack[begin:]
        return taken

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _remember(self, place: int) -> None:
        self._memo[place] = self._top()

    def _recall(self, place: int) -> None:
        if place not in self._memo:
            raise damaged("its pickle recalls a value that it did not keep")
        self._stack.append(self._memo[place])

    # ------------------------------------------------------------------------------------------ lists and dictionaries

    def _list(self) -> list[object]:
        top = self._top()
        if not isinstance(top, list):
            raise damaged("its pickle appends to something that is no list")
        return top

    def _append(self) -> None:
        value = self._pop()
        self._list().append(value)

    def _appends(self) -> None:
        values = self._since_mark()
        self._list().extend(values)

    def _dictionary(self) -> dict[object, object]:
        top = self._top()
        if isinstance(top, dict):
            return top
        if isinstance(top, Record) and top.target.path == ORDERED_DICTIONARY:
            return top.items
        raise damaged("its pickle sets an entry of something that is no dictionary")

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._dictionary()[_checked_key(key)] = value

    def _set_items(self) -> None:
        values = self._since_mark()
        if len(values) % 2:
            raise damaged("its pickle sets a key without a value")
        entries = self._dictionary()
        for key, value in zip(values[0::2], values[1::2], strict=True):
            entries[_checked_key(key)] = value

    # ------------------------------------------------------------------------------------------ names and records

    def _global(self) -> None:
        key = (self._line(), self._line())
        if key not in self._names:
            if len(self._names) >= MAX_NAMES:
                raise damaged(f"it names more than {MAX_NAMES} classes and functions")
            self._names[key] = Name(*key)
        self._stack.append(self._names[key])

    def _record(self, instruction: str) -> None:
        arguments, target = self._pop(), self._pop()
        if not isinstance(target, Name) or not isinstance(arguments, tuple):
            raise damaged(f"{instruction} without a name and a tuple")
        if target.path == ORDERED_DICTIONARY and arguments:
            raise damaged("an ordered dictionary that is not made empty")
        self._stack.append(Record(target, arguments))

    def _build(self) -> None:
        state, record = self._pop(), self._top()
        if not isinstance(record, Record) or record.built:
            raise damaged("a state for something that takes none")
        record.state, record.built = state, True

    def _persistent_id(self) -> None:
        if self._persistent is None:
            raise damaged("a reference to data where there is none")
        self._stack.append(self._persistent(self._pop()))


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise damaged("a text that is not UTF-8") from None


def _checked_key(key: object) -> object:
    """``key`` if it is a plain value, or a short tuple of plain values."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > MAX_KEY_PARTS or not all(_is_plain(part) for part in parts):
        raise damaged("a dictionary's key that is neither text nor a number")
    return key


def _is_plain(part: object) -> bool:
    if isinstance(part, int):
        return -_KEY_INTEGER_LIMIT <= part < _KEY_INTEGER_LIMIT
    return part is None or isinstance(part, str | float)
