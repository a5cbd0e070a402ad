//! A broker that asks for TLS and log-in, and lets principals do only what they were granted.

use super::kafka::start_broker;
use super::postgres::free_port;
use super::readers::variable;
use super::tls::Authority;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A broker of one test's own.
pub(crate) struct SecuredBroker {
    folder: tempfile::TempDir,
    /// Without TLS and log-in: the broker's own, and who grants.
    open: u16,
    secured: u16,
    process: u32,
}

/// Grants, and ends with an error unless all were taken: `principal`, then for each grant the resource's
/// type, its name or prefix, the pattern and the operation.
const GRANT: &str = r#"
import sys
from confluent_kafka.admin import (AclBinding, AclOperation, AclPermissionType, AdminClient,
                                   ResourcePatternType, ResourceType)
servers, principal, *grants = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": servers})
bindings = []
for grant in grants:
    kind, name, pattern, operation = grant.split(",")
    bindings.append(AclBinding(ResourceType[kind], name, ResourcePatternType[pattern], principal, "*",
                               AclOperation[operation], AclPermissionType.ALLOW))
for future in admin.create_acls(bindings).values():
    future.result(30)
"#;

impl SecuredBroker {
    /// Starts one whose certificate is of this authority, with this user by SCRAM-SHA-512.
    pub(crate) fn start(authority: &Authority, user: &str, password: &str) -> Self {
        let folder = super::postgres::Server::open_folder();
        let identity = authority.certificate("127.0.0.1");
        let keys = folder.path().join("broker.pem");
        std::fs::write(&keys, identity.key + &identity.certificate).unwrap();
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).unwrap();
        let [open, secured, controller] = [(); 3].map(|()| free_port());
        let settings = format!(
            "listeners=PLAINTEXT://127.0.0.1:{open},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{secured}
             advertised.listeners=PLAINTEXT://127.0.0.1:{open},SECURED://127.0.0.1:{secured}
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
             ssl.keystore.type=PEM
             ssl.keystore.location={}
             listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
             listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
             listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
             super.users=User:ANONYMOUS",
            keys.display()
        );
        let settings: Vec<&str> = settings.lines().map(str::trim).collect();
        let format = format!("--add-scram SCRAM-SHA-512=[name={user},password={password}]");
        let settings = settings.join("\n");
        let (process, _) = start_broker(&folder, open, &settings, controller, &format, false);
        Self { folder, open, secured, process }
    }

    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.secured)
    }

    /// Lets a user do these things: each `TYPE,name,PATTERN,OPERATION`.
    pub(crate) fn grant(&self, user: &str, grants: &[String]) {
        let script = self.folder.path().join("grant.py");
        std::fs::write(&script, GRANT).unwrap();
        let output = Command::new(variable("TIDEMESH_TEST_PYTHON"))
            .arg(script)
            .arg(format!("127.0.0.1:{}", self.open))
            .arg(format!("User:{user}"))
            .args(grants)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for SecuredBroker {
    fn drop(&mut self) {
        let process = self.process.to_string();
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", &process]).status();
    }
}
