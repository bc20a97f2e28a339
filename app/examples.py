"""The OpenAPI document -> the same with an example of every answer, by the name of its schema."""

import json
from importlib import resources
from typing import Any

_JSON = "application/json"


def show_examples(document: dict[str, Any]) -> None:
    """Afterwards, since what makes the document leaves out whatever is null."""
    known = json.loads(resources.files("app").joinpath("examples.json").read_text("utf8"))
    for methods in document["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {}).get(_JSON, {})
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if name in known:
                    content["example"] = known[name]
