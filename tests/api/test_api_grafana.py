"""The example dashboard asks for metrics that there are."""

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.api.serving import engine_and_api

DASHBOARD = Path(__file__).resolve().parents[2] / "docker" / "grafana" / "cortexwire.json"
OF_A_RECORDER = "cortexwire_recorder_"


def test_every_expression_of_the_dashboard_names_a_metric(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"cortexwire_\w+", target["expr"])
        if not name.startswith(OF_A_RECORDER)
    }
    with engine_and_api(tmp_path) as api:
        text = api.get("/metrics").text
    there = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    typed = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert asked - there - typed == set()
    assert len(asked) > 15
