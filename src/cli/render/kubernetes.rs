//! Manifests of Kubernetes (its API reference, apps/v1, v1 and networking.k8s.io/v1).

use super::mesh::{DATA_DIR, Mesh, Place, connector, password_variable};
use super::{MEMORY_MAX_MIB, Rendered, Rendering, STOP_MAX_S};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};

const CONTROL_PORT: u16 = 8090;

const PLACE: Place = Place {
    // Probes and pipelines come from elsewhere; the network policy says from where.
    control: "0.0.0.0:8090",
    data: "127.0.0.1:8092",
    controller_url: "http://tidemesh-controller:8090",
};

/// Where configurations are, and files that they name, from a secret.
const CONFIG_DIR: &str = "/etc/tidemesh";
const FILES_DIR: &str = "/etc/tidemesh-files";

/// The most characters of a name: that of a label.
const NAME_CHARS_MAX: usize = 63;

/// As whom processes run: nobody of the image's.
const USER: u32 = 65532;

/// How much disk the controller's store has.
const STORE_SIZE: &str = "1Gi";

/// What a process has at least.
const CPU_MIN: &str = "100m";
const MEMORY_MIN: &str = "128Mi";

/// A process.
struct Process<'p> {
    name: String,
    component: &'static str,
    instance: &'p str,
    image: &'p str,
    arguments: Vec<String>,
    /// What is asked for whether it can take requests.
    ready: &'static str,
}

/// A manifest for the controller, for each pipeline and each connector, one with all configurations,
/// and one with who may reach them.
///
/// # Errors
///
/// `Config` for a log or registry that containers do not find, and names that cannot be told apart.
pub(super) fn render(mesh: &Mesh, image: &str) -> Result<Rendering> {
    mesh.check_reachable()?;
    let mut configs = BTreeMap::from([
        ("controller.toml".to_owned(), mesh.controller_file(&PLACE)),
        ("pipeline.toml".to_owned(), mesh.pipeline_file(&PLACE)),
    ]);
    let controller = Process {
        name: "tidemesh-controller".into(),
        component: "controller",
        instance: "controller",
        image,
        arguments: vec!["controller".into(), config("controller.toml")],
        // Pipelines tell of themselves also while one of them has failed.
        ready: "/health/live",
    };
    let mut processes = vec![];
    for pipeline in &mesh.pipelines {
        processes.push(Process {
            name: name("pipeline", pipeline)?,
            component: "pipeline",
            instance: pipeline,
            image,
            arguments: vec!["pipeline".into(), pipeline.clone(), config("pipeline.toml")],
            ready: "/health",
        });
    }
    for source in &mesh.sources {
        let file = format!("connector-{}.toml", source.name);
        configs.insert(file.clone(), mesh.connector_file(&PLACE, source)?);
        processes.push(Process {
            name: name("connector", &source.name)?,
            component: "connector",
            instance: &source.name,
            image,
            arguments: vec!["connector".into(), connector(source)?.into(), config(&file)],
            ready: "/health",
        });
    }
    told_apart(&processes)?;
    let mut files = vec![
        file("config.yaml", &[config_map(&configs)])?,
        file("network-policy.yaml", &[network_policy()])?,
        file("tidemesh-controller.yaml", &[service(&controller), stateful_set(&controller)])?,
    ];
    for process in &processes {
        files.push(file(&format!("{}.yaml", process.name), &[deployment(process)])?);
    }
    Ok(Rendering { files, to_do: to_do(mesh)? })
}

fn to_do(mesh: &Mesh) -> Result<Vec<String>> {
    let secret = |source: &SourceSettings| {
        let (name, variable) = (name("connector", &source.name)?, password_variable(source));
        Ok(format!("  kubectl create secret generic {name} --from-literal={variable}=…"))
    };
    let secrets = mesh.sources.iter().map(secret).collect::<Result<Vec<_>>>()?;
    let what = [
        "secrets of all processes are variables in the secret `tidemesh`, those of one in the secret of \
         its name; both may be missing"
            .to_owned(),
        format!("the secret `tidemesh-files` has files that configurations name, in {FILES_DIR}"),
    ];
    let last = "kubectl apply -f FOLDER".to_owned();
    Ok(what.into_iter().chain(secrets).chain([last]).collect())
}

fn config(file: &str) -> String {
    format!("--config={CONFIG_DIR}/{file}")
}

/// A name as Kubernetes takes it: lower case, `-` for `_`.
fn name(component: &str, of: &str) -> Result<String> {
    let name = format!("{component}-{}", of.to_ascii_lowercase().replace('_', "-"));
    if name.len() <= NAME_CHARS_MAX && !name.ends_with('-') && of.len() <= NAME_CHARS_MAX {
        return Ok(name);
    }
    Err(Error::new(ErrorKind::Config, "render a mesh")
        .because("Kubernetes does not take the name")
        .with("name", name)
        .with("chars_max", NAME_CHARS_MAX)
        .help("give it a shorter name that ends with a letter or digit"))
}

fn told_apart(processes: &[Process<'_>]) -> Result<()> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for process in processes {
        if let Some(other) = seen.insert(&process.name, process.instance) {
            return Err(Error::new(ErrorKind::Config, "render a mesh")
                .because(format!("{other} and {} have one name there", process.instance))
                .with("name", &process.name)
                .help("give one of them another name"));
        }
    }
    Ok(())
}

