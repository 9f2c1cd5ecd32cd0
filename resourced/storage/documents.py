"""Documents in memory, of a bounded size."""

from __future__ import annotations

from typing import Final

from resourced.model import Document

#: How many bytes they take at most.
ROOM: Final = 32 << 20
#: About how many bytes one takes besides its data.
OVERHEAD: Final = 600

#: The id of a resource, and a selector.
DocumentKey = tuple[str, str]


class Documents:
    """
    Documents by the resource and the selector where they are kept. If there are too many, those go that have been here longest.

    :param room: how many bytes they may take.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._used = 0
        self._kept: dict[DocumentKey, Document] = {}

    def get(self, resource_id: str, selector: str) -> Document | None:
        """Return the document that is kept for a selector, if there is one."""
        return self._kept.get((resource_id, selector))

    def put(self, document: Document) -> None:
        """Keep a document, instead of the one that is there."""
        key = document.resource_id, document.selector
        before = self._kept.pop(key, None)
        self._kept[key] = document
        self._used += _size(document) - (0 if before is None else _size(before))
        while self._used > self._room:
            self.pop(*next(iter(self._kept)))

    def pop(self, resource_id: str, selector: str) -> Document | None:
        """Take a document out."""
        document = self._kept.pop((resource_id, selector), None)
        if document is not None:
            self._used -= _size(document)
        return document

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self._used = 0


def _size(document: Document) -> int:
    """Tell how many bytes a document takes at most."""
    data = document.data
    return OVERHEAD + (len(data) if data.isascii() else 4 * len(data))
