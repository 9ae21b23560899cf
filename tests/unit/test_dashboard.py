"""The Grafana dashboard opens, and asks for nothing that the service does not show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import Metric

from poller.metrics import FunctionSnapshot, MappingLabels, MappingSnapshot, Metrics, StateCollector

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs/dashboards/poller.json").read_text())


def families() -> list[Metric]:
    """All that a scrape shows."""
    metrics, labels = Metrics(), MappingLabels("m", "f", "t")
    metrics.of_mapping(labels)
    mapping = MappingSnapshot(labels, enabled=True, lag={"t-0": 1}, held=0, pollers=1)
    function = FunctionSnapshot("f", *[0] * 7)
    metrics.registry.register(StateCollector(lambda: [mapping], lambda: [function]))
    return list(metrics.registry.collect())


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable)


def asked() -> set[str]:
    return {name for query in queries() for name in re.findall(r"poller_[a-z0-9_]+", query)}


def test_every_name_it_asks_for_is_shown() -> None:  # C.9
    assert asked() - {sample.name for family in families() for sample in family.samples} == set()


def test_every_series_is_on_it() -> None:  # C.9
    assert {family.name for family in families()} - {re.sub("_(bucket|total)$", "", name) for name in asked()} == set()


def test_it_has_what_an_import_needs() -> None:
    assert DASHBOARD["title"] == "Poller"
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD, "Grafana gives it one"
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert set(panel["gridPos"]) == {"h", "w", "x", "y"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_data_source_mapping_and_function_can_be_chosen() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "function", "mapping"}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    used = [target["datasource"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in used)
    assert all("$function" in target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))


def test_no_two_panels_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
