"""Events that are sent in the background, and connections that are lost."""

from __future__ import annotations

import threading
import unittest

from support import Line, WithEmitter, new_topic, order

from tidemesh_emitter import EventRefused, QueueFull, Unavailable, WhenFull

#: A port where nobody listens.
NOWHERE = "http://127.0.0.1:1"


class Queued(WithEmitter):
    def test_what_is_enqueued_is_sent_in_order_by_topic(self) -> None:
        first, second = new_topic(), new_topic()
        deliveries = []
        for number in range(300):
            deliveries.append(self.emitter.enqueue(first, order(number)))
            if number % 50 == 0:
                self.emitter.enqueue(second, order(number))
        self.emitter.flush()
        self.assertTrue(all(delivery.done() for delivery in deliveries))
        offsets = [delivery.result().offset for delivery in deliveries]
        self.assertEqual(offsets, list(range(300)))
        self.assertEqual(self.emitter.emit(second, order(1)).sequence, 6)

    def test_what_fails_is_told_by_its_delivery_and_once_by_flush(self) -> None:
        topic = new_topic()
        good, bad = self.emitter.enqueue(topic, order(1)), self.emitter.enqueue(topic, {"id": 1})
        with self.assertRaises(EventRefused) as raised:
            self.emitter.flush()
        self.assertEqual(raised.exception.path, "customer")
        self.emitter.flush()
        self.assertEqual(good.result().sequence, 0)
        with self.assertRaises(EventRefused):
            bad.result()

    def test_a_full_queue_fails_or_drops(self) -> None:
        bounds = {"queue_bytes_max": 1_000, "retry_timeout_s": 0.5}
        failing = self.an_emitter(NOWHERE, when_full="fail", **bounds)
        dropping = self.an_emitter(NOWHERE, when_full=WhenFull.DROP, **bounds)
        with self.assertRaises(QueueFull):
            for number in range(100):
                failing.enqueue("py.a", order(number))
        deliveries = [dropping.enqueue("py.a", order(number)) for number in range(100)]
        dropped = [delivery for delivery in deliveries if delivery.dropped]
        self.assertEqual(dropping.dropped, len(dropped))
        self.assertGreater(len(dropped), 50)
        with self.assertRaises(QueueFull):
            dropped[0].result()
        for emitter in (failing, dropping):
            with self.assertRaises(Unavailable):
                emitter.flush()

    def test_a_full_queue_is_waited_for(self) -> None:
        topic = new_topic()
        emitter = self.an_emitter(queue_bytes_max=1_000)
        for number in range(200):
            emitter.enqueue(topic, order(number))
        emitter.flush()
        self.assertEqual(emitter.emit(topic, order(1)).sequence, 200)
        self.assertEqual(emitter.dropped, 0)

    def test_closing_delivers_what_was_enqueued(self) -> None:
        topic = new_topic()
        with self.an_emitter() as emitter:
            delivery = emitter.enqueue(topic, order(1))
        self.assertEqual(delivery.result(0).offset, 0)

    def test_a_flush_that_takes_too_long_says_so(self) -> None:
        emitter = self.an_emitter(NOWHERE, retry_timeout_s=1.0)
        delivery = emitter.enqueue("py.a", order(1))
        with self.assertRaises(TimeoutError):
            emitter.flush(0.01)
        with self.assertRaises(TimeoutError):
            delivery.result(0.01)
        with self.assertRaises(Unavailable):
            emitter.flush()


class Lost(WithEmitter):
    def line(self, answers: int) -> Line:
        line = Line(answers)
        self.addCleanup(line.close)
        return line

    def test_an_answer_that_is_lost_sends_nothing_twice(self) -> None:
        topic, line = new_topic(), self.line(2)
        emitter = self.an_emitter(line.url)
        receipts = [emitter.emit(topic, order(number)) for number in range(12)]
        self.assertEqual([receipt.sequence for receipt in receipts], list(range(12)))
        self.assertGreater(line.cuts, 2)

    def test_batches_and_threads_over_a_line_that_is_cut_have_each_event_once(self) -> None:
        topic, line = new_topic(), self.line(1)
        emitter = self.an_emitter(line.url)
        receipts = []

        def run(begin: int) -> None:
            for number in range(5):
                receipts.extend(emitter.emit_many(topic, [order(begin + number)] * 7))
                receipts.append(emitter.enqueue(topic, order(number)).result())

        threads = [threading.Thread(target=run, args=(begin,)) for begin in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sequences = sorted(receipt.sequence for receipt in receipts)
        self.assertEqual(sequences, list(range(3 * 5 * 8)))
        self.assertGreater(line.cuts, 5)

    def test_a_gateway_that_is_never_heard_is_given_up(self) -> None:
        line = self.line(0)
        topic = new_topic()
        emitter = self.an_emitter(line.url, retry_timeout_s=0.5)
        with self.assertRaises(Unavailable):
            emitter.emit(topic, order(1), idempotency_key="k")
        # It was taken each time, and sent once.
        line.calm()
        self.assertEqual(emitter.emit(topic, order(1), idempotency_key="k").sequence, 0)
        self.assertEqual(emitter.emit(topic, order(2)).sequence, 1)


if __name__ == "__main__":
    unittest.main()
