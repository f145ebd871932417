"""docs/schemas/report-v1.json is what reports follow."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from trueup.comparison import compare
from trueup.records.report import Report

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas" / "report-v1.json"


def test_the_published_schema_is_the_records_own() -> None:
    """To renew it after a change that stays compatible: write this dictionary to the file."""
    assert json.loads(PUBLISHED.read_text()) == Report.model_json_schema(mode="serialization")


def test_a_real_report_follows_it() -> None:
    schema = json.loads(PUBLISHED.read_text())
    frame = pd.DataFrame({"a": range(500), "b": ["x", "y"] * 250})
    report = json.loads(compare(frame, frame.assign(a=-1.5, b=None)).to_json())
    jsonschema.validate(report, schema)
    del report["verdict"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, schema)
