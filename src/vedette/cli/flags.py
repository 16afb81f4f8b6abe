"""Command-line flags from configuration classes: names, help and defaults are read off the fields.

cyclopts splits the command line into strings; the configuration class alone decides what a value means, so a
value is checked by the same rules in a file, in Python and on the command line, with the same message.

A field may carry, in ``json_schema_extra``:

* ``flags``: the names on the command line, the usual one first (default: ``--field-name``);
* ``positional``: True if the value may be given without its flag;
* ``bare``: the value that the flag has when it is given alone (``--resume``).

A class with a ``title`` in its ``model_config`` gets a heading of its own in the help text.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError
from pydantic.fields import FieldInfo

from vedette.cli.flag_names import full_names
from vedette.config.base import Config
from vedette.errors import UsageError

ConfigT = TypeVar("ConfigT", bound=Config)


def parse_arguments(
    command: str, purpose: str, classes: Sequence[type[Config]], arguments: Sequence[str]
) -> dict[type[Config], dict[str, Any]] | None:
    """Split ``arguments`` into the values given for each configuration class.

    Returns:
        For each class a dict of field name to string, list of strings or bool (only what was given), or None
        if help was asked for and printed.

    Raises:
        UsageError: unknown flag (with the nearest known one), missing value, leftover or repeated argument.
    """
    collected: dict[str, Any] = {}
    fields = {name: field for cls in classes for name, field in cls.model_fields.items()}

    by_place = [name for name, field in fields.items() if _extra(field).get("positional")]

    def collect(*places: Any, **values: Any) -> None:
        values |= zip(by_place, places, strict=False)
        collected.update({name: value for name, value in values.items() if value is not None})
        collected[""] = True  # parsing reached the end: not a request for help

    collect.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted(
            (
                _parameter(name, field, cls.model_config.get("title"))
                for cls in classes
                for name, field in cls.model_fields.items()
            ),
            key=lambda parameter: parameter.kind,
        )
    )
    collect.__doc__ = purpose
    app = App(
        name=command,
        help=purpose,
        help_flags=["--help", "-h"],
        version_flags=[],
        help_format="plaintext",
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    app["--help"].group = Group("Other")
    app.default(collect)
    try:
        app(spelled_out(command, classes, arguments))
    except CycloptsError as error:
        raise _usage_error(command, error) from None
    if not collected.pop("", False):
        return None
    return {cls: {n: v for n, v in collected.items() if n in cls.model_fields} for cls in classes}


def spelled_out(command: str, classes: Sequence[type[Config]], arguments: Sequence[str]) -> list[str]:
    """``arguments`` with full names for beginnings of flags, and with values for flags that stand alone.

    Raises:
        UsageError: the beginning of several flags.
    """
    known, fields = {"--help": ""}, dict[str, FieldInfo]()
    for cls in classes:
        fields |= cls.model_fields
        for name, field in cls.model_fields.items():
            for flag in flag_names(name, field):
                known[flag] = name
                if field.annotation is bool and field.default is True:
                    known[f"--no-{flag.removeprefix('--')}"] = f"no {name}"
    return _with_bare_values(fields, full_names(command, known, arguments))


def run_with_config(
    command: str, purpose: str, cls: type[ConfigT], arguments: Sequence[str], run: Callable[[ConfigT], int]
) -> int:
    """Parse, validate, run: what most commands are."""
    given = parse_arguments(command, purpose, [cls], arguments)
    return 0 if given is None else run(validate(command, cls, given[cls]))


def validate(command: str, cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The configuration of the given values; errors name the flag. Raises ConfigError."""
    labels = {name: flag_names(name, field)[0] for name, field in cls.model_fields.items()}
    return cls.parse(values, where=command, labels=labels)


def _usage_error(command: str, error: CycloptsError) -> UsageError:
    if isinstance(error, UnusedCliTokensError):
        text = f"unexpected argument '{' '.join(error.unused_tokens or [])}'"
    else:
        text = " ".join(str(error).split()).rstrip(".")
        text = text[0].lower() + text[1:]
    return UsageError(text, where=command, fix=f"see `{command} --help` for all flags")


def flag_names(name: str, field: FieldInfo) -> list[str]:
    """The command-line names of a field, the usual one first."""
    return list(_extra(field).get("flags", [f"--{name.replace('_', '-')}"]))


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _parameter(name: str, field: FieldInfo, heading: str | None) -> inspect.Parameter:
    extra = _extra(field)
    several = _takes_several(field.annotation)
    plain: Any = bool if field.annotation is bool else (list[str] if several else str)
    parameter = Parameter(
        name=flag_names(name, field),
        help=_help_text(field),
        negative=None if field.annotation is bool and field.default is True else (),
        consume_multiple=several or None,
        show_default=False,
        group=heading or "Flags",
    )
    kind = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD if extra.get("positional") else inspect.Parameter.KEYWORD_ONLY
    )
    return inspect.Parameter(name, kind, default=None, annotation=Annotated[plain | None, parameter])


def _help_text(field: FieldInfo) -> str:
    text = (field.description or "").strip().rstrip(".")
    choices = _choices(field.annotation)
    if choices:
        text += f" ({', '.join(choices)})"
    default = field.default
    if field.is_required():
        return f"{text}. Required."
    if default is None or default is False or default in ("", ()):
        return f"{text}."
    if isinstance(default, tuple):
        default = " ".join(str(part) for part in default)
    return f"{text}. Default: {default}."


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in _union_parts(annotation) for choice in _choices(part)]


def _union_parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType, Annotated) else ()


def _takes_several(annotation: Any) -> bool:
    if get_origin(annotation) in (tuple, list):
        return True
    return any(_takes_several(part) for part in _union_parts(annotation) if part is not Path)


def _with_bare_values(fields: dict[str, FieldInfo], arguments: Sequence[str]) -> list[str]:
    """Give flags that may stand alone their value: ``--resume --seed 3`` -> ``--resume=last --seed 3``."""
    bare = {
        flag: str(_extra(field)["bare"])
        for name, field in fields.items()
        if "bare" in _extra(field)
        for flag in flag_names(name, field)
    }
    result: list[str] = []
    for position, argument in enumerate(arguments):
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if argument in bare and following.startswith("--"):
            result.append(f"{argument}={bare[argument]}")
        else:
            result.append(argument)
    return result
