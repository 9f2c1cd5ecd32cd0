"""What is kept at selectors, in memory of a bounded size."""

from __future__ import annotations

from typing import Final

from resourced.model import Document

#: How many bytes they take at most.
ROOM: Final = 32 << 20
#: About how many bytes one takes besides its text.
OVERHEAD: Final = 600

#: The id of a resource, and a selector.
DocumentKey = tuple[str, str]


class Documents:
    """
    Documents by the resource and the selector where they are kept; and where nothing is kept. If there are too many, those go that have been here
    longest.

    :param room: how many bytes they may take.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._used = 0
        self._kept: dict[DocumentKey, Document | None] = {}

    def knows(self, resource_id: str, selector: str) -> bool:
        """Tell whether it is known what is kept at a selector, or that nothing is."""
        return (resource_id, selector) in self._kept

    def get(self, resource_id: str, selector: str) -> Document | None:
        """Return the document that is known to be at a selector, if there is one."""
        return self._kept.get((resource_id, selector))

    def put(self, resource_id: str, selector: str, document: Document | None) -> None:
        """Know what is kept at a selector, or that nothing is, instead of what was known of it."""
        key = resource_id, selector
        if key in self._kept:
            self.pop(resource_id, selector)
        self._kept[key] = document
        self._used += _size(selector, document)
        while self._used > self._room:
            self.pop(*next(iter(self._kept)))

    def pop(self, resource_id: str, selector: str) -> Document | None:
        """Know nothing of a selector any more; return the document that was known to be there, if there was one."""
        key = resource_id, selector
        if key not in self._kept:
            return None
        document = self._kept.pop(key)
        self._used -= _size(selector, document)
        return document

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self._used = 0


def _size(selector: str, document: Document | None) -> int:
    """Tell how many bytes it takes at most to know what is at a selector."""
    size = OVERHEAD + 4 * len(selector)
    if document is None:
        return size
    data = document.data
    return size + (len(data) if data.isascii() else 4 * len(data))
