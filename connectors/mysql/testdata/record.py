#!/usr/bin/env python3
"""Records the files of this folder from a MariaDB server that it starts for itself.

Needs `mariadbd`, `mariadb-install-db` and `mariadb` (Debian: mariadb-server), and an ordinary user to run
the server as, given as the first argument if this runs as root; `xa` behind it records `xa.bin` alone. See
README.md.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
USER = sys.argv[1] if len(sys.argv) > 1 else None

CHARSETS = {
    "armscii8": "Հայ", "ascii": "plain", "big5": "中文許功蓋", "cp1250": "žluťoučký", "cp1251": "Привет",
    "cp1256": "سلام", "cp1257": "ąčęėį", "cp850": "façade", "cp852": "žluť", "cp866": "Привет",
    "cp932": "表ソ～①髙", "dec8": "Œuvre", "eucjpms": "日本①～", "euckr": "한국어", "gb2312": "简体·—",
    "gbk": "简体繁體誠", "geostd8": "საქ", "greek": "Ελλά", "hebrew": "שלום", "hp8": "façade",
    "keybcs2": "žluť", "koi8r": "Привет", "koi8u": "Їжак", "latin1": "caf\u00e9 \u20ac\u0081",
    "latin2": "žluť", "latin5": "ığüş", "latin7": "ąčę", "macce": "žluť", "macroman": "façade",
    "sjis": "表ソ〜日本", "swe7": "ÅÄÖ", "tis620": "ไทย", "ucs2": "日本é", "ujis": "日本〜",
    "utf16": "日本😀", "utf16le": "日本😀", "utf32": "日本😀", "utf8mb3": "日本é", "utf8mb4": "日本😀",
}

# Columns: name, definition, kind of its oracle, values (SQL; null where a row has none).
NUMBERS = [
    ("ti", "tinyint", "text", ["-128", "127", "0"]),
    ("tu", "tinyint unsigned", "text", ["0", "255"]),
    ("si", "smallint", "text", ["-32768", "32767"]),
    ("su", "smallint unsigned", "text", ["65535"]),
    ("mi", "mediumint", "text", ["-8388608", "8388607", "-1", "-5"]),
    ("mu", "mediumint unsigned", "text", ["16777215"]),
    ("i", "int", "text", ["-2147483648", "2147483647"]),
    ("iu", "int unsigned", "text", ["4294967295"]),
    ("bi", "bigint", "text", ["-9223372036854775808", "9223372036854775807"]),
    ("bu", "bigint unsigned", "text", ["18446744073709551615", "9223372036854775808", "1"]),
    ("f", "float", "double", ["1.1", "-3.4e38", "1.5e-10"]),
    ("d", "double", "double", ["1.1", "-1.7976931348623157e308", "5e-324"]),
    ("dz", "decimal(10,0)", "text", ["-9999999999", "0", "12"]),
    ("dm", "decimal(30,10)", "text", ["-12345678901234567890.0123456789", "0.0000000001"]),
    ("dl", "decimal(65,30)", "text", ["-" + "9" * 35 + "." + "9" * 30, "9" * 35 + "." + "0" * 29 + "1",
                                      "0.5"]),
    ("ds", "decimal(38,38)", "text", ["-0." + "9" * 38, "0." + "0" * 37 + "1"]),
    ("dn", "decimal(65,0) unsigned", "text", ["9" * 65, "1"]),
    ("dq", "decimal(3,1)", "text", ["-99.9", "0.1"]),
    ("y", "year", "text", ["2155", "1901", "0"]),
    ("b1", "bit(1)", "bits:1", ["b'1'", "b'0'"]),
    ("b10", "bit(10)", "bits:10", ["b'1000000011'", "b'1'"]),
    ("b64", "bit(64)", "bits:64", ["x'8000000000000001'", "b'0'"]),
]
TIMES = [("dt", "date", "date", ["'1000-01-01'", "'9999-12-31'", "'1969-12-31'", "'0000-00-00'",
                                 "'2024-02-31'", "'2024-00-10'", "'0001-01-01'"])]
for digits in range(7):
    part = "9" * digits
    point = "." + part if digits else ""
    TIMES += [
        (f"dt{digits}", f"datetime({digits})", "moment",
         [f"'2024-02-29 23:59:58{point}'", f"'1000-01-01 00:00:00{point}'", "'0000-00-00'",
          "'2023-02-30 10:00:00'", f"'9999-12-31 23:59:59{point}'", "'1969-12-31 23:59:59'"]),
        (f"ts{digits}", f"timestamp({digits}) null", "moment",
         [f"'2024-02-29 23:59:58{point}'", "'1970-01-01 00:00:01'", "'0000-00-00'",
          f"'2038-01-19 03:14:07{point}'"]),
        (f"tm{digits}", f"time({digits})", "text",
         [f"'-838:59:59{'.' + '9' * (digits - 1) + '8' if digits else ''}'", f"'838:59:59'",
          f"'00:00:00{point}'", f"'-00:00:00{point}'", "'00:00:00'", "'-12:34:56.5'", "'23:59:59'"]),
    ]
STRINGS = [
    ("v", "varchar(20)", "text", ["''", "'x'", "'日本😀'"]),
    ("vl", "varchar(300)", "text", ["repeat('ä',300)", "'x'"]),
    ("c", "char(10)", "text", ["'ab  '", "''"]),
    ("cl", "char(255)", "text", ["repeat('ä',255)", "'x'"]),
    ("bn", "binary(4)", "bytes", ["x'01'", "x'0100'", "x'01020304'", "''"]),
    ("bnl", "binary(255)", "bytes", ["repeat(x'ff',255)", "x'00'"]),
    ("vb", "varbinary(10)", "bytes", ["x'0100'", "''"]),
    ("tt", "tinytext", "text", ["'tiny'"]),
    ("t", "text", "text", ["repeat('a',300)", "''"]),
    ("mt", "mediumtext", "text", ["'medium'"]),
    ("lt", "longtext", "text", ["repeat('b',70000)"]),
    ("tb", "tinyblob", "bytes", ["x'00ff'"]),
    ("bl", "blob", "bytes", ["repeat(x'00ff',200)"]),
    ("mb", "mediumblob", "bytes", ["x'01'"]),
    ("lb", "longblob", "bytes", ["x'02'"]),
    ("e", "enum('one','zwö','it''s') character set latin1", "text", ["'one'", "'zwö'", "'it''s'", "'none'"]),
    ("s", "set('a','ö','c') character set latin2", "text", ["'a,c'", "''", "'a,ö,c'"]),
    ("eu", "enum('ä','日') character set utf16", "text", ["'日'", "'ä'"]),
    ("sx", "set('ä','x') character set ucs2", "text", ["'ä,x'"]),
    ("s64", "set(" + ",".join(f"'m{i}'" for i in range(64)) + ")", "text", ["'m0,m63'", "'m7'"]),
    ("el", "enum(" + ",".join(f"'e{i}'" for i in range(300)) + ")", "text", ["'e299'", "'e0'"]),
    ("j", "json", "text", ["'{\"b\": 1,  \"a\": [1.0]}'"]),
    ("g", "geometry", "geometry", ["ST_GeomFromText('POINT(1 2)', 4326)",
                                   "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]),
    ("pt", "point", "geometry", ["ST_GeomFromText('POINT(-1.5 2)')"]),
    ("u", "uuid", "text", ["'01234567-89ab-1def-8123-456789abcdef'", "'ffffffff-ffff-7fff-bfff-000000000000'",
                           "'00000000-0000-0000-0000-000000000000'"]),
    ("i4", "inet4", "text", ["'1.2.3.4'", "'0.0.0.0'", "'255.0.0.0'"]),
    ("i6", "inet6", "text", ["'::1'", "'::'", "'2001:db8::'", "'::ffff:1.2.3.4'"]),
    ("vc", "varchar(10) compressed", "text", ["repeat('ä',10)", "''"]),
    ("vcl", "varchar(2000) compressed", "text", ["repeat('ab',1000)"]),
    ("tc", "text compressed", "text", ["repeat('日本',300)", "'x'"]),
    ("bc", "blob compressed", "bytes", ["repeat(x'00',500)", "''"]),
    ("h", "varchar(5) invisible", "text", ["'h'"]),
    ("gv", "int as (length(v)) virtual", "text", None),
    ("gp", "int as (length(v) + 1) persistent", "text", None),
]
TABLES = {
    "numbers": NUMBERS,
    "times": TIMES,
    "strings": STRINGS,
    "charsets": [(f"c_{name}", f"varchar(30) character set {name}", "text", [f"'{text}'", "'plain'"])
                 for name, text in CHARSETS.items()],
}

CHANGES = """
create table t (id int primary key, a varchar(20), b text, c int default 7);
insert into t values (1,'one','b1',1),(2,'two',null,2),(3,'three','b3',3);
update t set id = 20 where id = 2;
begin; insert into t values (4,'four','b4',4); savepoint s; insert into t values (5,'five','b5',5);
rollback to savepoint s; update t set c = c + 1; commit;
delete from t where id = 3;
set session binlog_row_image = 'MINIMAL';
update t set a = 'uno' where id = 1; delete from t where id = 20; insert into t (id) values (6);
set session binlog_row_image = 'NOBLOB';
update t set c = 9 where id = 1; update t set b = 'new' where id = 1;
set session binlog_row_image = 'FULL';
alter table t add column d date after a; insert into t values (7,'seven','2024-02-29','b7',7);
truncate table t;
create table m (x int, y int) engine = myisam; insert into m values (1,2);
xa start 'g','b',7; insert into t (id) values (8); xa end 'g','b',7; xa prepare 'g','b',7;
xa commit 'g','b',7;
create table defaults (a int auto_increment primary key, b int default 1);
insert into defaults values ();
set global log_bin_compress = on; set global log_bin_compress_min_len = 10;
"""
COMPRESSED = """
insert into t (id, a, b) values (9,'nine',repeat('compress me ',100)),(10,'ten',null);
update t set b = repeat('again ',100) where id = 9; delete from t where id = 9;
create table q (x int comment 'a comment that makes the statement long enough to be compressed');
"""

# Distributed transactions: each entry is a session of its own.
XA = [
    "create database x; create table x.t (id int primary key, n int); create table x.u (id int primary key);",
    "xa start 'a','b',1; insert into x.t values (1,1),(2,2); update x.t set n = 20 where id = 2; "
    "xa end 'a','b',1; xa prepare 'a','b',1;",
    "insert into x.t values (3,3);",
    "xa start 'rolled back'; insert into x.t values (9,9); xa end 'rolled back'; xa prepare 'rolled back';",
    "xa start 'stranger'; insert into x.u values (1); xa end 'stranger'; xa prepare 'stranger';",
    "insert into x.t values (4,4);",
    "xa commit 'a','b',1;",
    "xa rollback 'rolled back';",
    "xa commit 'stranger';",
    "xa start 'one'; insert into x.t values (5,5); xa end 'one'; xa commit 'one' one phase;",
    "xa start 'both'; insert into x.u values (2); insert into x.t values (6,6); insert into x.u values (3); "
    "xa end 'both'; xa prepare 'both'; xa commit 'both';",
    "insert into x.t values (7,7);",
]


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.socket = folder / "s.sock"
        data = folder / "data"
        prefix = ["runuser", "-u", USER, "--"] if USER else []
        if USER:
            shutil.chown(folder, USER)
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
                        "--auth-root-authentication-method=normal"] + ([f"--user={USER}"] if USER else []),
                       check=True, capture_output=True)
        options = ["--skip-networking", "--server-id=101", "--log-bin=mybin", "--binlog-format=ROW",
                   "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--binlog-checksum=CRC32",
                   "--binlog-annotate-row-events=ON", "--gtid-strict-mode=ON", "--log-slave-updates=ON",
                   "--character-set-server=utf8mb4", "--default-time-zone=+00:00", "--sql-mode="]
        self.process = subprocess.Popen(prefix + ["mariadbd", "--no-defaults", f"--datadir={data}",
                                                  f"--socket={self.socket}"] + options,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()
        self.sql("create database shop character set utf8mb4")

    def wait(self):
        for _ in range(300):
            try:
                self.sql("select 1")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.1)
        raise SystemExit("the server does not start")

    def sql(self, text, database=""):
        command = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.socket}", "-N", "-B",
                   "--default-character-set=utf8mb4", database]
        return subprocess.run([c for c in command if c], input=text, text=True, check=True,
                              capture_output=True).stdout

    def log_into(self, name, text):
        """Runs statements, all of whose events go into one file of the log, which is kept."""
        self.sql("flush binary logs")
        for session in [text] if isinstance(text, str) else text:
            self.again(session)
        file = self.sql("show master status").split()[0]
        self.sql("flush binary logs")
        shutil.copyfile(self.folder / "data" / file, HERE / name)

    def again(self, text):
        """A prepared transaction can be ended once the session that prepared it is gone."""
        for attempt in range(50):
            try:
                return self.sql(text, "shop")
            except subprocess.CalledProcessError as error:
                if "XAER_NOTA" not in error.stderr or attempt == 49:
                    raise
                time.sleep(0.1)

    def stop(self):
        self.sql("shutdown")
        self.process.wait()


def create(name, columns):
    definitions = ", ".join(f"`{column}` {definition}" for column, definition, _, _ in columns)
    return f"create table {name} (id int primary key, {definitions})"


def inserts(name, columns):
    rows = max(len(values) for *_, values in columns if values is not None)
    named = [column for column in columns if column[3] is not None]
    names = ", ".join(f"`{column[0]}`" for column in named)
    for row in range(rows + 1):
        values = ", ".join(c[3][row] if row < len(c[3]) else "null" for c in named)
        yield f"insert into {name} (id, {names}) values ({row}, {values})"


def oracles(column, kind):
    """What is asked of the server about a column: the kind of the answer and an expression."""
    c = f"`{column}`"
    text = f"convert(cast({c} as char) using utf8mb4)"
    if kind.startswith("bits:"):
        return [("text", f"lpad(bin({c}), {kind[5:]}, '0')")]
    return {
        "text": [("text", text)],
        "bytes": [("bytes", c)],
        "double": [("double", f"cast({c} as double)")],
        "date": [("datetext", text), ("days", f"datediff({c}, '1970-01-01')")],
        "moment": [("datetext", text), ("micros", f"timestampdiff(microsecond, '1970-01-01', {c})")],
        "geometry": [("wkb", f"ST_AsWKB({c})"), ("srid", f"ST_SRID({c})")],
    }[kind]


def record_types(server):
    statements = ["set session sql_mode = 'ALLOW_INVALID_DATES'"]
    for name, columns in TABLES.items():
        statements.append(create(name, columns))
        statements += inserts(name, columns)
    (HERE / "types.sql").write_text(";\n".join(statements[1:]) + ";\n")
    server.log_into("types.bin", ";\n".join(statements) + ";")
    with open(HERE / "types.tsv", "w") as out:
        for name, columns in TABLES.items():
            for column, _, kind, _ in columns:
                for answer, expression in oracles(column, kind):
                    rows = server.sql(f"set sql_mode = 'ALLOW_INVALID_DATES'; select id, hex({expression}) "
                                      f"from {name} order by id", "shop")
                    if answer in ("days", "micros", "srid", "double"):
                        rows = server.sql(f"set sql_mode = 'ALLOW_INVALID_DATES'; select id, {expression} "
                                          f"from {name} order by id", "shop")
                    for line in rows.splitlines():
                        row, value = line.split("\t")
                        out.write(f"{name}\t{row}\t{column}\t{answer}\t{value}\n")


SINGLE = ("latin2 dec8 cp850 latin1 hp8 koi8r swe7 ascii cp1251 hebrew tis620 latin7 koi8u greek cp1250 "
          "cp1257 latin5 armscii8 cp866 keybcs2 macce macroman cp852 cp1256 geostd8").split()
MULTI = "big5 gbk gb2312 euckr sjis cp932 ujis eucjpms".split()


def runs(characters):
    """Characters by their bytes, in runs: `from=a,b`."""
    found = []
    for number, length, character in sorted(characters):
        if found and found[-1][1] == length and number == found[-1][0] + len(found[-1][2]):
            found[-1][2].append(character)
        else:
            found.append((number, length, [character]))
    return " ".join(f"{number:0{2 * length}x}=" + ",".join(f"{c:x}" for c in characters)
                    for number, length, characters in found)


def single(server, charset):
    asked = ",".join(f"hex(convert(_{charset} X'{byte:02X}' using utf32))" for byte in range(256))
    answers = [int(answer, 16) for answer in server.sql(f"select {asked}").split()]
    return [(byte, 1, answer) for byte, answer in enumerate(answers)
            if answer != 0xFFFD and (answer != 0x3F or byte == 0x3F)]


def multi(server, charset):
    sequences = ["select unhex(hex(seq)) from seq_128_to_255",
                 "select unhex(hex(seq)) from seq_33024_to_65535"]
    if charset in ("ujis", "eucjpms"):
        sequences.append(f"select unhex(hex(seq + {0x8F0000})) from seq_41377_to_65535")
    server.sql(f"create or replace table c (b varchar(4) character set {charset}) engine = aria; "
               + "; ".join(f"insert into c {sequence}" for sequence in sequences), "shop")
    found = []
    for line in server.sql("select distinct hex(b), hex(convert(b using utf32)) from c "
                           "where length(b) > 0", "shop").splitlines():
        written, answer = line.split("\t")
        answer = int(answer, 16)
        # What is cut to nothing, or to signs of ASCII behind a lost lead byte, was no character.
        if answer in (0x3F, 0xFFFD) or answer > 0x10FFFF or (answer < 0x20 and len(written) > 2):
            continue
        found.append((int(written, 16), len(written) // 2, answer))
    return found


def record_lists(server):
    with open(HERE / "collations.txt", "w") as out:
        out.write(server.sql("select character_set_name, id from "
                             "information_schema.collation_character_set_applicability order by id"))
    with open(HERE / "characters.txt", "w") as out:
        for charset in SINGLE:
            out.write(f"{charset} {runs(single(server, charset))}\n")
        for charset in MULTI:
            out.write(f"{charset} {runs(multi(server, charset))}\n")
    numbers = [line.split("\t")[0] for line in open(HERE / "doubles.txt")]
    printed = server.sql("".join(f"select cast('{number}' as double);" for number in numbers)).split()
    with open(HERE / "doubles.txt", "w") as out:
        out.writelines(f"{number}\t{text}\n" for number, text in zip(numbers, printed))
    addresses = [line.split("\t")[1].strip() for line in open(HERE / "inet6.txt")]
    with open(HERE / "inet6.txt", "w") as out:
        for address in addresses:
            out.write(server.sql(f"select hex(cast('{address}' as inet6)), cast('{address}' as inet6)"))


def record(server):
    record_types(server)
    server.log_into("changes.bin", CHANGES)
    server.log_into("xa.bin", XA)
    server.log_into("compressed.bin", COMPRESSED)
    server.sql("set global log_bin_compress = off")
    server.sql("set global mysql56_temporal_format = off")
    times = [c for c in TIMES if c[0] != "dt"]
    statements = ["set session sql_mode = 'ALLOW_INVALID_DATES'", create("old_times", times)]
    statements += [s for s in inserts("old_times", times)]
    server.log_into("old_times.bin", ";\n".join(statements) + ";")
    server.sql("set global mysql56_temporal_format = on")
    with open(HERE / "old_times.tsv", "w") as out:
        for column, _, _, _ in times:
            expression = f"hex(convert(cast(`{column}` as char) using utf8mb4))"
            for line in server.sql(f"select id, {expression} from old_times order by id", "shop").splitlines():
                row, value = line.split("\t")
                out.write(f"old_times\t{row}\t{column}\tdatetext\t{value}\n")
    server.sql("set global binlog_row_metadata = NO_LOG")
    server.log_into("no_metadata.bin", "insert into m values (3,4);")
    server.sql("set global binlog_row_metadata = FULL; set global binlog_checksum = NONE")
    server.log_into("no_checksums.bin", "insert into m values (5,6);")
    record_lists(server)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        server = Server(pathlib.Path(folder))
        try:
            server.log_into("xa.bin", XA) if sys.argv[2:] == ["xa"] else record(server)
        finally:
            server.stop()


main()
