//! librdkafka's errors as ours, by their codes.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::{Mutex, PoisonError};
use tidemesh_model::{Error, ErrorKind};

/// The error of an operation, by the code that the library or the broker gives.
pub(super) fn failed(error: KafkaError, doing: &'static str) -> Error {
    let kind = code(&error).map_or(ErrorKind::Unavailable, kind);
    let described = Error::new(kind, doing);
    let described = match kind {
        ErrorKind::Privilege => described.help("grant the principal what the ACLs lack"),
        ErrorKind::TooLarge => {
            described.help("raise kafka.record_bytes_max and the topic's max.message.bytes")
        }
        _ => described,
    };
    described.caused_by(error)
}

/// The code that an error carries.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::AssignmentLost => ErrorKind::Fenced,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId => ErrorKind::NotFound,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            ErrorKind::TooLarge
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Privilege,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            ErrorKind::Authentication
        }
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::PolicyViolation
        | Code::InvalidTransactionTimeout => ErrorKind::Config,
        Code::OperationTimedOut | Code::MessageTimedOut | Code::RequestTimedOut => {
            ErrorKind::Timeout
        }
        _ => ErrorKind::Unavailable,
    }
}

/// What OpenSSL says of a certificate that nobody trusted has signed, or that is another host's.
const UNTRUSTED: &str = "certificate verify failed";

/// Keeps what a client told last of its connections, because the calls that wait for them say only
/// that the time ran out.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<(KafkaError, String)>>);

impl Told {
    pub(super) fn note(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "told");
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It follows each connection's own error, and says less.
        if code(&error) == Some(Code::AllBrokersDown) && told.is_some() {
            return;
        }
        *told = Some((error, reason.to_owned()));
    }

    /// An error of an operation; where that is a matter of time, what was told says why.
    pub(super) fn explain(&self, error: KafkaError, doing: &'static str) -> Error {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_a_matter_of_time = |error: &KafkaError| {
            let kind = code(error).map_or(ErrorKind::Unavailable, kind);
            matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable)
        };
        let Some((cause, reason)) = told.filter(|_| is_a_matter_of_time(&error)) else {
            return failed(error, doing);
        };
        let kind = match code(&cause).map(kind) {
            // Any other error of TLS may be the network's.
            _ if reason.contains(UNTRUSTED) => ErrorKind::Authentication,
            Some(kind @ (ErrorKind::Authentication | ErrorKind::Privilege | ErrorKind::Fenced)) => {
                kind
            }
            _ => ErrorKind::Unavailable,
        };
        let explained = Error::new(kind, doing).because(reason).caused_by(error);
        match kind {
            ErrorKind::Fenced => explained,
            _ => explained.help("see kafka.bootstrap_servers, kafka.tls and kafka.sasl"),
        }
    }
}

/// What the library says on its own: each call's error says it again where it matters.
pub(super) fn log(facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", facility, message);
}

/// A client that only keeps what it is told.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    pub(super) told: Told,
}

impl ConsumerContext for Quiet {}

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.note(error, reason);
    }
}
