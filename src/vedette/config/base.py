"""What every configuration class shares: frozen, strict about unknown keys, readable from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from vedette.errors import ConfigError, nearest

MAX_YAML_BYTES = 1_000_000
MAX_YAML_NODES = 200_000

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all configuration classes. Frozen; an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def parse(
        cls: type[ConfigT],
        values: Mapping[str, Any],
        *,
        where: object = "",
        labels: Mapping[str, str] | None = None,
    ) -> ConfigT:
        """Validate ``values``.

        Args:
            values: field name to value.
            where: the file or command the values come from, for messages.
            labels: what to call a field in messages, if not by its name (its flag, say).

        Raises:
            ConfigError: with the file and key, what was expected, and the nearest known key.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _first_problem(error, cls, where, labels or {}) from None

    @classmethod
    def load(cls: type[ConfigT], path: Path) -> ConfigT:
        """Read a YAML file of this configuration. Raises ConfigError."""
        return cls.parse(read_yaml_mapping(path), where=path)

    def to_yaml(self) -> str:
        """The configuration as YAML text, in declaration order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _first_problem(
    error: ValidationError, cls: type[Config], where: object, labels: Mapping[str, str]
) -> ConfigError:
    problem = error.errors(include_url=False)[0]
    if not problem["loc"]:  # a contradiction between fields: its text names them
        return ConfigError(problem["msg"].removeprefix("Value error, "), where=where or cls.__name__)
    path = [str(part) for part in problem["loc"]]
    key = labels.get(path[0]) or ".".join(path)
    place = f"{where}: {key}" if str(where) else key
    if problem["type"] == "extra_forbidden":
        return ConfigError("unknown key", where=place, fix=nearest(str(problem["loc"][-1]), cls.model_fields))
    text = problem["msg"].removeprefix("Value error, ")
    return ConfigError(f"{text} (got {problem.get('input')!r})"[:400], where=place)


class _BoundedLoader(yaml.SafeLoader):
    """SafeLoader that refuses alias bombs: the number of composed nodes, aliases included, is bounded."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.nodes_seen = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes_seen += 1
        if self.nodes_seen > MAX_YAML_NODES or self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) and very large documents are not accepted")
        return super().compose_node(parent, index)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, without executing or expanding anything.

    Raises:
        ConfigError: the file is missing, over 1 MB, not UTF-8, not YAML, uses aliases, or is no mapping.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=path) from None
    if len(raw) > MAX_YAML_BYTES:
        raise ConfigError(f"is {len(raw)} bytes long, more than {MAX_YAML_BYTES}", where=path)
    try:
        loader = _BoundedLoader(raw.decode("utf-8-sig"))
        try:
            document = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"is not readable YAML ({' '.join(str(error).split())[:200]})", where=path
        ) from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError("must hold a mapping of names to values", where=path)
    return document


def parse_size_hw(value: object) -> object:
    """Accept 640, "640", "384x640", "384,640", (384, 640) and [640] as (height, width)."""
    if isinstance(value, str):
        value = [part for part in value.lower().replace("x", " ").replace(",", " ").split() if part]
    if isinstance(value, (list, tuple)):
        if len(value) == 1:
            return (value[0], value[0])
        if len(value) == 2:
            return tuple(value)
        raise ValueError("give one number (square) or two (height width)")
    return (value, value)


SizeHWField = Annotated[tuple[int, int], BeforeValidator(parse_size_hw)]
"""(height, width) in pixels; one number means a square."""
