//! Start-up and log-in (chapters 54.2.1, 54.3) as the server asks for it: SCRAM-SHA-256, MD5, or the
//! password in clear, which only a `tls` of `require` and above keeps from the network.

use super::server_error::password_missing;
use super::{Client, malformed, server_error};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tidemesh_model::{Error, ErrorKind, PostgresSettings, Result};

/// Protocol version 3.0.
const VERSION: u32 = 196_608;

impl Client {
    pub(super) fn log_in(&mut self, settings: &PostgresSettings) -> Result<()> {
        self.start_up(settings)?;
        loop {
            let message = self.receive()?;
            match message.tag {
                b'R' => self.authenticate(settings, &message.body)?,
                b'E' => {
                    return Err(server_error(&message.body, "log in to PostgreSQL")
                        .with("user", &settings.user)
                        .with("database", &settings.database));
                }
                b'K' => {
                    self.process =
                        i32::from_be_bytes(*message.body.first_chunk().ok_or_else(malformed)?)
                }
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    fn start_up(&mut self, settings: &PostgresSettings) -> Result<()> {
        let mut body = VERSION.to_be_bytes().to_vec();
        for (name, value) in [
            ("user", settings.user.as_str()),
            ("database", settings.database.as_str()),
            ("replication", "database"),
            ("application_name", "tidemesh"),
            ("client_encoding", "UTF8"),
        ] {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).map_err(|_| malformed())?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        self.write(&frame)
    }

    fn authenticate(&mut self, settings: &PostgresSettings, body: &[u8]) -> Result<()> {
        let (kind, rest) = body.split_first_chunk().ok_or_else(malformed)?;
        match u32::from_be_bytes(*kind) {
            0 => Ok(()),
            3 => {
                let mut answer = password(settings)?.to_vec();
                answer.push(0);
                self.send(b'p', &answer)
            }
            5 => {
                let salt = *rest.first_chunk().ok_or_else(malformed)?;
                let hash = md5_hash(settings.user.as_bytes(), password(settings)?, salt);
                let mut answer = hash.into_bytes();
                answer.push(0);
                self.send(b'p', &answer)
            }
            10 => self.scram(settings, rest),
            other => Err(Error::new(ErrorKind::Unsupported, "log in to PostgreSQL")
                .because("the server asks for a kind of log-in that is not known here")
                .with("authentication_request", other)
                .help("use scram-sha-256 in pg_hba.conf")),
        }
    }

    fn scram(&mut self, settings: &PostgresSettings, mechanisms: &[u8]) -> Result<()> {
        let offered =
            mechanisms.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes());
        if !offered {
            return Err(Error::new(ErrorKind::Unsupported, "log in to PostgreSQL")
                .because("the server does not offer SCRAM-SHA-256"));
        }
        let refused = |error: std::io::Error| {
            Error::new(ErrorKind::Authentication, "log in to PostgreSQL")
                .because("SCRAM failed")
                .with("user", &settings.user)
                .caused_by(error)
        };
        let mut scram = ScramSha256::new(password(settings)?, ChannelBinding::unsupported());
        let mut first = SCRAM_SHA_256.as_bytes().to_vec();
        first.push(0);
        let message = scram.message();
        first.extend_from_slice(
            &u32::try_from(message.len()).map_err(|_| malformed())?.to_be_bytes(),
        );
        first.extend_from_slice(message);
        self.send(b'p', &first)?;
        scram.update(&self.sasl(11)?).map_err(refused)?;
        let message = scram.message().to_vec();
        self.send(b'p', &message)?;
        scram.finish(&self.sasl(12)?).map_err(refused)
    }

    /// The data of the SASL step `kind`.
    fn sasl(&mut self, kind: u32) -> Result<Vec<u8>> {
        let message = self.receive()?;
        match (message.tag, message.body.split_first_chunk()) {
            (b'E', _) => Err(server_error(&message.body, "log in to PostgreSQL")),
            (b'R', Some((found, data))) if u32::from_be_bytes(*found) == kind => Ok(data.to_vec()),
            _ => Err(malformed()),
        }
    }
}

fn password(settings: &PostgresSettings) -> Result<&[u8]> {
    match &settings.password {
        Some(password) => Ok(password.expose().as_bytes()),
        None => Err(password_missing("log in to PostgreSQL").with("user", &settings.user)),
    }
}
