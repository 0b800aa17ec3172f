"""JUnit's XML, as CI systems read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from coe_regress.result import Result


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the results of a run."""
    suite = ET.Element(
        "testsuite",
        name="coe-regress",
        tests=str(len(results)),
        failures=str(sum(result.breaks for result in results)),
        errors="0",
        skipped=str(sum(not r.breaks and r.verdict != "passed" for r in results)),
        time=f"{sum(result.took_s for result in results):.3f}",
    )
    for result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"coe-regress.{result.case.failure}",
            name=result.case.id,
            time=f"{result.took_s:.3f}",
        )
        if result.breaks:
            ET.SubElement(case, "failure", type=result.verdict, message=result.text)
        elif result.verdict != "passed":
            ET.SubElement(case, "skipped", type=result.verdict, message=result.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
