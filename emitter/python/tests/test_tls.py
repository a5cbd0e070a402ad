"""A gateway that speaks TLS, under an authority of its own."""

from __future__ import annotations

import ssl
import unittest

from support import TOKEN, WithEmitter, new_topic, order, variable

from tidemesh_emitter import Receipt, Unavailable

SECURED_GATEWAY = variable("TIDEMESH_TEST_SECURED_GATEWAY")
CA_FILE = variable("TIDEMESH_TEST_CA_FILE")


class Tls(WithEmitter):
    def test_events_go_to_a_gateway_whose_authority_is_trusted(self) -> None:
        topic = new_topic()
        context = ssl.create_default_context(cafile=CA_FILE)
        emitter = self.an_emitter(SECURED_GATEWAY, TOKEN, ssl_context=context)
        self.assertEqual(emitter.emit(topic, order(0)), Receipt(topic, 0, 0, 0))
        delivery = emitter.enqueue(topic, order(1))
        emitter.flush(30)
        self.assertEqual(delivery.result(), Receipt(topic, 0, 1, 1))

    def test_a_gateway_whose_authority_is_not_trusted_is_told_nothing(self) -> None:
        emitter = self.an_emitter(SECURED_GATEWAY, TOKEN, retry_timeout_s=0)
        with self.assertRaises(Unavailable) as raised:
            emitter.emit(new_topic(), order(0))
        self.assertIn("SSLCertVerificationError", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
