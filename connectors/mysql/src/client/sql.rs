//! A connection for SQL.

use super::database_error;
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder, Params, SslOpts};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, MysqlSettings, Result, TlsMode};

/// How long a connection may be idle until it is probed: a host that vanished says nothing.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);

/// How long the server may take for a question that waits for no lock: a connection that is half-open
/// would never answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection for SQL, in UTF-8 and UTC.
pub(crate) struct Sql {
    conn: Conn,
}

impl Sql {
    /// Undoes what a server may give each session: commits that wait (marks would never be in the log),
    /// and limits of rows and time, which would cut what is read. Comments with a version are run by the
    /// servers that have the variable alone; MariaDB passes over MySQL's from 5.7 on. A primary key that
    /// MySQL made by itself is in the log, and so must not be hidden in `information_schema`.
    pub(crate) const PLAIN: &'static str = "SET autocommit = 1, \
         sql_select_limit = 18446744073709551615 \
         /*!50708 , max_execution_time = 0 */ \
         /*!80030 , show_gipk_in_create_table_and_information_schema = ON */ \
         /*M!100101 , max_statement_time = 0 */";

    /// Connects and logs in, within the settings' `connect_timeout_ms`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Prerequisite` (TLS is asked for and there is none).
    pub(crate) async fn connect(settings: &MysqlSettings) -> Result<Self> {
        let limit = Duration::from_millis(settings.connect_timeout_ms);
        let located = |error: Error| {
            error
                .with("host", &settings.host)
                .with("port", settings.port)
                .with("user", &settings.user)
        };
        match tokio::time::timeout(limit, connect(settings)).await {
            Ok(connected) => Ok(Self { conn: connected.map_err(located)? }),
            Err(_) => Err(located(
                Error::new(ErrorKind::Timeout, "connect to MySQL")
                    .because("it did not answer in time")
                    .help("see that it is reachable, or raise mysql.connect_timeout_ms"),
            )),
        }
    }

    /// All rows that a question has.
    ///
    /// # Errors
    ///
    /// What the server says; `Timeout` if it does not answer.
    pub(crate) async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        question: &str,
        parameters: impl Into<Params>,
    ) -> Result<Vec<T>> {
        let parameters = parameters.into();
        answered(self.conn.exec(question, parameters)).await
    }

    /// The first row that a question has; none if it has none.
    ///
    /// # Errors
    ///
    /// As [`Sql::rows`].
    pub(crate) async fn row<T: FromRow + Send + 'static>(
        &mut self,
        question: &str,
        parameters: impl Into<Params>,
    ) -> Result<Option<T>> {
        let parameters = parameters.into();
        answered(self.conn.exec_first(question, parameters)).await
    }

    /// The first row of a statement that cannot be prepared, as `SHOW MASTER STATUS` at some servers.
    ///
    /// # Errors
    ///
    /// As [`Sql::rows`].
    pub(crate) async fn told<T: FromRow + Send + 'static>(
        &mut self,
        statement: &str,
    ) -> Result<Option<T>> {
        answered(self.conn.query_first(statement)).await
    }

    /// All rows of a statement that cannot be prepared.
    ///
    /// # Errors
    ///
    /// As [`Sql::rows`].
    pub(crate) async fn all<T: FromRow + Send + 'static>(
        &mut self,
        statement: &str,
    ) -> Result<Vec<T>> {
        answered(self.conn.query(statement)).await
    }

    /// Runs a statement.
    ///
    /// # Errors
    ///
    /// As [`Sql::rows`].
    pub(crate) async fn run(&mut self, statement: &str) -> Result<()> {
        answered(self.conn.query_drop(statement)).await
    }
}

async fn answered<T>(
    question: impl Future<Output = std::result::Result<T, mysql_async::Error>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER_MAX, question).await {
        Ok(answer) => answer.map_err(|error| database_error(error, "ask MySQL")),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "ask MySQL")
            .because("the server does not answer")
            .with("answer_max_s", ANSWER_MAX.as_secs())),
    }
}

