"""Plain values into attrs classes, strictly: no unknown key, no type turned into another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from attrs import fields
from cattrs import Converter, transform_error
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.v import format_exception

from planner.model.migration import Setting

__all__ = ["Malformed", "strict_converter", "structured", "write_with_hyphens"]

_Value = TypeVar("_Value")


class Malformed(ValueError):
    """Plain values that are no value of a class, in words that a person can read."""


def strict_converter() -> Converter:
    """A converter that takes no unknown key and turns no type into another."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, bool):
        # By class, not by a predicate: cattrs asks no predicate about these.
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook_func(lambda kind: kind == Setting, _setting)
    return converter


def _setting(value: object, _: object) -> object:
    if type(value) not in (bool, int, str):
        raise TypeError(f"{str(value)[:60]!r} is no value of a migration parameter")
    return value


def _exactly(kind: type) -> Callable[[object, type], object]:
    def check(value: object, wanted: type) -> object:
        if issubclass(wanted, Enum):  # an enum of strings is a subclass of str, and comes here too
            return wanted(value)
        if type(value) is not kind:
            raise TypeError(f"{str(value)[:60]!r} is no {kind.__name__}")
        return value

    return check


def write_with_hyphens(
    converter: Converter,
    kind: type,
    skip: tuple[str, ...] = (),
    seldom: tuple[str, ...] = (),
    called: Mapping[str, str] | None = None,
) -> None:
    """Write attribute names with hyphens, as QMP does.

    Args:
        converter: What writes and reads.
        kind: The attrs class.
        skip: Attributes that are never written.
        seldom: Attributes that are written only where they are not as by default.
        called: By attribute, the name that it is written under instead.
    """
    renames: dict[str, Any] = {
        attribute.name: override(rename=attribute.name.replace("_", "-"))
        for attribute in fields(kind)
    }
    renames |= {name: override(omit=True) for name in skip}
    renames |= {
        name: override(rename=name.replace("_", "-"), omit_if_default=True) for name in seldom
    }
    renames |= {name: override(rename=written) for name, written in (called or {}).items()}
    # Made when first needed: a hook is compiled, and most runs of snapplan need few of them.
    converter.register_unstructure_hook_factory(
        lambda wanted: wanted is kind,
        lambda wanted: make_dict_unstructure_fn(wanted, converter, **renames),
    )
    converter.register_structure_hook_factory(
        lambda wanted: wanted is kind,
        lambda wanted: make_dict_structure_fn(wanted, converter, **renames),
    )


def structured(converter: Converter, plain: object, kind: type[_Value]) -> _Value:
    """A value of a class from plain values.

    Raises:
        Malformed: They are none; it says what is wrong, where, and of the first things only.
    """
    try:
        return converter.structure(plain, kind)
    except ClassValidationError as error:
        raise Malformed("; ".join(transform_error(error, format_exception=_words)[:3])) from error
    except RecursionError as error:
        raise Malformed("it nests too deeply") from error


def _words(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, Malformed) else format_exception(error, kind)
