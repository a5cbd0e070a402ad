//! Secrets are in nothing that is rendered: it is kept where many read it.

use percent_encoding::percent_decode_str;
use tidemesh_model::{Error, Result};
use toml::Value;

/// The keys of secrets, wherever they stand.
const KEYS: [&str; 3] = ["password", "token", "salt"];

/// How the keys of secrets end among a URL's parameters, without points, dashes and underscores: libpq's
/// `password`, `sslpassword`, `oauth_client_secret`, `scram_client_key` and `scram_server_key`
/// (PostgreSQL's documentation 18, 32.1.2), Kafka's `sasl.password` and `ssl.key.password`, and what others
/// call theirs.
const PARAMETERS: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "apikey",
    "clientkey",
    "serverkey",
];

/// Refuses a configuration with a secret: under a key for one, or within a URL.
///
/// # Errors
///
/// `Config`, naming where it stands and what to do, never the secret.
pub(super) fn no_secrets(path: &str, value: &Value) -> Result<()> {
    let within = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Table(table) => table.iter().try_for_each(|(key, value)| {
            let path = within(key);
            if KEYS.contains(&key.as_str()) {
                return Err(secret(&path, "a secret is in it"));
            }
            no_secrets(&path, value)
        }),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(place, item)| no_secrets(&within(&place.to_string()), item))
        }
        Value::String(text) => match in_url(text) {
            Some(what) => Err(secret(path, what)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Where a URL has a secret, in words. The WHATWG's rules would pass over URLs of several hosts, and over
/// passwords with signs that PostgreSQL's own URLs may have there.
fn in_url(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.split_once("://")?;
    let front = rest.split('?').next().unwrap_or(rest);
    let authority = match scheme.to_ascii_lowercase().starts_with("postgres") {
        // PostgreSQL's users and passwords end at an `@`, whatever stands before it.
        true if front.contains('@') => front,
        true => rest,
        false => rest.split(['/', '?', '#']).next().unwrap_or(rest),
    };
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    if user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    {
        return Some("its URL has a password behind the user's name");
    }
    let mut parameters = rest.split(['?', '&', ';', '#']).skip(1);
    parameters.any(is_secret).then_some("its URL has a secret among its parameters")
}

fn is_secret(parameter: &str) -> bool {
    let Some((key, value)) = parameter.split_once('=') else { return false };
    let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
    let key = key.trim().replace(['.', '-', '_'], "");
    !value.is_empty() && PARAMETERS.iter().any(|ends| key.ends_with(ends))
}

fn secret(path: &str, what: &str) -> Error {
    let variable = format!("TIDEMESH__{}", path.to_uppercase().replace('.', "__"));
    super::mesh::wrong(format!("{path}: {what}")).help(format!(
        "leave it out: processes have it from the environment, as {variable}, or from a file where there \
         is a key for one, as password_file"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Table;

    fn told(text: &str) -> Result<(), String> {
        let table: Table = text.parse().unwrap();
        no_secrets("", &Value::Table(table)).map_err(|error| error.report())
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        told("kafka.sasl.password_file = \"p\"\nregistry.url = \"https://r:8081\"").unwrap();
        for (text, variable) in [
            ("kafka.sasl.password = \"hush\"", "TIDEMESH__KAFKA__SASL__PASSWORD"),
            ("registry.client.token = \"hush\"", "TIDEMESH__REGISTRY__CLIENT__TOKEN"),
            ("controller.store = \"postgresql://a:hush@h/d\"", "TIDEMESH__CONTROLLER__STORE"),
            ("a.b = [\"x\", \"http://a:hush@h\"]", "TIDEMESH__A__B__1"),
        ] {
            let error = told(text).unwrap_err();
            assert!(error.contains(variable) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_secret_in_a_url_of_any_form_is_refused() {
        for url in [
            "postgres://u:hush@a:5432,b:5432/db",
            "postgresql://u:hush@[::1]:5432,b/db?target_session_attrs=read-write",
            "PostgreSQL://u:hu@sh@h/d",
            "postgres://u:hu/sh@h/d",
            "postgres://u:hu?sh@h/d",
            "postgres://u:hu%40sh@h",
            "http://u:hush@r:8081",
            "postgres://h/d?password=hush",
            "postgres://a:5432,b:5432/d?user=u&password=hush",
            "postgres://h/d?sslmode=require&sslpassword=hush",
            "postgres://h/d?p%61ssword=hush",
            "postgres://h/d?PASSWORD=hush",
            "postgres://h/d?oauth_client_secret=hush",
            "postgres://h/d?scram_client_key=hush",
            "kafka://a:9092,b:9092?sasl.password=hush",
            "kafka://a:9092?ssl.key.password=hush",
            "https://r:8081/v1?access_token=hush",
            "https://r:8081/v1;secret=hush",
            "https://r:8081/v1#token=hush",
            "mysql://h?passwd=hush",
        ] {
            let error = told(&format!("controller.store = \"{url}\"")).unwrap_err();
            assert!(error.contains("controller.store: its URL has a"), "{url}: {error}");
            assert!(error.contains("TIDEMESH__CONTROLLER__STORE"), "{url}: {error}");
            assert!(!error.contains("hu"), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_without_a_secret_is_none() {
        for text in [
            "postgres://u@a:5432,b:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://u:@h/d",
            "postgres://u@h:5432/d?application_name=a@b",
            "postgres://h/d?password=&passfile=/etc/pgpass",
            "https://r:8081/subjects/a@b:1?token_file=x",
            "tcp://127.0.0.1:8092",
            "unix:///run/tidemesh.sock",
            "a:9092,b:9092",
            "kafka.password=x",
        ] {
            told(&format!("a.url = \"{text}\"")).unwrap();
        }
    }
}
