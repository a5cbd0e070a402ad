-- What pipelines read of source {source}, for an event trigger. Written by `tidemesh event-trigger`: run that
-- again when pipelines or tables are others. Only a superuser may create event triggers.
BEGIN;
SET LOCAL standard_conforming_strings = on;
CREATE SCHEMA IF NOT EXISTS tidemesh;
DO $install$
DECLARE
    told jsonb := {tables};
    missing text;
    known jsonb;
BEGIN
    SELECT string_agg(quoted, ', ') INTO missing
    FROM jsonb_to_recordset(told) AS t(quoted text) WHERE to_regclass(quoted) IS NULL;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'there is no table % in this database', missing
            USING HINT = 'connect to the database that source {source} captures';
    END IF;
    -- Tables and columns by their numbers, which are the same under other names.
    SELECT jsonb_agg(jsonb_build_object(
        'id', t.quoted::regclass::oid::bigint, 'name', t.name, 'readers', t.readers,
        'key', (SELECT indkey::text FROM pg_index
                WHERE indrelid = t.quoted::regclass AND indisprimary),
        'columns', (SELECT jsonb_agg(jsonb_build_object(
                        'number', a.attnum, 'name', c.name, 'held', c.held, 'upgraded', c.upgraded,
                        'type', format_type(a.atttypid, a.atttypmod)))
                    FROM jsonb_to_recordset(t.columns) AS c(name text, held text, upgraded text)
                    JOIN pg_attribute a ON a.attrelid = t.quoted::regclass AND a.attname = c.name
                        AND a.attnum > 0 AND NOT a.attisdropped)))
    INTO known
    FROM jsonb_to_recordset(told) AS t(quoted text, name text, readers text, columns jsonb);
    EXECUTE format($make$
CREATE OR REPLACE FUNCTION tidemesh.{function}() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    known CONSTANT jsonb := %L;
    ask CONSTANT text := 'tidemesh impact --source ' || %L || ' --table ';
    found record;
BEGIN
    IF current_setting('tidemesh.event_trigger', true) = 'off' THEN
        RETURN;
    END IF;
    FOR found IN
        WITH tables AS (
            SELECT * FROM jsonb_to_recordset(known)
                AS t(id bigint, name text, readers text, key text, columns jsonb)
        ), altered AS (
            SELECT t.*, format('%%s.%%s', n.nspname, r.relname) AS now
            FROM tables t
            JOIN pg_class r ON r.oid = t.id::oid
            JOIN pg_namespace n ON n.oid = r.relnamespace
            WHERE TG_EVENT = 'ddl_command_end' AND t.id IN (
                SELECT objid::bigint FROM pg_event_trigger_ddl_commands()
                WHERE classid = 'pg_class'::regclass)
        ), columns AS (
            SELECT t.name AS of, c.*, a.attisdropped, a.attname,
                format_type(a.atttypid, a.atttypmod) AS now
            FROM altered t
            CROSS JOIN jsonb_to_recordset(t.columns)
                AS c(number int2, name text, held text, upgraded text, type text)
            JOIN pg_attribute a ON a.attrelid = t.id::oid AND a.attnum = c.number
        )
        SELECT format('table %%s is dropped, and pipelines read it', t.name) AS what,
            t.readers AS who, true AS holds, NULL AS ask
        FROM tables t
        WHERE TG_EVENT = 'sql_drop' AND t.id IN (
            SELECT objid::bigint FROM pg_event_trigger_dropped_objects()
            WHERE classid = 'pg_class'::regclass AND objsubid = 0)
        UNION ALL
        SELECT format('table %%s gets the name %%s, and pipelines read it', name, now), readers, true, NULL
        FROM altered WHERE now <> name
        UNION ALL
        SELECT format('the key of table %%s becomes another, and pipelines read it', name), readers,
            false, name || ' --key COLUMNS'
        FROM altered
        WHERE key IS DISTINCT FROM (
            SELECT indkey::text FROM pg_index WHERE indrelid = altered.id::oid AND indisprimary)
        UNION ALL
        SELECT format('column %%I of table %%s is dropped, and pipelines read it', name, of),
            coalesce(held, upgraded), held IS NOT NULL,
            format('%%s --drop-column %%s', of, quote_literal(name))
        FROM columns WHERE attisdropped
        UNION ALL
        SELECT format('column %%I of table %%s gets the name %%I, and pipelines read it', name, of, attname),
            coalesce(held, upgraded), held IS NOT NULL,
            format('%%s --rename %%s', of, quote_literal(name || '=' || attname))
        FROM columns WHERE NOT attisdropped AND attname <> name
        UNION ALL
        SELECT format('column %%I of table %%s gets the type %%s, and pipelines read it', name, of, now),
            coalesce(held, upgraded), false,
            format('%%s --type %%s', of, quote_literal(name || '=' || now))
        FROM columns WHERE NOT attisdropped AND now <> type
    LOOP
        IF %L = 'refuse' AND found.holds THEN
            RAISE EXCEPTION '%%', found.what USING ERRCODE = 'dependent_objects_still_exist',
                DETAIL = found.who, HINT = concat_ws('; ', 'ask for all of it: ' || ask || found.ask,
                    'to do it all the same: SET tidemesh.event_trigger = off');
        END IF;
        RAISE WARNING '%%', found.what USING
            DETAIL = found.who, HINT = coalesce('ask for all of it: ' || ask || found.ask, '');
    END LOOP;
END
$function$$make$, known, {name}, {mode});
END
$install$;
{drop}CREATE EVENT TRIGGER {altered} ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION tidemesh.{function}();
CREATE EVENT TRIGGER {dropped} ON sql_drop EXECUTE FUNCTION tidemesh.{function}();
COMMIT;
