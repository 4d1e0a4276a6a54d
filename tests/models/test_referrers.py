"""Where a visit came from, told from the context that clients send, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.referrers import CLASSES, referrer_of

PAGE = "https://www.shop.example.co.uk/shoes"


@pytest.mark.parametrize(
    ("referrer", "expected"),
    [
        ("", "direct"),
        ("https://www.google.com/", "search"),
        ("https://google.co.uk/search?q=shoes", "search"),
        ("https://de.search.yahoo.com/", "search"),
        ("https://notsearch.brave.com.example.org/", "other"),
        ("https://l.facebook.com/l.php?u=x", "social"),
        ("https://t.co/abc", "social"),
        ("https://not-t.co/abc", "other"),
        ("https://mail.google.com/mail/u/0/", "email"),
        ("android-app://com.google.android.gm/", "email"),
        ("android-app://com.google.android.googlequicksearchbox/", "search"),
        ("https://googleads.g.doubleclick.net/", "paid"),
        ("https://www.shop.example.co.uk/", "internal"),
        ("https://help.example.co.uk/", "internal"),
        ("HTTPS://SHOP.EXAMPLE.CO.UK:443/", "internal"),
        ("https://other.co.uk/", "other"),
        ("shop.example.co.uk/shoes", "internal"),
        ("https://example.org/", "other"),
        ("http://[::1", "other"),
        ("://", "other"),
        ("\u0000", "other"),
    ],
)
def test_a_referrer_is_told_by_its_host(referrer: str, expected: str) -> None:
    assert referrer_of({"page": {"url": PAGE, "referrer": referrer}}) == expected
    assert referrer_of({"page": {"url": PAGE}, "referrer": referrer}) == expected
    assert referrer_of({"page": {"url": PAGE}, "referrer": {"url": referrer, "type": "x"}}) == expected


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"campaign": {"name": "spring", "source": "google", "medium": "cpc"}}, "paid"),
        ({"campaign": {"name": "spring", "medium": " E-Mail "}}, "email"),
        ({"campaign": {"medium": "social_media"}}, "social"),
        ({"campaign": {"medium": "organic"}}, "search"),
        ({"campaign": {"name": "spring"}}, "paid"),
        ({"campaign": {}, "page": {"path": "/"}}, "direct"),
        ({"page": {"search": "?utm_source=letter&utm_medium=newsletter"}}, "email"),
        ({"page": {"url": f"{PAGE}?gclid=x#top", "referrer": "https://www.google.com/"}}, "paid"),
        ({"page": {"url": f"{PAGE}?fbclid=x", "referrer": "https://facebook.com/"}}, "social"),
        ({"page": {"url": f"{PAGE}?utm_campaign=spring", "referrer": PAGE}}, "paid"),
        ({"page": {"url": f"{PAGE}?color=red", "referrer": PAGE}}, "internal"),
        ({"page": {"url": "http://10.0.0.1/", "referrer": "http://10.9.0.1/"}}, "other"),
        ({"page": {"url": "http://localhost:8000/", "referrer": "http://localhost:8000/a"}}, "internal"),
        ({"page": {"path": "/"}}, "direct"),
        ({"referrer": ""}, "direct"),
        ({"device": "mobile"}, ""),
        ({}, ""),
    ],
)
def test_a_campaign_goes_before_the_referrer_and_what_is_not_said_is_nothing(
    context: dict[str, Any], expected: str
) -> None:
    assert referrer_of(context) == expected


addresses = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "https://", "//", "android-app://", "http://[", "https://user@", "javascript:"]),
    st.text(max_size=30),
    st.sampled_from(["", "/", ".com/", ".co.uk:99999/", ":x", "]"]),
    st.sampled_from(["", "?utm_medium=", "?gclid=1", "?&&=%ff;", "#?utm_x=1"]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | addresses,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
pages = st.fixed_dictionaries({}, optional={"url": values, "referrer": values, "search": values})
campaigns = st.fixed_dictionaries({}, optional={"medium": values, "name": values})
contexts = st.fixed_dictionaries(
    {}, optional={"page": values | pages, "referrer": values | pages, "campaign": values | campaigns}
)


@given(context=contexts)
@example(context={"page": {"url": "\ud800", "referrer": "http://\ud800.com", "search": "?\udfff=1"}})
@example(context={"page": {"url": "x" * 1_000_000, "referrer": "http://" + "a." * 500_000}})
def test_no_context_is_a_reason_to_fail(context: dict[str, Any]) -> None:
    assert referrer_of(context) in {"", *CLASSES}
