"""What whoever runs it looks at: health, readiness, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.service.running import Service


def samples(service: Service) -> dict[tuple[str, str], float]:
    """Value of each sample by its name and the value of its only label, if it has one."""
    text = service.get("/metrics").text
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_health_is_answered(service: Service) -> None:
    reply = service.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_readiness_tells_what_the_service_works_with(service: Service) -> None:
    ready = service.get("/ready").json()
    assert ready["ready"] is True
    assert ready["process"] in {service.pid(part) for part in service.apis}
    assert ready["models"] == {"champion": "offers/1"}
    assert ready["problems"] == {}
    assert len(ready["catalog_version"]) == 12
    assert ready["snapshot"] >= 0


def test_metrics_are_prometheus_and_count_all_processes_together(service: Service) -> None:
    before = samples(service)
    assert service.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    for part in service.apis:
        with service.at(part) as there:
            token = there.track("metrics-1", "Searched")
            there.decide("metrics-1", after=token)
            there.decide("metrics-1", flags={"look": "unmodelled"})
            assert there.post("/v1/track", {"event": "Searched"}).status_code == 400
    service.features("metrics-1")  # waits for the worker
    after = samples(service)

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0.0)

    assert grown("kairos_decisions_total", "model") == 2
    assert grown("kairos_decisions_total", "prior") == 2
    assert grown("kairos_decision_seconds_count") == 4
    assert grown("kairos_events_total", "accepted") == 2
    assert grown("kairos_events_total", "rejected") == 2
    assert grown("kairos_events_processed_total") >= 4
    assert after["kairos_snapshot_age_seconds", ""] >= 0