fn file(name: &str, objects: &[Json]) -> Result<Rendered> {
    let texts = objects.iter().map(serde_yaml_ng::to_string).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| {
        Error::new(ErrorKind::Internal, "write a manifest").with("file", name).caused_by(error)
    })?;
    Ok(Rendered { name: name.to_owned(), text: texts.join("---\n") })
}

fn config_map(configs: &BTreeMap<String, String>) -> Json {
    let data: Map<String, Json> =
        configs.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tidemesh", "labels": {"app.kubernetes.io/part-of": "tidemesh"}},
        "data": data,
    })
}

/// Only processes of the mesh reach each other: nobody has to log in at a control port.
fn network_policy() -> Json {
    let ours = json!({"matchLabels": {"app.kubernetes.io/part-of": "tidemesh"}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "tidemesh", "labels": {"app.kubernetes.io/part-of": "tidemesh"}},
        "spec": {
            "podSelector": ours,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": ours}]}],
        },
    })
}

fn service(process: &Process<'_>) -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": process.name, "labels": process.labels()},
        "spec": {
            "selector": process.labels(),
            "ports": [{"name": "control", "port": CONTROL_PORT, "targetPort": "control"}],
        },
    })
}

/// The controller keeps its store.
fn stateful_set(process: &Process<'_>) -> Json {
    let mounts = json!([{"name": "data", "mountPath": DATA_DIR}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": process.name, "labels": process.labels()},
        "spec": {
            "serviceName": process.name,
            "replicas": 1,
            "selector": {"matchLabels": process.labels()},
            "template": process.pod(&mounts, &json!([])),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": STORE_SIZE}},
                },
            }],
        },
    })
}

/// A second process waits until the first one has ended, and writes nothing before.
fn deployment(process: &Process<'_>) -> Json {
    let mounts = json!([{"name": "data", "mountPath": DATA_DIR}]);
    let volumes = json!([{"name": "data", "emptyDir": {}}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": process.name, "labels": process.labels()},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": process.labels()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": process.pod(&mounts, &volumes),
        },
    })
}

impl Process<'_> {
    fn labels(&self) -> Json {
        json!({
            "app.kubernetes.io/name": "tidemesh",
            "app.kubernetes.io/part-of": "tidemesh",
            "app.kubernetes.io/component": self.component,
            "app.kubernetes.io/instance": self.name,
        })
    }

    /// A pod with these mounts and volumes beside those of the configuration.
    fn pod(&self, mounts: &Json, volumes: &Json) -> Json {
        let all = |ours: Json, more: &Json| {
            let lists = [ours.as_array().cloned(), more.as_array().cloned()];
            Json::Array(lists.into_iter().flatten().flatten().collect())
        };
        let volumes = all(
            json!([
                {"name": "config", "configMap": {"name": "tidemesh"}},
                {"name": "files", "secret": {"secretName": "tidemesh-files", "optional": true}},
            ]),
            volumes,
        );
        let mounts = all(
            json!([
                {"name": "config", "mountPath": CONFIG_DIR, "readOnly": true},
                {"name": "files", "mountPath": FILES_DIR, "readOnly": true},
            ]),
            mounts,
        );
        json!({
            "metadata": {"labels": self.labels()},
            "spec": {
                "terminationGracePeriodSeconds": STOP_MAX_S,
                "automountServiceAccountToken": false,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [self.container(&mounts)],
                "volumes": volumes,
            },
        })
    }

    fn container(&self, mounts: &Json) -> Json {
        let memory = format!("{MEMORY_MAX_MIB}Mi");
        let secret = |name: &str| json!({"secretRef": {"name": name, "optional": true}});
        json!({
            "name": self.component,
            "image": self.image,
            "args": self.arguments,
            "env": [{"name": "TIDEMESH_LOG_FORMAT", "value": "json"}],
            "envFrom": [secret("tidemesh"), secret(&self.name)],
            "ports": [{"name": "control", "containerPort": CONTROL_PORT}],
            "startupProbe": probe("/health/live", 2, 30),
            "livenessProbe": probe("/health/live", 10, 3),
            "readinessProbe": probe(self.ready, 10, 3),
            "resources": {
                "requests": {"cpu": CPU_MIN, "memory": MEMORY_MIN},
                "limits": {"memory": memory},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": mounts,
        })
    }
}

fn probe(path: &str, period_s: u32, failures_max: u32) -> Json {
    json!({
        "httpGet": {"path": path, "port": "control"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures_max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_kubernetes_takes_it_or_refused() {
        assert_eq!(name("pipeline", "Paid_orders").unwrap(), "pipeline-paid-orders");
        assert_eq!(name("pipeline", &"a".repeat(54)).unwrap().len(), NAME_CHARS_MAX);
        for wrong in ["a".repeat(55), "paid_".to_owned()] {
            assert_eq!(name("pipeline", &wrong).unwrap_err().kind(), ErrorKind::Config);
        }
        let process = |instance| Process {
            name: name("pipeline", instance).unwrap(),
            component: "pipeline",
            instance,
            image: "i",
            arguments: Vec::new(),
            ready: "/health",
        };
        told_apart(&[process("a"), process("b")]).unwrap();
        let error = told_apart(&[process("a_b"), process("a-b")]).unwrap_err().to_string();
        assert!(error.contains("a_b and a-b"), "{error}");
    }
}
