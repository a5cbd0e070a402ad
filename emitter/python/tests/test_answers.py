"""What is done about answers: refusals of a whole request, proxies between, order, and the end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any

from fake import Answer, Events, FakeGateway, refusal, refused, taken

from tidemesh_emitter import ClosedError, EmitError, Emitter, EventRefused, Receipt, Unavailable


def order(number: int) -> dict[str, Any]:
    return {"id": number}


class WithFake(unittest.TestCase):
    def gateway(self, answer: Callable[[str, Events], Answer]) -> FakeGateway:
        gateway = FakeGateway(answer)
        self.addCleanup(gateway.close)
        return gateway

    def emitter(self, gateway: FakeGateway, **more: Any) -> Emitter:
        emitter = Emitter(gateway.url, **more)
        self.addCleanup(close_somehow, emitter)
        return emitter


def close_somehow(emitter: Emitter) -> None:
    try:
        emitter.close(0.0)
    except (EmitError, TimeoutError):
        pass


class Answers(WithFake):
    def test_of_a_batch_that_is_refused_whole_only_the_bad_event_fails(self) -> None:
        durable: list[int] = []

        def answer(_: str, events: Events) -> Answer:
            ids = [event["value"]["id"] for event in events]
            if 6 in ids:
                return 400, refusal(400, "malformed")
            durable.extend(ids)
            return taken(events)

        emitter = self.emitter(self.gateway(answer))
        outcomes = emitter.emit_many("t", map(order, range(10)))
        self.assertIsInstance(outcomes.pop(6), EventRefused)
        self.assertTrue(all(isinstance(outcome, Receipt) for outcome in outcomes))
        self.assertEqual(durable, [0, 1, 2, 3, 4, 5, 7, 8, 9])
        with self.assertRaises(EventRefused):
            emitter.emit("t", order(6))

    def test_a_proxys_words_pass_and_the_gateways_own_do_not(self) -> None:
        answers: list[Answer] = [(502, "<html>"), (504, {}), (503, None)]

        def answer(_: str, events: Events) -> Answer:
            return answers.pop(0) if answers else taken(events)

        gateway = self.gateway(answer)
        emitter = self.emitter(gateway)
        self.assertEqual(emitter.emit("t", order(1)).offset, 1)
        self.assertEqual(len(gateway.seen), 4)
        answers.append((502, refusal(502, "corrupt")))
        with self.assertRaises(Unavailable):
            emitter.emit("t", order(2))
        self.assertEqual(len(gateway.seen), 5)

    def test_an_answer_that_is_cut_short_or_none_is_asked_for_again(self) -> None:
        answers: list[Answer] = [(200, b'{"results":['), (200, b'{"results":[]}'), (200, {})]

        def answer(_: str, events: Events) -> Answer:
            return answers.pop(0) if answers else taken(events)

        gateway = self.gateway(answer)
        self.assertEqual(self.emitter(gateway).emit("t", order(1)).offset, 1)
        self.assertEqual(gateway.seen, [[1]] * 4)


class Order(WithFake):
    def test_behind_a_batch_that_did_not_pass_nothing_is_sent(self) -> None:
        def answer(_: str, events: Events) -> Answer:
            return taken(events) if events[0]["value"]["id"] == 0 else refused(events, 503, "timeout")

        gateway = self.gateway(answer)
        emitter = self.emitter(gateway, retry_timeout_s=0.3)
        outcomes = emitter.emit_many("t", map(order, range(2_500)))
        self.assertTrue(all(isinstance(outcome, Receipt) for outcome in outcomes[:1_000]))
        self.assertTrue(all(isinstance(outcome, Unavailable) for outcome in outcomes[1_000:]))
        self.assertEqual(len(outcomes), 2_500)
        self.assertLess(max(map(max, gateway.seen)), 2_000)

    def test_the_queue_sends_nothing_of_a_topic_behind_what_did_not_pass(self) -> None:
        is_there, is_enqueued = threading.Event(), threading.Event()

        def answer(topic: str, events: Events) -> Answer:
            is_there.set()
            is_enqueued.wait(30)
            return taken(events) if topic == "other" else refused(events, 503, "timeout")

        gateway = self.gateway(answer)
        emitter = self.emitter(gateway, retry_timeout_s=0.3)
        first = emitter.enqueue("t", order(1))
        is_there.wait(30)
        other = emitter.enqueue("other", order(2))
        behind = emitter.enqueue("t", order(3))
        is_enqueued.set()
        for delivery in (first, behind):
            with self.assertRaises(Unavailable):
                delivery.result(30)
        self.assertEqual(other.result(30).offset, 2)
        self.assertNotIn([3], gateway.seen)

    def test_what_is_enqueued_is_tried_from_when_it_was_put(self) -> None:
        gateway = self.gateway(lambda _, events: refused(events, 503, "timeout"))
        emitter = self.emitter(gateway, retry_timeout_s=1.0)
        began = time.monotonic()
        deliveries = [emitter.enqueue(f"t{number}", order(number)) for number in range(8)]
        for delivery in deliveries:
            with self.assertRaises(Unavailable):
                delivery.result(30)
        # A second for each would be eight.
        self.assertLess(time.monotonic() - began, 4)


class End(WithFake):
    def test_closing_comes_back_in_time_and_cuts_off_what_hangs(self) -> None:
        goes_on = threading.Event()
        self.addCleanup(goes_on.set)
        # The queue's request, the other thread's, and this thread.
        both_are_there = threading.Barrier(3)

        def answer(_: str, events: Events) -> Answer:
            both_are_there.wait(30)
            goes_on.wait(60)
            return taken(events)

        gateway = self.gateway(answer)
        emitter = self.emitter(gateway)
        delivery = emitter.enqueue("t", order(1))
        told: list[BaseException] = []

        def emit() -> None:
            try:
                emitter.emit("t", order(2))
            except EmitError as error:
                told.append(error)

        emitting = threading.Thread(target=emit)
        emitting.start()
        both_are_there.wait(30)
        began = time.monotonic()
        with self.assertRaises(TimeoutError):
            emitter.close(0.2)
        emitting.join(10)
        self.assertLess(time.monotonic() - began, 5)
        self.assertIsInstance(told[0], Unavailable)
        with self.assertRaises((Unavailable, ClosedError)):
            delivery.result(10)

    def run_to_its_end(self, url: str) -> str:
        script = (
            "import sys, tidemesh_emitter\n"
            "emitter = tidemesh_emitter.Emitter(sys.argv[1])\n"
            "for number in range(3): emitter.enqueue('t', {'id': number})\n"
        )
        command = [sys.executable, "-B", "-W", "error", "-c", script, url]
        ended = subprocess.run(
            command, env=os.environ, capture_output=True, text=True, timeout=60, check=True
        )
        return ended.stderr

    def test_the_end_of_the_process_delivers_what_was_enqueued(self) -> None:
        gateway = self.gateway(lambda _, events: taken(events))
        self.assertEqual(self.run_to_its_end(gateway.url), "")
        self.assertEqual(sorted(sum(gateway.seen, [])), [0, 1, 2])

    def test_the_end_of_the_process_tells_how_many_events_are_lost(self) -> None:
        self.assertIn("3 events", self.run_to_its_end("http://127.0.0.1:1"))


if __name__ == "__main__":
    unittest.main()
