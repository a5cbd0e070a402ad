//! The Python package against gateways with a log-in, in clear and with TLS: `emitter/python/tests`.

use crate::mesh::Mesh;
use crate::started::{Started, config};
use crate::tls::{authority, write};
use sha2::{Digest, Sha256};
use std::process::Command;
use tidemesh_emit_gateway::TopicRule;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_package_passes_its_tests() {
    let mesh = Mesh::new().await;
    let file = mesh.folder.path().join("clients.toml");
    let hash: String = Sha256::digest("py").iter().map(|byte| format!("{byte:02x}")).collect();
    let client =
        format!("[[client]]\nname = \"py\"\ntoken_sha256 = \"{hash}\"\ntopics = [\"py.*\"]\n");
    std::fs::write(&file, client).unwrap();
    let mut config = config(&mesh);
    config.clients_file = Some(file);
    config.topics.push(TopicRule::new("py.*"));
    let authority = authority();
    let ca_file = mesh.folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let mut secured = config.clone();
    secured.name = "secured".to_owned();
    secured.tls = Some(write(mesh.folder.path(), &authority));
    let (started, secured) = (Started::new(config).await, Started::new(secured).await);
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../python");
    let mut command = Command::new("python3");
    command
        .args(["-B", "-W", "error", "-m", "unittest", "discover", "--start-directory", "tests"])
        .current_dir(package)
        .env("PYTHONPATH", "src:tests")
        .env("TIDEMESH_TEST_GATEWAY", format!("http://{}", started.address))
        .env("TIDEMESH_TEST_SECURED_GATEWAY", format!("https://{}", secured.address))
        .env("TIDEMESH_TEST_CA_FILE", ca_file)
        .env("TIDEMESH_TEST_REGISTRY", &mesh.registry)
        .env("TIDEMESH_TEST_GATEWAY_TOKEN", "py");
    let output = tokio::task::spawn_blocking(move || {
        command.output().expect("python3 is there: `apt-get install python3`")
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\nOK\n") && !said.contains("Ran 0 tests"), "{said}");
    started.end().await;
    secured.end().await;
}
