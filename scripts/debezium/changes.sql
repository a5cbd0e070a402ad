-- What the log tells: rows and values come and go, a key moves, a transaction has several changes.
BEGIN;
INSERT INTO whole (id) VALUES (3);
INSERT INTO whole (id, t) VALUES (4, 'moves');
COMMIT;
UPDATE whole SET t = 'changed', n122 = NULL WHERE id = 1;
UPDATE whole SET id = 8 WHERE id = 4;
DELETE FROM whole WHERE id = 3;
DELETE FROM whole WHERE id = 1;
BEGIN;
INSERT INTO keyed (id) VALUES (3);
INSERT INTO keyed (id, t) VALUES (4, 'moves');
COMMIT;
UPDATE keyed SET t = 'changed', n122 = NULL WHERE id = 1;
UPDATE keyed SET id = 8 WHERE id = 4;
DELETE FROM keyed WHERE id = 3;
DELETE FROM keyed WHERE id = 1;

-- Comes last: every value once more, by the log.
INSERT INTO whole VALUES (
    99,
    true,
    -32768,
    2147483647,
    -9223372036854775808,
    4294967295,
    1.5,
    1e300,
    'NaN',
    1234567890.12,
    -7,
    1234567890123456789012345678901234567890.0123456789,
    '0.000000001000',
    1200,
    0.00012,
    '-12.34',
    'ünï ☃',
    'abc',
    'abc',
    'x',
    'some_name',
    '\x00ff10',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    '{"a": [1, null]}',
    '{"a":1}',
    '2024-02-29',
    '0044-03-15 BC',
    'infinity',
    '04:05:06.789123',
    '04:05:06.789',
    '24:00:00',
    '04:05:06+05:30',
    '1969-12-31 23:59:59.999999',
    '1969-12-31 23:59:59.999',
    '-infinity',
    '0044-03-15 01:02:03 BC',
    '2024-01-01 00:00:00.123456+02',
    '2024-01-01 00:00:00.5+02',
    'infinity',
    '1 year 2 mons 3 days 04:05:06.5',
    '-1 days',
    'happy',
    7,
    '{1,NULL,3}',
    '{}',
    '{1.50,-2}',
    '{sad,happy}',
    '{2024-01-01 00:00:00+00}',
    '{2024-02-29,NULL}',
    '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}',
    '{"\\x00ff"}',
    'a=>1,b=>NULL',
    'CI',
    'a.b',
    '<a/>',
    '1',
    '101',
    '1011',
    '(1.5,-2)',
    '(1,1),(0,0)',
    '<(1,2),3>',
    '((0,0),(1,1),(1,0))',
    '[1,5)',
    '[2024-01-01 00:00:00+00,2024-01-02 00:00:00+00)',
    '[2024-01-01,2024-01-02)',
    '10.0.0.1',
    '10.0.0.0/8',
    '08:00:2b:01:02:03',
    'a:1 b'
);
INSERT INTO keyed SELECT * FROM whole WHERE id = 99;
