"""The base of every configuration: frozen, and an unknown key is an error that names the key and the likely fix; and the kinds of
value that several schemas share."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and the fix."""


class Config(BaseModel):
    """Frozen settings. Fields are the only keys; typos are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


ConfigT = TypeVar("ConfigT", bound=Config)


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
        raise ValueError(f"{name!r} names a file or folder: use letters, digits, _ and -, with single dots only between them")
    return name


AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_plain_name)]  # of what has a folder or files of its own in a run


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises: ConfigError naming the file if it is missing or damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return values
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from None


def parse(config_type: type[ConfigT], values: Mapping[str, Any], where: str) -> ConfigT:
    """Builds a config from plain values.

    Args:
        values: nested plain values, as YAML or JSON give them.
        where: named in errors, for example the file.
    Raises: ConfigError with one line per fault.
    """
    try:
        return config_type.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(config_type, fault) for fault in error.errors()]
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _explain(config_type: type[Config], fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "value_error":  # our own check, which says all; the input would be the whole section
        return f"{key}: {fault['ctx']['error']}" if key else str(fault["ctx"]["error"])
    if fault["type"] == "missing":
        return f"{key}: this key is missing"
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg']} (got {fault['input']!r})"
    known = _keys_beside(config_type, fault["loc"])
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"{key}: unknown key; {hint}"


def _keys_beside(config_type: type[Config], location: tuple[int | str, ...]) -> list[str]:
    """The field names that were allowed where an unknown key stood."""
    current: list[type[Config]] = [config_type]
    for part in location[:-1]:
        fields = [config.model_fields[str(part)] for config in current if part in config.model_fields]
        if fields:
            current = _configs_in(fields[0].annotation)
        else:  # a place in a list, or the tag of a union
            current = [config for config in current if part in _tags(config)] or current
    return list(dict.fromkeys(name for config in current for name in config.model_fields))


def _configs_in(annotation: Any) -> list[type[Config]]:
    """The Config classes inside an annotation such as `list[StageConfig]` or `VisionConfig | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [config for inner in getattr(annotation, "__args__", ()) for config in _configs_in(inner)]


def _tags(config: type[Config]) -> tuple[Any, ...]:
    """By which a union tells this class from its others."""
    field = config.model_fields.get("kind")
    return getattr(field.annotation, "__args__", ()) if field else ()
