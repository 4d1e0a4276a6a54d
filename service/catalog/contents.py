"""What a page gets of a candidate: its content, with what differs in a placement or a locale laid over it, and with its
templates filled in. A text that cannot be filled in is replaced by its fallback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from service.catalog.templates import TemplateError, compile_template, is_template, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from features.documents import Place
    from service.catalog.schema import Candidate, Content, Variation

    Values = Mapping[str, Any]


class Layer(msgspec.Struct, frozen=True):
    """The content for a placement and a locale."""

    content: Content
    personal: frozenset[str]
    """Keys with templates in them."""
    fallback: Content


class Contents(msgspec.Struct, frozen=True):
    """All contents of a candidate."""

    base: Layer
    variations: tuple[Variation, ...]
    layers: dict[tuple[str | None, str | None], Layer]
    """(placement, locale) of the catalog -> layer, as far as they were asked for."""

    def of(self, placement: str, locale: str | None, values: Callable[[], Values]) -> Content:
        """The content to answer with. `values` is asked for only if there is something to fill in."""
        layer = self.base if not self.variations else self._layer(placement, locale)
        if not layer.personal:
            return layer.content
        known = values()
        return {key: _fill(layer, key, known) if key in layer.personal else layer.content[key] for key in layer.content}

    def _layer(self, placement: str, locale: str | None) -> Layer:
        placed = placement if any(one.placement == placement for one in self.variations) else None
        spoken = _match(locale, [one.locale for one in self.variations if one.placement in (None, placed)])
        found = self.layers.get((placed, spoken))
        if found is None:
            found = self.layers[placed, spoken] = _lay(self.base, self.variations, placed, spoken)
        return found


def compile_contents(candidate: Candidate) -> Contents:
    return Contents(_compile(candidate.content, candidate.fallback), candidate.content_for, {})


def problems(candidate: Candidate) -> Iterator[tuple[Place, str]]:
    """(place in the candidate, what is wrong) of templates, and of fallbacks that are missing or no use."""
    yield from _template_problems(("content",), candidate.content, candidate.fallback)
    yield from _fallback_problems(("fallback",), candidate.fallback, _keys(candidate))
    said: set[tuple[str | None, str | None]] = set()
    for at, one in enumerate(candidate.content_for):
        place = ("content_for", at)
        if one.placement is None and one.locale is None:
            yield place, "a placement, a locale or both are expected"
        elif (one.placement, one.locale) in said:
            yield place, "the same placement and locale stand here a second time"
        said.add((one.placement, one.locale))
        yield from _template_problems((*place, "content"), one.content, {**candidate.fallback, **one.fallback})
        yield from _fallback_problems((*place, "fallback"), one.fallback, _keys(candidate))


def _keys(candidate: Candidate) -> set[str]:
    return {*candidate.content, *(key for one in candidate.content_for for key in one.content)}


def _template_problems(place: Place, content: Content, fallback: Content) -> Iterator[tuple[Place, str]]:
    for key, value in content.items():
        texts = list(_templates(value))
        for text in texts:
            try:
                compile_template(text)
            except TemplateError as error:
                yield (*place, key), str(error)
        if texts and key not in fallback:
            yield (*place, key), f"a template needs a `fallback` for {key!r}, for whom a value is missing"


def _fallback_problems(place: Place, fallback: Content, keys: set[str]) -> Iterator[tuple[Place, str]]:
    for key, value in fallback.items():
        if any(True for _ in _templates(value)):
            yield (*place, key), "a fallback is what stands there when a value is missing: no template"
        if key not in keys:
            yield (*place, key), f"there is no {key!r} in the content"


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _templates(inner)


def _compile(content: Content, fallback: Content) -> Layer:
    personal = frozenset(key for key, value in content.items() if any(True for _ in _templates(value)))
    return Layer(content, personal, fallback)


def _lay(base: Layer, variations: tuple[Variation, ...], placement: str | None, locale: str | None) -> Layer:
    """What is for a placement goes over what is for all; a locale over a placement; the longer locale over the shorter;
    and both over each.
    """

    def applies(one: Variation) -> bool:
        return one.placement in (None, placement) and _match(locale, [one.locale]) == one.locale

    def order(one: Variation) -> tuple[bool, int, bool]:
        return one.placement is not None and one.locale is not None, len(one.locale or ""), one.placement is not None

    content, fallback = dict(base.content), dict(base.fallback)
    for one in sorted((one for one in variations if applies(one)), key=order):
        content |= one.content
        fallback |= one.fallback
    return _compile(content, fallback)


def _match(locale: str | None, known: list[str | None]) -> str | None:
    """The longest of the known locales that a locale is or begins with: de-AT is de, too."""
    if locale is None:
        return None
    said = locale.replace("_", "-").lower() + "-"
    fitting = [one for one in known if one is not None and said.startswith(one.lower() + "-")]
    return max(fitting, key=len, default=None)


def _fill(layer: Layer, key: str, values: Values) -> Any:
    """The value with its templates filled in, or the fallback when one of them cannot be."""
    missing = False

    def fill(value: Any) -> Any:
        nonlocal missing
        if isinstance(value, str) and is_template(value):
            text = render(compile_template(value), values)
            missing |= text is None
            return text
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        return {name: fill(inner) for name, inner in value.items()} if isinstance(value, dict) else value

    filled = fill(layer.content[key])
    return layer.fallback.get(key) if missing else filled
