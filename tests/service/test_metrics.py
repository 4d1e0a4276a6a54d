"""What /metrics says beside its processes' counts: what was last found of the models' health, and how old that is."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from service import metrics

if TYPE_CHECKING:
    from features.home import Home
    from tests.service.running import Service

FOUND = """# TYPE kairos_model_psi gauge
kairos_model_psi{{model="{name}",feature="propensity"}} 0.3
# TYPE kairos_model_reward_ratio gauge
kairos_model_reward_ratio{{model="{name}",version="{name}/3"}} 0.05
"""


def write(home: Home, *names: str) -> None:
    (home.root / "health").mkdir(exist_ok=True)
    for name in names:
        (home.root / "health" / f"{name}.prom").write_text(FOUND.format(name=name))


def test_a_running_service_shows_the_newest_health_of_its_models(service: Service) -> None:
    service.decide("measured")
    assert "kairos_model_psi" not in service.get("/metrics").text
    write(service.home, "offers")
    try:
        families = {it.name: it for it in text_string_to_metric_families(service.get("/metrics").text)}
    finally:
        (service.home.root / "health" / "offers.prom").unlink()
    assert families["kairos_model_psi"].samples[0].value == 0.3
    assert families["kairos_model_health_age_seconds"].samples[0].labels == {"model": "offers"}
    assert families["kairos_model_decisions"].samples


def test_the_health_of_several_models_is_one_text_in_which_each_family_stands_once(home: Home) -> None:
    write(home, "offers", "hats")
    long_ago = time.time() - 7200.0
    os.utime(home.root / "health" / "hats.prom", (long_ago, long_ago))
    text = metrics.read_health(home).decode()
    assert text.count("# TYPE kairos_model_psi gauge") == 1
    families = {it.name: it for it in text_string_to_metric_families(text)}
    assert {it.labels["model"] for it in families["kairos_model_reward_ratio"].samples} == {"offers", "hats"}
    ages = {it.labels["model"]: it.value for it in families["kairos_model_health_age_seconds"].samples}
    assert ages["hats"] - ages["offers"] > 7000.0


def test_a_home_without_any_health_has_nothing_to_say_of_it(home: Home) -> None:
    assert metrics.read_health(home) == b""
