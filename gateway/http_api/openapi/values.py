"""Schemas of single values, which several parts of the document share."""

from typing import Final

TEXT: Final = {"type": "string"}
NAMES: Final = {"oneOf": [TEXT, {"type": "array", "items": TEXT}]}
NUMBER: Final = {"type": ["integer", "string"]}
COUNT: Final = {"type": "integer"}
COUNTS: Final = {"type": "object", "additionalProperties": COUNT}
