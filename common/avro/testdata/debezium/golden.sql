CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok, "fine"', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(8,3);
CREATE TABLE golden (id int PRIMARY KEY,
 b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8,
 n122 numeric(12,2), n5010 numeric(50,10), nn numeric, m money, t text, vc varchar(5), c5 char(5), by bytea, u uuid, j json, jb jsonb,
 d date, ti time, ti0 time(0), ti3 time(3), ti4 time(4), tz timetz, tz3 timetz(3),
 ts timestamp, ts0 timestamp(0), ts3 timestamp(3), ts4 timestamp(4), ts6 timestamp(6),
 tt timestamptz, tt0 timestamptz(0), tt3 timestamptz(3), tt6 timestamptz(6),
 iv interval, md mood, dp positive, dpr price,
 ai int4[], ai2 int2[], at text[], an numeric(6,2)[], ann numeric[], ats timestamp[], ats3 timestamp(3)[], att timestamptz[], ad date[], ati time[], atz timetz[], ab bool[], au uuid[], aj jsonb[], aby bytea[], af float8[],
 x xml, p point, bi bit, bi3 bit(3), vb bit varying, vb7 bit varying(7), ci citext, lt ltree, hs hstore, ine inet, tsv tsvector,
 bx box, ci2 circle, ln line, ls lseg, pa path, po polygon
);
INSERT INTO golden VALUES (101,
 true,-32768,2147483647,-9223372036854775808,4294967295,1.5,1e300,
 1234567890.12,-1234567890123456789012345678901234567890.0123456789,'0.000000001000','-12.34','ünï ☃','abc','abc','\x00ff10','A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11','{"a": [1, null]}','{"a":1}',
 '2024-02-29','04:05:06.789','04:05:06','04:05:06.789','04:05:06.7891','04:05:06+05:30','04:05:06.789-03',
 '1969-12-31 23:59:59.999999','1969-12-31 23:59:59','1969-12-31 23:59:59.999','2024-02-29 01:02:03.1234','2024-02-29 01:02:03.123456',
 '2024-01-01 00:00:00+02','2024-01-01 00:00:00+02','2024-01-01 00:00:00.5+02','2024-01-01 00:00:00.123456+02',
 '1 year 2 mons 3 days 04:05:06.5','happy',7,12.345,
 '{1,NULL,3}','{1,NULL}','{}','{1.50,-2}','{1.50,NULL,20}','{2024-01-01 00:00:00}','{2024-01-01 00:00:00.123}','{2024-01-01 00:00:00.5+00}','{2024-02-29,NULL}','{04:05:06.789}','{04:05:06+05:30}','{t,f,NULL}','{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}','{"{\"a\": 1}"}','{"\\x00ff"}','{1.5,NULL}',
 '<a/>','(1.5,-2)','1','101','1011','1011','CI','a.b','a=>1,b=>NULL','10.0.0.1','a b',
 '(1,1),(0,0)','<(1,2),3>','{1,2,3}','[(0,0),(1,1)]','((0,0),(1,1))','((0,0),(1,1),(1,0))');
INSERT INTO golden(id) VALUES (102);
INSERT INTO golden(id,nn,ti,ti3,tz,ts,ts3,tt,iv,bi,bi3,vb,pa,po) VALUES
 (103,'-123.4500','24:00','24:00','24:00+00','infinity','infinity','infinity','-1 days','0','000','','[(0,0),(1,1)]','((0,0),(1,1),(0,0))'),
 (104,'1e20','00:00','00:00','24:00-03','-infinity','-infinity','-infinity','-1 year -2 mons 3 days -04:05:06.5','1','001','0001','((0,0))','((0,0))'),
 (105,'-0.00','23:59:59.999999','23:59:59.999','23:00-03','0044-03-15 10:00:00 BC','0044-03-15 10:00 BC','0044-03-15 10:00 BC','178000000 years','1','100','111111111',NULL,NULL),
 (106,'100','12:00','12:00','01:00+03','0001-01-01','0001-01-01','10000-01-01 00:00:00+00','1 microsecond','1','010','000000001',NULL,NULL);
