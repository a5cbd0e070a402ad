//! Units of systemd (its documentation, systemd.service(5), systemd.exec(5)), on one machine.

use super::mesh::{DATA_DIR, Mesh, Place, connector, password_variable};
use super::{MEMORY_MAX_MIB, Rendered, Rendering, STOP_MAX_S};
use tidemesh_model::{Error, ErrorKind, Result};

/// Where configurations are installed.
const CONFIG_DIR: &str = "/etc/tidemesh";

/// How often, a second apart, a process is asked at its start whether it is there.
const STARTS_ASKED_MAX: u32 = 30;

const CONTROL_PORT: u16 = 8090;

const PLACE: Place = Place {
    control: "127.0.0.1:8090",
    data: "127.0.0.1:0",
    controller_url: "http://127.0.0.1:8090",
};

/// A process.
struct Unit<'u> {
    /// Its unit's name, and that of its file of secrets.
    name: String,
    what: String,
    program: &'u str,
    /// The subcommand, and the file of its configuration.
    command: String,
    config: String,
    port: u16,
}

/// One unit for the controller, for each pipeline and each connector, and a target for all.
///
/// # Errors
///
/// `TooLarge` for more processes than there are ports.
pub(super) fn render(mesh: &Mesh, program: &str, port: u16) -> Result<Rendering> {
    check(program)?;
    let mut files = vec![
        file("controller.toml", mesh.controller_file(&PLACE)),
        file("pipeline.toml", mesh.pipeline_file(&PLACE)),
    ];
    let mut units = vec![Unit {
        name: "tidemesh-controller".into(),
        what: "controller".into(),
        program,
        command: "controller".into(),
        config: "controller.toml".into(),
        port: CONTROL_PORT,
    }];
    let mut ports = port..=u16::MAX;
    for name in &mesh.pipelines {
        units.push(Unit {
            name: format!("tidemesh-pipeline-{name}"),
            what: format!("pipeline {name}"),
            program,
            command: format!("pipeline {name}"),
            config: "pipeline.toml".into(),
            port: next(&mut ports)?,
        });
    }
    for source in &mesh.sources {
        let config = format!("connector-{}.toml", source.name);
        files.push(file(&config, mesh.connector_file(&PLACE, source)?));
        units.push(Unit {
            name: format!("tidemesh-connector-{}", source.name),
            what: format!("connector {}", source.name),
            program,
            command: format!("connector {}", connector(source)?),
            config,
            port: next(&mut ports)?,
        });
    }
    files.extend(units.iter().map(|unit| file(&format!("{}.service", unit.name), unit.text())));
    files.push(file("tidemesh.target", target(&units)));
    Ok(Rendering { files, to_do: to_do(mesh) })
}

fn to_do(mesh: &Mesh) -> Vec<String> {
    let install = [
        format!("install the .toml files in {CONFIG_DIR}, the others in /etc/systemd/system"),
        format!("put secrets into {CONFIG_DIR}/UNIT.env, which root alone reads"),
    ];
    let secret = mesh.sources.iter().map(|source| {
        let variable = password_variable(source);
        format!("  {CONFIG_DIR}/tidemesh-connector-{}.env: {variable}=…", source.name)
    });
    let start = "systemctl daemon-reload && systemctl enable --now tidemesh.target".to_owned();
    install.into_iter().chain(secret).chain([start]).collect()
}

fn next(ports: &mut impl Iterator<Item = u16>) -> Result<u16> {
    ports.next().ok_or_else(|| {
        Error::new(ErrorKind::TooLarge, "render a mesh")
            .because("there are more processes than ports")
            .help("begin at a lower --port")
    })
}

/// A unit's line is split at blanks, and has quotes, variables and specifiers.
fn check(program: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if program.starts_with('/') && program.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "render a mesh")
        .because("--program is no absolute path of letters, digits and / . _ - +")
        .with("program", program))
}

fn file(name: &str, text: String) -> Rendered {
    Rendered { name: name.to_owned(), text }
}

fn target(units: &[Unit<'_>]) -> String {
    let wants = units.iter().map(|unit| format!("Wants={}.service\n", unit.name));
    let wants: String = wants.collect();
    format!("[Unit]\nDescription=Tidemesh\n{wants}\n[Install]\nWantedBy=multi-user.target\n")
}

impl Unit<'_> {
    fn text(&self) -> String {
        let Self { name, what, program, command, config, port } = self;
        let memory_high_mib = MEMORY_MAX_MIB * 7 / 8;
        // The state is the controller's alone.
        let state = DATA_DIR.rsplit('/').next().unwrap_or_default();
        format!(
            "[Unit]
Description=Tidemesh {what}
PartOf=tidemesh.target
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} {command} --config {CONFIG_DIR}/{config}
ExecStartPost=/usr/bin/curl --silent --show-error --fail --output /dev/null --retry {STARTS_ASKED_MAX} \
--retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/health/live
Environment=TIDEMESH__CONTROL__LISTEN=127.0.0.1:{port}
Environment=TIDEMESH_LOG_FORMAT=json
EnvironmentFile=-{CONFIG_DIR}/{name}.env
Restart=always
RestartSec=1
TimeoutStopSec={STOP_MAX_S}
MemoryHigh={memory_high_mib}M
MemoryMax={MEMORY_MAX_MIB}M
TasksMax=256
LimitNOFILE=65536
DynamicUser=yes
StateDirectory={state}/{name}
Environment=TIDEMESH__DATA_DIR={DATA_DIR}/{name}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=tidemesh.target
"
        )
    }
}
