"""Personalised content: filled in where everything is known, its fallback where anything is missing, never half."""

from __future__ import annotations

from typing import Any

import pytest

from service.catalog.contents import compile_contents
from service.catalog.schema import Candidate
from service.catalog.templates import TemplateError, compile_template, render

KNOWN: dict[str, Any] = {
    "traits": {"first_name": "Ann", "empty": " ", "null": None, "cities": ["Rom", "Bern"], "home": {"city": "Graz"}},
    "features": {"customer__any__recency": 3.0, "customer__promotion__rate_30d": 0.25},
    "candidate": {"price": 79.0, "title": "Shoes"},
    "segments": [],
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hello {{ traits.first_name }}", "Hello Ann"),
        ("Hello {{ traits.last_name }}", None),
        ("Hello {{ traits.empty }}", None),
        ("Hello {{ traits.null }}", None),
        ("{{ 'Hello ' ~ traits.last_name }}", None),
        ("{{ 'Hello ' ~ traits.empty }}", None),
        ("Hello {{ traits.last_name | upper }}", None),
        ("Hello {{ traits.last_name | default('you') }}", "Hello you"),
        ("{% if traits.last_name %}Hello {{ traits.last_name }}{% else %}Hello you{% endif %}", "Hello you"),
        ("{% if traits.last_name %}Hello{% endif %}", None),
        ("{{ traits.home.city }} {{ traits['home']['city'] }}", "Graz Graz"),
        ("{{ traits.away.city.street }}", None),
        ("{{ traits.cities }}", None),
        ("{{ traits.cities | join(' and ') }}", "Rom and Bern"),
        ("{{ features.customer__any__recency }} days", "3 days"),
        ("{{ features.customer__promotion__rate_30d * 10 }}", "2.5"),
        ("{{ features.customer__product_viewed__count_1d }}", None),
        ("{{ candidate.price * 0.9 }} for {{ candidate.title | lower }}", "71.1 for shoes"),
        ("{{ context.device }}", None),
        ("{{ 1 / 0 }}", None),
        ("{{ traits.first_name * 1000000000 }}", None),
        ("{{ 'a' * 1000000000 }}", None),
        ("{{ traits.first_name | truncate(1) }}", None),
    ],
)
def test_a_template_is_filled_in_whole_or_not_at_all(text: str, filled: str | None) -> None:
    assert render(compile_template(text), KNOWN) == filled


def test_what_reaches_out_of_the_sandbox_is_refused_when_it_is_read() -> None:
    for text in ("{{ ''.__class__ }}", "{{ traits['__class__'] }}", "{{ traits.x.__globals__ }}", "{{ cycler }}"):
        with pytest.raises(TemplateError):
            compile_template(text)


def contents(**said: Any) -> Any:
    return compile_contents(Candidate.model_validate({"id": "a", **said}))


def test_what_has_no_template_is_answered_as_it_is_and_nothing_is_looked_up() -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("nobody needs values")

    said = {"title": "Shoes", "deep": [1, {"a": None}]}
    assert contents(content=said).of("p", "de", never) == said


def test_only_the_keys_of_which_something_is_missing_fall_back() -> None:
    known = contents(
        content={"title": "Hello {{ traits.last_name }}", "lines": ["{{ traits.first_name }}", "x"], "n": 1},
        fallback={"title": "Hello", "lines": []},
    )
    assert known.of("p", None, lambda: KNOWN) == {"title": "Hello", "lines": ["Ann", "x"], "n": 1}
    assert known.of("p", None, dict) == {"title": "Hello", "lines": [], "n": 1}


def test_what_is_closer_to_the_page_lies_on_top() -> None:
    known = contents(
        content={"title": "all", "cta": "go"},
        content_for=[
            {"placement": "p", "locale": "de", "content": {"title": "p and de"}},
            {"locale": "de-AT", "content": {"title": "de-AT", "cta": "los"}},
            {
                "locale": "de",
                "content": {"title": "de", "note": "Hallo {{ traits.last_name }}"},
                "fallback": {"note": "-"},
            },
            {"placement": "q", "content": {"title": "q"}},
        ],
    )

    def of(placement: str, locale: str | None) -> Any:
        return known.of(placement, locale, lambda: KNOWN)

    assert of("p", None) == {"title": "all", "cta": "go"}
    assert of("p", "fr") == {"title": "all", "cta": "go"}
    assert of("q", "fr-FR") == {"title": "q", "cta": "go"}
    assert of("q", "de-CH") == {"title": "de", "cta": "go", "note": "-"}
    assert of("r", "DE_at") == {"title": "de-AT", "cta": "los", "note": "-"}
    assert of("p", "de") == {"title": "p and de", "cta": "go", "note": "-"}
    assert of("p", "de-AT-1996") == {"title": "p and de", "cta": "los", "note": "-"}
    assert of("p", "den") == {"title": "all", "cta": "go"}
