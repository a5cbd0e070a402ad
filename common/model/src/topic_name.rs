//! What a topic may be called: Kafka's rule, for who makes topics and for who is only told of them.

/// The longest topic name, in bytes (Apache Kafka 4.3, `org.apache.kafka.common.internals.Topic`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Whether a topic can be called so by Kafka's rule: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
