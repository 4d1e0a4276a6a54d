"""Events that are not taken: kept with the reason, listed on the terminal, and sent again once that is put right."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from features import dead_letters, stream
from features.events.schema import Track, decode, encode
from service.events import letters, normalise, resending, terminal
from service.events.normalise import RejectedError, admit
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.dead_letters import Letter
    from features.home import Home
    from tests.service.running import Service

GOOD: dict[str, Any] = {"type": "track", "event": "Product Viewed", "properties": {"product_id": "o-1"}}


def kairos(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kairos", "events", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "160"} | environment,
    )


def of(service: Service, verb: str, *arguments: str) -> str:
    """What a verb prints of a running service."""
    answer = kairos(verb, "--home", str(service.home.root), *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def listed(service: Service) -> list[dict[str, Any]]:
    """What waits, newest first, as `kairos events rejected --json` prints it."""
    with service.connect() as client:
        return [msgspec.json.decode(terminal.as_json(entry)) for entry in dead_letters.scan(client, newest_first=True)]


@pytest.fixture
def letterless(service: Service) -> Iterator[Service]:
    """The service without dead letters of other tests."""
    with service.connect() as client:
        client.delete(dead_letters.STREAM)
        yield service
        client.delete(dead_letters.STREAM)


def put(service: Service, *written: Letter) -> None:
    with service.connect() as client:
        dead_letters.keep(client, written)


def refused_once(message: Any, **other: Any) -> Letter:
    """What an earlier version may have refused, for a reason that holds no more."""
    written = letters.write(message, time.time_ns() // 1000, RejectedError("event", "was not to our taste"))
    return msgspec.structs.replace(written, **other)


def test_what_a_batch_has_rejected_is_kept_as_it_came(letterless: Service) -> None:
    bad: list[Any] = [GOOD, {"type": "track", "userId": "d-1", "odd": [1, None, "ü"]}, "no event", None]
    body = {"batch": [GOOD | {"userId": "d-1"}, *bad], "context": {"locale": "de-DE"}, "sentAt": "2026-11-23T08:00:00Z"}
    began = time.time_ns() // 1000
    assert letterless.post("/v1/batch", body).status_code == 200
    with letterless.connect() as client:
        kept = [letter for _, letter in dead_letters.scan(client)]
    shared = {"sentAt": body["sentAt"], "context": body["context"]}
    assert [msgspec.json.decode(letter.payload) for letter in kept] == [bad[0] | shared, bad[1] | shared, *bad[2:]]
    assert [(letter.field, letter.reason) for letter in kept] == [
        ("userId", "one of userId and anonymousId is required"),
        ("event", "a name of 1 to 256 characters is required"),
        ("", "an object is expected"),
        ("", "an object is expected"),
    ]
    for letter in kept:
        assert letter.source == "intake"
        assert began <= letter.received <= time.time_ns() // 1000
        assert letter.is_whole


@pytest.mark.parametrize("body", [{"event": "x"}, {"userId": "d-2", "event": 3}, {"userId": "d-2", "properties": []}])
def test_a_bad_single_event_is_kept_too(letterless: Service, body: dict[str, Any]) -> None:
    reply = letterless.post("/v1/track", body)
    assert reply.status_code == 400
    (letter,) = listed(letterless)
    assert letter["payload"] == body | {"type": "track"}
    assert letter["field"] == reply.json()["field"]


def test_what_is_no_event_at_all_is_not_kept(letterless: Service) -> None:
    for path, body in (("/v1/track", b"{"), ("/v1/track", b"[]"), ("/v1/batch", b'{"batch": {}}'), ("/v1/batch", b"1")):
        assert letterless.post(path, body).status_code == 400
    assert listed(letterless) == []


def test_letters_are_bounded_in_number_and_length(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for start in range(0, 1_500, 100):
            written = [dead_letters.write(start + at, "intake", "bad", b"x") for at in range(100)]
            dead_letters.keep(client, written, most=1_000)
        assert client.xlen(dead_letters.STREAM) == 1_000
        oldest_first = [letter.received for _, letter in dead_letters.scan(client)]
        assert oldest_first == list(range(500, 1_500))
        assert [letter.received for _, letter in dead_letters.scan(client, newest_first=True)] == oldest_first[::-1]
    long = dead_letters.write(1, "intake", "bad", b"x" * 500_000)
    assert (len(long.payload), long.length, long.is_whole) == (dead_letters.CUT_TO, 500_000, False)
    assert dead_letters.write(1, "intake", "bad", b"x" * normalise.MOST_BYTES).is_whole


def test_rejected_events_are_listed_by_reason_and_the_newest_first(letterless: Service) -> None:
    for at in range(3):
        letterless.post("/v1/track", GOOD | {"messageId": f"listed-{at}"})
    letterless.post("/v1/track", {"userId": "d-3", "event": "Searched", "timestamp": "yester[bold]day"})
    said = of(letterless, "rejected")
    assert "│      3 │ userId: one of userId and anonymousId is required" in said
    assert "│      1 │ timestamp: a time in ISO 8601 is expected" in said
    assert said.index("yester[bold]day") < said.index("listed-2") < said.index("listed-1") < said.index("listed-0")
    said = of(letterless, "rejected", "--limit", "1", "--reason", "USERID")
    assert "listed-2" in said
    assert "listed-1" not in said
    assert "the newest 1 of 3" in said
    lines = [msgspec.json.decode(line) for line in of(letterless, "rejected", "--json").splitlines()]
    assert lines == listed(letterless)
    assert [letter["field"] for letter in lines] == ["timestamp", "userId", "userId", "userId"]
    assert len(of(letterless, "rejected", "--json", "--limit", "2").splitlines()) == 2


def test_without_letters_it_says_so(letterless: Service) -> None:
    for verb in ("rejected", "retry"):
        assert of(letterless, verb) == "No event waits in the dead letters.\n"


@pytest.mark.parametrize("verb", ["rejected", "retry"])
def test_without_a_running_kairos_it_says_what_to_do(home: Home, verb: str) -> None:
    answer = kairos(verb, "--home", str(home.root))
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"kairos: no Redis runs for the home {home.root}: start `kairos up` there, choose another home with --home, "
        "or set KAIROS_REDIS_URL"
    ]


def test_what_is_put_right_is_taken_and_what_is_not_stays_once(letterless: Service) -> None:
    bad = refused_once(GOOD)
    put(
        letterless,
        refused_once(GOOD | {"userId": "d-4"}),
        bad,
        refused_once(GOOD | {"userId": "d-4", "messageId": "m"}),
    )
    assert "accepted 2, there already 0, refused again 1" in of(letterless, "retry")
    assert "accepted 0, there already 0, refused again 1" in of(letterless, "retry")
    (left,) = listed(letterless)
    assert left["reason"] == "one of userId and anonymousId is required"  # what is wrong with it now
    assert left["payload"] == GOOD
    wait_until(lambda: letterless.features("d-4").get("customer__product_viewed__count_1d") == 2.0)


def test_an_event_sent_again_happened_when_it_happened(letterless: Service) -> None:
    """Its time follows from when it came first, however late it is sent again."""
    came = time.time_ns() // 1000 - 3_600_000_000
    stamps = {"sentAt": "2001-01-01T00:10:00Z", "timestamp": "2001-01-01T00:00:00Z"}
    put(letterless, refused_once(GOOD | {"userId": "d-5"} | stamps, received=came))
    of(letterless, "retry")
    ((_, payload),) = letterless.archived("d-5")
    event = decode(payload)
    assert (event.received, event.time) == (came, came - 600_000_000)


def test_only_those_of_a_reason_are_sent_again(letterless: Service) -> None:
    put(letterless, refused_once(GOOD | {"userId": "d-6"}), refused_once(GOOD | {"userId": "d-6"}, reason="other"))
    assert "accepted 1," in of(letterless, "retry", "--reason", "Taste")
    assert [letter["reason"] for letter in listed(letterless)] == ["other"]


def test_an_event_that_has_come_again_by_itself_is_not_doubled(letterless: Service) -> None:
    event = GOOD | {"userId": "d-7", "messageId": "by-itself"}
    letterless.post("/v1/track", event)
    put(letterless, refused_once(event), refused_once(event))
    assert "accepted 0, there already 2, refused again 0" in of(letterless, "retry")
    assert listed(letterless) == []
    assert len(letterless.archived("d-7")) == 1


def test_sending_again_that_is_cut_short_doubles_nothing(redis_url: str) -> None:
    """Killed after the append and before the letter is removed; the event has no id of its own."""
    with redis.Redis.from_url(redis_url) as client:
        dead_letters.keep(client, [refused_once(GOOD | {"userId": "d-8"})])
        entries = list(dead_letters.scan(client))
        for accepted in (1, 0):
            resent = resending.resend(client, entries, None, 1, dead_letters.MOST, time.time())
            assert (resent.accepted, resent.duplicates) == (accepted, 1 - accepted)
        assert client.xlen(stream.events_key(0)) == 1


def test_what_was_cut_stays(letterless: Service) -> None:
    letterless.post("/v1/batch", {"batch": [GOOD | {"properties": {"text": "x" * 40_000}, "userId": "d-9"}]})
    (letter,) = listed(letterless)
    assert not letter["whole"]
    assert '"userId":"d-9"' in letter["payload"]  # for who wants to be forgotten
    assert "refused again 1" in of(letterless, "retry")
    assert listed(letterless) == [letter]


@pytest.mark.parametrize(
    "poison", [b"no json", b'{"type": "unheard"}', b"\xff\xfe", b"[" * 5_000, b'{"type": "track"}']
)
def test_a_poison_entry_is_kept_and_the_next_is_processed(letterless: Service, poison: bytes) -> None:
    customer = f"poison-{len(poison)}"
    partition = stream.partition_of(customer, 4)
    with letterless.connect() as client:
        stream.append(client, partition, [stream.Message(None, poison)], time.time())
    letterless.decide(customer, after=letterless.track(customer, "Product Viewed", product_id="o-1"))
    assert letterless.features(customer)["customer__product_viewed__count_1d"] == 1.0
    (letter,) = listed(letterless)
    assert letter["source"] == "stream"
    assert "refused again 1" in of(letterless, "retry")
    assert len(listed(letterless)) == 1


def test_a_poison_entry_that_can_be_read_now_is_processed(letterless: Service) -> None:
    event = Track(message_id="p-1", customer="d-10", time=1, received=1, event="Product Viewed")
    put(letterless, dead_letters.write(1, "stream", "an earlier version could not read it", encode(event)))
    assert "accepted 1," in of(letterless, "retry")
    assert [message_id for message_id, _ in letterless.archived("d-10")] == ["p-1"]


def test_what_intake_admits_has_the_length_of_what_came() -> None:
    """Not of what is stored, which has more fields."""
    message = GOOD | {"userId": "d-11", "properties": {"text": ""}}
    room = normalise.MOST_BYTES - len(msgspec.json.encode(message))
    message["properties"] = {"text": "x" * room}
    _, payload = admit(message, 1, "m")
    assert len(payload) > normalise.MOST_BYTES
    message["properties"] = {"text": "x" * (room + 1)}
    with pytest.raises(RejectedError, match=f"at most {normalise.MOST_BYTES} bytes"):
        admit(message, 1, "m")
