CREATE TABLE tidemesh_registry.fact (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO tidemesh_registry.fact
    VALUES ('registry_id', substr(md5(random()::text || clock_timestamp()::text), 1, 16)), ('probes', '0');
CREATE TABLE tidemesh_registry.context (
    name text PRIMARY KEY,
    id_next bigint NOT NULL,
    listed boolean NOT NULL
);
CREATE TABLE tidemesh_registry.schema (
    context text NOT NULL,
    id bigint NOT NULL,
    text text NOT NULL,
    reference_list text NOT NULL,
    metadata text,
    rules text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (context, id)
);
CREATE TABLE tidemesh_registry.version (
    subject text NOT NULL,
    number bigint NOT NULL,
    schema_id bigint NOT NULL,
    deleted boolean NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (subject, number)
);
CREATE TABLE tidemesh_registry.setting (scope text PRIMARY KEY, setting text NOT NULL);
CREATE TABLE tidemesh_registry.mode (scope text PRIMARY KEY, mode text NOT NULL);
CREATE TABLE tidemesh_registry.change (
    number bigint PRIMARY KEY,
    tag bigint NOT NULL,
    changes text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tidemesh_registry.change (number, tag, changes) VALUES (1, floor(random() * 9007199254740992)::bigint, '[]');
