"""`python -m zea.api.openapi` prints the API's description as docs/openapi.json keeps it."""

import json
import sys

from zea.api.app import create_app


def text() -> str:
    """The document, the same for the same code wherever it is made."""
    return json.dumps(create_app().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
