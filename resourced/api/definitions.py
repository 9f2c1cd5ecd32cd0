"""What a request says a resource is to be, and what the server says that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from resourced.api.params import checked_name, fields_of
from resourced.errors import BadRequest
from resourced.model import Resource, valid_name

#: The longest lease that fits into the store, in seconds.
LONGEST: Final = 2**31 - 1
#: The most slots that a resource may have.
MOST_SLOTS: Final = 10_000


class NewResource(NamedTuple):
    """
    A resource that is to be created.

    Its fields are those of ``resourced.model.Resource``.
    """

    name: str
    timeout: int = 0
    group: str = ""
    longest: int = 0
    slots: int = 0


def definition(body: bytes) -> NewResource:
    """
    Return the resource that is to be created.

    :raises BadRequest: the body does not say it.
    """
    fields = fields_of(body, "name", *_SETTINGS)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise BadRequest("The body has no name, or one that is not a string.", "bad_name")
    return NewResource(checked_name("resource", name), **_settings(fields))  # type: ignore[arg-type]


def changes_of(body: bytes) -> dict[str, int | str]:
    """
    Return what of a resource is to be changed, by the names of its fields.

    :raises BadRequest: the body does not say it.
    """
    changes = _settings(fields_of(body, *_SETTINGS))
    if not changes:
        raise BadRequest(f"The body changes nothing: it takes {', '.join(_SETTINGS)}.", "bad_body")
    return changes


def described(resource: Resource) -> dict[str, object]:
    """Describe a resource. What it leaves to the server, beside the timeout, is not mentioned."""
    more = {"group": resource.group, "longest": resource.longest, "slots": resource.slots}
    return {
        "id": resource.id,
        "name": resource.name,
        "timeout": resource.timeout,
        **{name: value for name, value in more.items() if value},
    }


def _settings(fields: Mapping[str, object]) -> dict[str, int | str]:
    return {name: _SETTINGS[name](name, value) for name, value in fields.items()}


def _seconds(name: str, value: object) -> int:
    return _whole(name, value, LONGEST, "whole number of seconds")


def _slots(name: str, value: object) -> int:
    return _whole(name, value, MOST_SLOTS, "whole number")


def _whole(name: str, value: object, most: int, kind: str) -> int:
    if isinstance(value, float) and value.is_integer():
        # JSON knows only one kind of number.
        value = int(value)
    if type(value) is not int or not 0 <= value <= most:
        raise BadRequest(f"{name} is not a {kind} from 0 to {most}.", f"bad_{name}")
    return value


def _group(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} is not a string.", f"bad_{name}")
    if value and (why := valid_name(value)):
        raise BadRequest(f"{name} {why}.", f"bad_{name}")
    return value


_SETTINGS: Final[Mapping[str, Callable[[str, object], int | str]]] = {
    "timeout": _seconds,
    "group": _group,
    "longest": _seconds,
    "slots": _slots,
}