async fn connect(settings: &MysqlSettings) -> Result<Conn> {
    let is_local = settings.host.starts_with('/');
    if !is_local && settings.tls == TlsMode::Prefer {
        match Conn::new(options(settings, tls(settings))).await {
            Err(mysql_async::Error::Driver(
                mysql_async::DriverError::NoClientSslFlagFromServer,
            )) => {}
            connected => return connected.map_err(connecting),
        }
    }
    let tls = match settings.tls {
        TlsMode::Disable | TlsMode::Prefer => None,
        _ if is_local => None,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => tls(settings),
    };
    Conn::new(options(settings, tls)).await.map_err(connecting)
}

fn connecting(error: mysql_async::Error) -> Error {
    let lost = matches!(error, mysql_async::Error::Io(mysql_async::IoError::Io(_)));
    let error = database_error(error, "connect to MySQL");
    match lost {
        true => error.help("see that it runs there and that mysql.host and mysql.port are right"),
        false => error,
    }
}

fn options(settings: &MysqlSettings, tls: Option<SslOpts>) -> Opts {
    let builder = OptsBuilder::default()
        .user(Some(settings.user.clone()))
        .pass(settings.password.as_ref().map(|password| password.expose().to_owned()))
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE_AFTER))
        .max_allowed_packet(Some(settings.message_bytes_max))
        .stmt_cache_size(64_usize)
        .ssl_opts(tls)
        .setup(vec![
            "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''".to_owned(),
            Sql::PLAIN.to_owned(),
            // Marks are written where a server, or what it runs for each session, has them read alone.
            "SET SESSION TRANSACTION READ WRITE".to_owned(),
        ]);
    match settings.host.starts_with('/') {
        true => builder.socket(Some(settings.host.clone())).prefer_socket(true),
        false => builder.ip_or_hostname(settings.host.clone()).tcp_port(settings.port),
    }
    .into()
}

/// TLS as the mode says, which libpq's `sslmode` names.
fn tls(settings: &MysqlSettings) -> Option<SslOpts> {
    let checked = matches!(settings.tls, TlsMode::VerifyCa | TlsMode::VerifyFull);
    let roots = settings.tls_ca_file.iter().map(|file| file.clone().into()).collect();
    let opts = SslOpts::default()
        .with_root_certs(roots)
        .with_disable_built_in_roots(settings.tls_ca_file.is_some())
        .with_danger_accept_invalid_certs(!checked)
        .with_danger_skip_domain_validation(settings.tls != TlsMode::VerifyFull);
    Some(opts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Server;

    /// Each server has one of the two time limits, or none.
    const LIMITS: &str = "SHOW SESSION VARIABLES WHERE Variable_name IN ('autocommit', \
         'sql_select_limit', 'max_statement_time', 'max_execution_time')";

    async fn assert_plain(sql: &mut Sql) {
        let limits: Vec<(String, String)> = sql.all(LIMITS).await.unwrap();
        assert!(limits.len() >= 3, "{limits:?}");
        for (name, value) in limits {
            let wanted = match name.as_str() {
                "autocommit" => "ON",
                "sql_select_limit" => "18446744073709551615",
                "max_statement_time" => "0.000000",
                _ => "0",
            };
            assert_eq!(value, wanted, "{name}");
        }
    }

    #[tokio::test]
    async fn what_a_server_gives_its_sessions_does_not_hold_for_ours() {
        let server = Server::shared().await;
        let mut sql = server.sql().await;
        let user = format!("limited_{}", std::process::id());
        // A limit of the user's own leaves the other tests' sessions as they are.
        sql.run(&format!("CREATE USER {user}@'%' /*M!100101 WITH MAX_STATEMENT_TIME 5 */"))
            .await
            .unwrap();
        let settings = MysqlSettings { user: user.clone(), password: None, ..server.settings };
        let connected = Sql::connect(&settings).await;
        sql.run(&format!("DROP USER {user}@'%'")).await.unwrap();
        assert_plain(&mut connected.unwrap()).await;
        sql.run("SET autocommit = 0, sql_select_limit = 1").await.unwrap();
        sql.run(Sql::PLAIN).await.unwrap();
        assert_plain(&mut sql).await;
    }
}
