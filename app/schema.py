"""The report's form as JSON Schema, for readers in other languages; `make schema` writes it into the repository."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pipelines.report import Report

FILE = Path(__file__).parent.parent / "docs" / "schema" / "report.json"


def report_schema() -> dict[str, Any]:
    return {"$schema": GenerateJsonSchema.schema_dialect, **Report.model_json_schema(mode="serialization")}


def main() -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(report_schema(), indent=1, ensure_ascii=False) + "\n", "utf8")


if __name__ == "__main__":
    main()
