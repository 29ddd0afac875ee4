"""`key.path=value`: changes to the plain values of a recipe, as a command line gives them.

What it is: `overridden`. What it is not: the schema that the result has to fit (`recipe.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kimivl.config.base import ConfigError


def overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with changes; list items are named by index or by their `name`, values are YAML.

    Raises: ConfigError naming the override.
    """
    changed: dict[str, Any] = _unshared(dict(values))
    for override in overrides:
        _apply(changed, override)
    return changed


def _unshared(value: Any) -> Any:
    """A copy without common parts. YAML gives one object to all places that name an anchor; an override changes one of them."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _apply(values: dict[str, Any], override: str) -> None:
    keys, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} must look like key.path=value")
    *parents, last = keys.split(".")
    target: Any = values
    for key in parents:
        target = _child(target, key, override)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: the value {text!r} is not valid YAML") from None
    if isinstance(target, list):
        target[_index(target, last, override)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise _nothing_below(last, override)


def _child(target: Any, key: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, key, override)]
    if isinstance(target, dict):
        return target.setdefault(key, {})
    raise _nothing_below(key, override)


def _nothing_below(key: str, override: str) -> ConfigError:
    return ConfigError(f"override {override!r}: what stands before {key!r} is a plain value and has no keys")


def _index(items: list[Any], key: str, override: str) -> int:
    for index, item in enumerate(items):
        if str(index) == key or (isinstance(item, dict) and item.get("name") == key):
            return index
    raise ConfigError(f"override {override!r}: no item {key!r} in the list")
