"""Where a visit came from, as one word: read of the context that Segment's clients send. Whatever else is in it is no
reason to fail: what cannot be read counts as absent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

Referrer = Literal["direct", "email", "internal", "other", "paid", "search", "social"]
CLASSES: tuple[str, ...] = get_args(Referrer)

SEARCH = frozenset({"ask", "baidu", "bing", "duckduckgo", "ecosia", "google", "naver", "qwant", "seznam", "sogou"})
SOCIAL = frozenset(
    {"facebook", "instagram", "linkedin", "pinterest", "reddit", "snapchat", "tiktok", "twitter", "weibo", "youtube"}
)
"""Names that stand before any country's ending."""
HOSTS: dict[Referrer, tuple[str, ...]] = {
    "email": (
        *("com.google.android.gm", "deref-gmx.net", "deref-web.de", "mail.aol.com", "mail.google.com"),
        *("mail.proton.me", "mail.ru", "mail.yahoo.com", "outlook.live.com", "outlook.office.com"),
        "outlook.office365.com",
    ),
    "paid": ("doubleclick.net", "googleadservices.com", "googlesyndication.com"),
    "search": (
        *("com.google.android.googlequicksearchbox", "search.brave.com", "search.yahoo.com", "startpage.com"),
        *("ya.ru", "yahoo.co.jp", "yandex.com", "yandex.ru"),
    ),
    "social": (
        *("bsky.app", "com.facebook.katana", "fb.me", "lnkd.in", "mastodon.social", "messenger.com", "ok.ru"),
        *("pin.it", "quora.com", "t.co", "t.me", "threads.com", "threads.net", "tumblr.com", "vk.com"),
        *("whatsapp.com", "x.com", "xing.com", "youtu.be"),
    ),
}
"""Whole hosts, and all that ends with one of them; the first that fits."""
MEDIA: dict[str, Referrer] = {
    **dict.fromkeys(("e-mail", "email", "newsletter"), "email"),
    **dict.fromkeys(("organic-social", "social", "social-media", "sm"), "social"),
    "organic": "search",
    "referral": "other",
}
"""A campaign's medium (utm_medium); every other one is paid for."""
CLICK_IDS = frozenset({"dclid", "gbraid", "gclid", "li_fat_id", "msclkid", "ttclid", "twclid", "wbraid", "yclid"})
"""Parameters that advertisers' links carry. Not fbclid: links that nobody paid for have it too."""
HOST = re.compile(r"(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:]*)", re.IGNORECASE)
"""An address up to the end of its host: a pattern, as no address makes it raise."""
MARKS = ("utm_", *sorted(CLICK_IDS))
LONGEST = 2048
"""Addresses beyond it count as absent."""
SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
"""What stands between a name and a country in many addresses."""


def referrer_of(context: dict[str, Any]) -> str:
    """One of CLASSES; empty when the context says nothing of a page, a referrer or a campaign.

    The first that holds: a campaign (`campaign.medium`, else utm_medium of the page) says what it is, a click id is
    paid, the page's own site is internal, a known host is what it is; a page without a referrer is direct.
    """
    page, referrer, campaign = context.get("page"), context.get("referrer"), context.get("campaign")
    if page is None and referrer is None and campaign is None:
        return ""
    page = page if isinstance(page, dict) else {}
    came = _text(page.get("referrer"))
    if not came:
        came = _text(referrer.get("url") if isinstance(referrer, dict) else referrer)
    url = _text(page.get("url"))
    if (medium := _medium(campaign, _text(page.get("search")) or url)) is not None:
        return medium
    if not came:
        return "direct"
    host = _host(came)
    return _classify(host, _host(url)) if host else "other"


def _medium(campaign: Any, address: str) -> Referrer | None:
    """What the campaign is, if the visit is of one."""
    if isinstance(campaign, dict) and any(map(_text, campaign.values())):
        return _of_medium(_text(campaign.get("medium")))
    lowered = address.lower()
    if not any(mark in lowered for mark in MARKS):  # most have none, and reading them would take longer
        return None
    asked = _query(address)
    if any(name.startswith("utm_") for name in asked):
        return _of_medium(asked.get("utm_medium", ""))
    return "paid" if not CLICK_IDS.isdisjoint(asked) else None


def _of_medium(medium: str) -> Referrer:
    return MEDIA.get(medium.strip().lower().replace("_", "-").replace(" ", "-"), "paid")


def _query(address: str) -> dict[str, str]:
    try:
        return {name.lower(): value for name, value in parse_qsl(address.partition("?")[2].partition("#")[0])}
    except ValueError:
        return {}


@lru_cache(maxsize=1 << 12)
def _classify(host: str, own: str) -> Referrer:
    """The class of a referrer's host, for a page on the host `own`."""
    site = _site(host)
    if site == _site(own):
        return "internal"
    for known, hosts in HOSTS.items():
        if any(host == one or host.endswith(f".{one}") for one in hosts):
            return known
    name = site.partition(".")[0]
    return "search" if name in SEARCH else "social" if name in SOCIAL else "other"


def _host(address: str) -> str:
    """The host of an address, without www; an app's name counts as one (android-app://com.google.android.gm/)."""
    found = HOST.match(address)
    return found[1].lower().strip(".").removeprefix("www.") if found else ""


def _site(host: str) -> str:
    """What a host belongs to: shop.example.co.uk -> example.co.uk. A guess, without the list of public suffixes."""
    parts = host.split(".")
    if parts[-1].isdecimal():
        return host
    return ".".join(parts[-3:] if len(parts) > 2 and parts[-2] in SECOND_LEVEL and len(parts[-1]) == 2 else parts[-2:])


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST else ""
