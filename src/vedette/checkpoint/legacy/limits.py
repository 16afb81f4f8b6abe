"""How much a file of strangers may ask for. Everything that grows with a file's contents is bounded by one of these."""

from __future__ import annotations

GIB = 1 << 30
MIB = 1 << 20

MAX_FILE_BYTES = 4 * GIB
MAX_PICKLE_BYTES = 64 * MIB
MAX_OPCODES = 2_000_000
"""The largest published model, saved in the middle of its training, takes 230,000."""
MAX_STRING_BYTES = 4 * MIB
"""The oldest files carry the source text of every class, to be skipped."""
MAX_INTEGER_BYTES = 16
MAX_NAME_BYTES = 256
MAX_NAMES = 10_000
"""Different names of classes and functions; a published model has some forty."""
MAX_KEY_PARTS = 8
"""Of a dictionary's key that is a tuple."""
MAX_ZIP_ENTRIES = 20_000
MAX_MODULE_DEPTH = 32
MAX_MODULES = 20_000
MAX_VALUES = 200_000
"""Metadata values that are looked at in one walk."""
MAX_WALKED = 1_000_000
"""Values of a whole file, modules included: the largest published model has 110,000."""
MAX_DIMENSIONS = 8
MAX_NUMBER = 1 << 40
"""Of a size, a stride, an offset, a count."""
MAX_SECONDS = 60
