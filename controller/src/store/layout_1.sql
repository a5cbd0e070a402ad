CREATE TABLE tidemesh_controller.item (name text COLLATE "C" PRIMARY KEY, text text NOT NULL);
CREATE TABLE tidemesh_controller.lease (
    one int PRIMARY KEY CHECK (one = 1),
    epoch bigint NOT NULL,
    id text NOT NULL,
    url text NOT NULL,
    until timestamptz NOT NULL
);
INSERT INTO tidemesh_controller.lease VALUES (1, 0, '', '', '-infinity');
