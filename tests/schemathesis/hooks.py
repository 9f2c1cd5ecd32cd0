"""What the tool takes for a fault and is none."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def filter_failure(_: Any, failure: Any, case: Any, response: Any) -> bool:
    """
    Leave out what is as it should be.

    What has happened to a resource can be read for as long as events are kept, also when it is gone. How long a lease may be depends on the
    resource, and how high a priority may be on the key.
    """
    if case.operation.path.endswith("/events") and type(failure).__name__ == "UseAfterFree":
        return False
    text = getattr(response, "text", "")
    return not any(code in text for code in ("bad_lease", "forbidden_priority"))
