"""Why a candidate was not shown, in words and with what that was decided by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.catalog.windows import EVER
from service.decisions.absent import NOT_NAMED, NOT_PERMITTED, SHORTLIST
from service.decisions.attention import remaining
from service.decisions.cases import moment, span
from service.decisions.eligibility import BOUGHT, DECLINED
from service.decisions.readings import tell_failure, tell_rule
from service.decisions.rivals import AT_MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.decisions.cases import Case, Told
    from service.decisions.pools import Bound


def tell(case: Case, reason: str) -> Told:
    """The reason in words, and its inputs by name."""
    if case.at >= 0 and (bound := _bound(case, reason)) is not None:
        return _spent(case, bound)
    if reason.startswith(AT_MOST):
        axis = reason.removeprefix(AT_MOST)
        most = dict(case.slate.placement.at_most)[axis]  # type: ignore[index]  # the reason was made of it
        return f"of one {axis} at most {most} may stand in this placement", {"limit": most, "per": axis}
    found = _BY_REASON.get(reason)
    return (reason.replace("_", " "), {}) if found is None else found(case)


def _bound(case: Case, reason: str) -> Bound | None:
    return next((bound for bound in case.slate.pool.bounds if bound.name == reason), None)


def _spent(case: Case, bound: Bound) -> Told:
    question, at = case.question, case.at
    most, label = int(bound.most[at]), int(bound.labels[at])
    attention = case.page.attention
    left = remaining(bound, attention, question.frame.compiled, question.now).get(label, most)
    inputs: dict[str, Any] = {"limit": most, "used": most - left}
    if bound.limit is None:
        return f"its stock is used up: {most - left} of {most}", inputs
    kind, _, name = bound.name.partition(":")
    inputs["per"] = list(bound.limit.per)
    during = ""
    if bound.limit.seconds is not None:
        inputs["period"] = span(bound.limit.seconds)
        during = f" in {inputs['period']}"
    each = f" for each {', '.join(bound.limit.per)}" if bound.limit.per else ""
    if left > 0:
        return f"what stands above it takes up the {kind} {name}: at most {most}{during}{each}", inputs
    return f"the {kind} {name} is reached: {most - left} of at most {most}{during}{each}", inputs


def _windows(case: Case) -> Told:
    compiled, now = case.question.frame.compiled, case.question.now
    place = compiled.place[case.id]
    opens, closes = (values[place].tolist() for values in (compiled.opens, compiled.closes))
    spans = [(a, b) for a, b in zip(opens, closes, strict=True) if a < EVER]
    told = [{"from": moment(a), "until": moment(b)} for a, b in spans]
    following = sorted(a for a, _ in spans if a > now)
    said = f"its window opens at {moment(following[0])}" if following else "its last window has closed"
    if not following and spans:
        said = f"its last window closed at {moment(max(b for _, b in spans))}"
    return said, {"windows": told, "now": moment(now)}


def _lately(feature: str, within: str, what: str) -> Callable[[Case], Told]:
    def of(case: Case) -> Told:
        compiled = case.question.frame.compiled
        longest = float(getattr(compiled, within)[compiled.place[case.id]])
        ago = float(case.slate.features[feature][case.at])
        said = f"the customer {what} it {span(ago)} ago, and not if within {span(longest)}"
        return said, {"ago": span(ago), "within": span(longest)}

    return of


def _group(case: Case) -> Told:
    compiled = case.question.frame.compiled
    key = int(compiled.group[compiled.place[case.id]])
    name, most = compiled.candidates[compiled.place[case.id]].group, compiled.group_limits.get(key, 0)
    places = case.slate.pool.places
    shown = case.page.groups.get(key, 0) + sum(
        int(compiled.group[places[picked.at]]) == key for picked in case.slate.picks
    )
    said = f"of the group {name} at most {most} may stand on a page, and {shown} do"
    return said, {"group": name, "limit": most, "used": shown}


def _conflict(case: Case) -> Told:
    compiled = case.question.frame.compiled
    own = compiled.candidates[compiled.place[case.id]]
    places = [*case.page.shown, *(int(case.slate.pool.places[picked.at]) for picked in case.slate.picks)]
    against = [compiled.candidates[place] for place in places]
    rivals = [one.id for one in against if one.group in own.conflicts or (own.group and own.group in one.conflicts)]
    return f"it does not stand beside {', '.join(rivals)}", {"beside": rivals}


def _personal(case: Case) -> Told:
    compiled, now = case.question.frame.compiled, case.question.now
    lasts = float(compiled.personal_seconds[compiled.place[case.id]])
    first = case.page.attention.first.get(int(case.slate.pool.ids[case.at]), now)
    inputs = {"first_seen": moment(first), "lasts": span(lasts), "ended": moment(first + int(lasts * 1e6))}
    return (
        f"the customer saw it first at {inputs['first_seen']}, and it may be shown for {inputs['lasts']} then",
        inputs,
    )


def _permission(case: Case) -> Told:
    own = case.question.frame.compiled.candidates[case.question.frame.compiled.place[case.id]]
    if case.id in case.slate.placement.excluded:
        return "the placement excludes it", {"excluded": True}
    return f"it is for other placements: {', '.join(own.placements)}", {"placements": list(own.placements)}


def _shortlist(case: Case) -> Told:
    most = case.slate.placement.shortlist
    return f"the {most} most popular compete here, and it is none of them", {"shortlist": most}


def _plain(words: str) -> Callable[[Case], Told]:
    return lambda _case: (words, {})


_BY_REASON: dict[str, Callable[[Case], Told]] = {
    "unknown_candidate": _plain("the catalog does not have it"),
    NOT_PERMITTED: _permission,
    NOT_NAMED: _plain("who competes here is named, and it is not"),
    SHORTLIST: _shortlist,
    "shown_on_page": _plain("it stands elsewhere on the page already"),
    "outside_window": _windows,
    "bought": _lately(BOUGHT, "bought_seconds", "bought"),
    "declined": _lately(DECLINED, "declined_seconds", "declined"),
    "customer_unknown": _plain("it depends on the customer, who could not be read in time"),
    "rule": tell_rule,
    "rule_error": tell_failure("rules", "rule_of", "rule"),
    "value_error": tell_failure("worths", "worth_of", "value"),
    "group_full": _group,
    "conflict": _conflict,
    "cap_unknown": _plain("it is capped, and the ledger of caps could not be read in time"),
    "contended": _plain("it is capped, and others took what was left of that at the same time"),
    "personal_window_over": _personal,
}
