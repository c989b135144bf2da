# SPDX-License-Identifier: Apache-2.0
"""What a user owns in a database of PostgreSQL's."""

from mlflow_sftp.database.database import SCHEMA_LOCK

# Objects of the schema public, owned by the user; what an extension or a table brought goes with that. Each is
# dropped as soon as nothing depends on it, and what somebody else's object depends on is an error.
DROP_ALL = f"""
DO $drop$
DECLARE
  here constant oid := 'public'::regnamespace;
  mine constant oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
  waiting text[];
  kept text[];
  each text;
BEGIN
  IF NOT pg_try_advisory_xact_lock({SCHEMA_LOCK}) THEN
    RAISE EXCEPTION 'another mlflow-sftp migrates or restores it now';
  END IF;
  WITH part AS (SELECT classid, objid FROM pg_depend WHERE deptype IN ('a', 'e', 'i') AND objsubid = 0),
  own AS (
    SELECT relkind, format('%I.%I', 'public', relname) AS name FROM pg_class
    WHERE relnamespace = here AND relowner = mine AND NOT relispartition
      AND ('pg_class'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
  ),
  statements AS (
    SELECT 'DROP TABLE ' || string_agg(name, ', ') AS statement FROM own WHERE relkind IN ('r', 'p')
    UNION ALL SELECT 'DROP VIEW ' || name FROM own WHERE relkind = 'v'
    UNION ALL SELECT 'DROP MATERIALIZED VIEW ' || name FROM own WHERE relkind = 'm'
    UNION ALL SELECT 'DROP FOREIGN TABLE ' || name FROM own WHERE relkind = 'f'
    UNION ALL SELECT 'DROP SEQUENCE ' || name FROM own WHERE relkind = 'S'
    UNION ALL SELECT 'DROP TYPE ' || name FROM own WHERE relkind = 'c'
    UNION ALL SELECT format('DROP TYPE %I.%I', 'public', typname) FROM pg_type
      WHERE typnamespace = here AND typowner = mine AND typtype IN ('d', 'e', 'r')
        AND ('pg_type'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
    UNION ALL SELECT 'DROP ROUTINE ' || oid::regprocedure FROM pg_proc
      WHERE pronamespace = here AND proowner = mine
        AND ('pg_proc'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
  )
  SELECT array_agg(statement) INTO waiting FROM statements WHERE statement IS NOT NULL;
  WHILE waiting IS NOT NULL LOOP
    kept := NULL;
    FOREACH each IN ARRAY waiting LOOP
      BEGIN
        EXECUTE each;
      EXCEPTION WHEN dependent_objects_still_exist THEN
        kept := kept || each;
      END;
    END LOOP;
    IF cardinality(kept) = cardinality(waiting) THEN
      EXECUTE kept[1];
    END IF;
    waiting := kept;
  END LOOP;
END
$drop$;
"""  # noqa: S608  # a number of ours

# What there is besides tables in the schema to which tables go that name none, whoever made it; what an extension or a
# table brought is none of it.
FURTHER = """
WITH part AS (SELECT classid, objid FROM pg_depend WHERE deptype IN ('a', 'e', 'i') AND objsubid = 0),
here AS (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' WHEN 'f' THEN 'foreign table ' ELSE 'sequence '
  END || relname FROM pg_class
  WHERE relnamespace IN (SELECT oid FROM here) AND relkind IN ('v', 'm', 'f', 'S') AND NOT relispartition
    AND ('pg_class'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
UNION ALL SELECT 'type ' || typname FROM pg_type
  WHERE typnamespace IN (SELECT oid FROM here)
    AND (typtype IN ('d', 'e', 'r') OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
    AND ('pg_type'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
UNION ALL SELECT 'routine ' || proname FROM pg_proc
  WHERE pronamespace IN (SELECT oid FROM here)
    AND ('pg_proc'::regclass::oid, oid) NOT IN (SELECT classid, objid FROM part)
ORDER BY 1
"""

# Who else is connected to the database; autovacuum and the like are nobody.
SESSIONS = """
SELECT DISTINCT usename || coalesce(' from ' || host(client_addr), '') FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL
"""

# What the triggers of tables call, in the same schema; MLflow's migrations make such.
TRIGGER_ROUTINES = """
SELECT DISTINCT tgfoid::regprocedure::text FROM pg_trigger
  JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
  WHERE NOT tgisinternal AND pronamespace = relnamespace
    AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relname = ANY(%s)
"""
