CREATE TABLE tidemesh_registry.consumer (
    subject text NOT NULL,
    name text NOT NULL,
    consumer text NOT NULL,
    PRIMARY KEY (subject, name)
);
