"""Events that are emitted one by one and many at a time, and what is refused."""

from __future__ import annotations

import datetime
import decimal
import unittest
import uuid

from support import GATEWAY, TOKEN, WithEmitter, new_topic, order

from tidemesh_emitter import (
    ClosedError,
    EmitError,
    Emitter,
    Event,
    EventRefused,
    NotPermitted,
    Receipt,
    Unavailable,
)


class Emitting(WithEmitter):
    def test_an_event_is_durable_when_its_receipt_is_there(self) -> None:
        topic = new_topic()
        receipts = [self.emitter.emit(topic, order(number)) for number in range(3)]
        expected = [Receipt(topic, 0, number, number) for number in range(3)]
        self.assertEqual(receipts, expected)

    def test_many_are_answered_each_in_its_place(self) -> None:
        topic = new_topic()
        wrong = {"id": "hush", "customer": "ada", "note": None}
        events = [order(0), Event(wrong), Event(order(1), headers={"origin": "py"})]
        first, refused, last = self.emitter.emit_many(topic, events)
        self.assertEqual((first, last), (Receipt(topic, 0, 0, 0), Receipt(topic, 0, 1, 1)))
        assert isinstance(refused, EventRefused)
        self.assertEqual((refused.path, refused.kind, refused.status), ("id", "malformed", 422))
        self.assertNotIn("hush", str(refused))

    def test_more_than_a_request_has_go_in_several(self) -> None:
        topic = new_topic()
        outcomes = self.emitter.emit_many(topic, (order(number) for number in range(2_500)))
        self.assertEqual([receipt.sequence for receipt in outcomes], list(range(2_500)))

    def test_values_of_pythons_types_are_those_of_the_schema(self) -> None:
        def logical(base: str, name: str, **more) -> dict:
            return {"type": base, "logicalType": name, **more}

        types = {
            "day": logical("int", "date"),
            "at": logical("long", "timestamp-micros"),
            "clock": logical("long", "time-micros"),
            "price": logical("bytes", "decimal", precision=9, scale=2),
            "id": logical("string", "uuid"),
            "raw": "bytes",
            "tags": {"type": "map", "values": "string"},
        }
        fields = [{"name": name, "type": kind} for name, kind in types.items()]
        topic = new_topic({"type": "record", "name": "Parcel", "fields": fields})
        value = {
            "day": datetime.date(2026, 11, 30),
            "at": datetime.datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=datetime.timezone.utc),
            "clock": datetime.time(12, 30, 1),
            "price": decimal.Decimal("12.50"),
            "id": uuid.uuid4(),
            "raw": b"\x00\xff",
            "tags": {"a": "b"},
        }
        self.assertEqual(self.emitter.emit(topic, value).offset, 0)

    def test_what_an_event_cannot_hold_is_told_before_anything_is_sent(self) -> None:
        topic = new_topic()
        for value, error in (({"id": object()}, TypeError), ({"id": float("nan")}, ValueError)):
            with self.assertRaises(error) as raised:
                self.emitter.emit(topic, value)
            self.assertNotIn("nan", str(raised.exception))
        naive = datetime.datetime(2026, 11, 30)
        with self.assertRaises(ValueError):
            self.emitter.emit(topic, order(1), event_time=naive)
        self.assertEqual(self.emitter.emit(topic, order(1), event_time=5).sequence, 0)

    def test_one_idempotency_key_is_one_event(self) -> None:
        topic = new_topic()
        first = self.emitter.emit(topic, order(1), idempotency_key="k")
        self.assertEqual(self.emitter.emit(topic, order(1), idempotency_key="k"), first)
        self.assertEqual(self.emitter.emit(topic, order(2)).sequence, 1)

    def test_a_topic_tells_its_schema(self) -> None:
        name = new_topic()
        topic = self.emitter.topic(name)
        self.assertEqual((topic.name, topic.partitions, topic.key), (name, 1, []))
        self.assertIn('"Order"', topic.schema)
        with self.assertRaises(EventRefused) as raised:
            self.emitter.topic("py.none")
        self.assertEqual(raised.exception.status, 404)


class Refused(unittest.TestCase):
    def test_who_is_not_known_or_not_permitted_is_told_so(self) -> None:
        for token, status in ((None, 401), ("wrong", 401), (TOKEN, 403)):
            topic = "other.topic" if token == TOKEN else "py.a"
            with Emitter(GATEWAY, token) as emitter, self.assertRaises(NotPermitted) as raised:
                emitter.emit(topic, order(1))
            self.assertEqual(raised.exception.status, status)

    def test_a_gateway_that_is_away_is_tried_and_then_told(self) -> None:
        with Emitter("http://127.0.0.1:1", retry_timeout_s=0.3) as emitter:
            with self.assertRaises(Unavailable) as raised:
                emitter.emit("py.a", order(1))
        self.assertIsInstance(raised.exception.__cause__, OSError)

    def test_an_emitter_that_is_closed_takes_nothing(self) -> None:
        emitter = Emitter(GATEWAY, TOKEN)
        emitter.close()
        emitter.close()
        for call in (emitter.emit, emitter.enqueue):
            with self.assertRaises(ClosedError):
                call("py.a", order(1))

    def test_an_address_that_is_none_is_refused_at_once(self) -> None:
        for url in ("127.0.0.1:8093", "ftp://h", "http://u:hush@h"):
            with self.assertRaises(ValueError) as raised:
                Emitter(url)
            self.assertNotIn("hush", str(raised.exception))
        self.assertTrue(issubclass(NotPermitted, EmitError))


if __name__ == "__main__":
    unittest.main()
