"""Code in a TorchScript file, read word by word: arithmetic and changes of shape pass, everything else does not.

TorchScript can open and write files (``torch.from_file``, ``torch.save``, also as methods of any tensor) and reach
classes of torch that do more. So every name behind a dot, and every name that is called, must be one listed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPERATOR_NAMES = """
_convolution add addmm arange bmm cat chunk clamp constant_pad_nd contiguous conv2d detach device div elu expand
flatten flip floor_divide gelu hardsigmoid hardswish hardtanh layer_norm leaky_relu linear matmul max_pool2d mean
meshgrid mish mul neg pad permute pow prelu relu relu6 reshape rsub scaled_dot_product_attention select sigmoid silu
size slice softmax softplus split squeeze stack sub sum tanh to transpose unbind unflatten unsqueeze
upsample_bilinear2d upsample_nearest2d view
"""
OPERATORS = frozenset(_OPERATOR_NAMES.split())
"""Of torch; also with an underscore behind, which works in place."""

_MEMBERS = frozenset(("prim", "NumToTensor", "forward"))
_FUNCTIONS = frozenset(("int", "float", "bool", "annotate", "unchecked_cast", "forward", "Class", "return"))
_CLASS = re.compile(r"__torch__(?!\.torch\.classes\b)(?:\.\w+)+", re.ASCII)
_MEMBER_LISTS = re.compile(r"^  __(?:parameters|buffers)__ = \[\]$", re.ASCII | re.MULTILINE)
_CONSTANT = re.compile(r"c[0-9]+", re.ASCII)
_WORD = re.compile(
    r"(?P<space>\s+)|(?P<text>\"[\w:. ]*\")|(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>->|[()\[\]:,=.+\-])",
    re.ASCII,
)


def forbidden_word(code: str) -> str:
    """The first thing in the code of an archive that a detector never needs, or "" if there is none."""
    code = _MEMBER_LISTS.sub("", _CLASS.sub("Class", code))
    words = list(_words(code))
    for place, (kind, word) in enumerate(words):
        if kind == "unknown":
            return word
        if kind == "name" and not _known(words, place):
            return word
    return ""


def _words(code: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(code):
        found = _WORD.match(code, place)
        if found is None:
            yield "unknown", code[place : place + 20]
            return
        place = found.end()
        if found.lastgroup != "space":
            yield str(found.lastgroup), found[0]


def _known(words: list[tuple[str, str]], place: int) -> bool:
    """Whether a name may stand where it stands."""
    name = words[place][1]
    before = words[place - 1] if place else ("sign", "")
    after = words[place + 1][1] if place + 1 < len(words) else ""
    if before[0] in ("number", "text"):
        return False
    if before[1] == ".":
        owner = words[place - 2][1] if place > 1 else ""
        if owner == "CONSTANTS":
            return bool(_CONSTANT.fullmatch(name))
        return name in _MEMBERS or name.removesuffix("_") in OPERATORS
    if name in ("torch", "ops", "CONSTANTS"):
        return after == "."
    if after == "(":
        return name in _FUNCTIONS or before[1] == "class"
    # Variables, types and keywords: they hold values only, as what does something is refused above.
    return name != "import" and not name.startswith("__")
