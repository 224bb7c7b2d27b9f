-- Creates the role `platform`, which Dagster and its runs log in as, and gives it the database and
-- all that is in it. Runs at every start: a volume made when Dagster was superuser is upgraded, and
-- a changed POSTGRES_PASSWORD takes effect. REASSIGN OWNED cannot do this: it refuses the objects of
-- the superuser that initdb has created.
\set ON_ERROR_STOP on
-- Not public: `platform` could put an operator there that this script, as superuser, would call.
SET search_path = pg_catalog, pg_temp;
\getenv password POSTGRES_PASSWORD
SET log_min_error_statement = panic; -- a failed statement is logged with its password otherwise

BEGIN;
SELECT 'CREATE ROLE platform' WHERE to_regrole('platform') IS NULL \gexec
ALTER ROLE platform LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS
  PASSWORD :'password';
ALTER ROLE CURRENT_USER PASSWORD NULL;
SELECT format('REVOKE %s FROM platform', roleid::regrole) FROM pg_auth_members
WHERE member = 'platform'::regrole \gexec

ALTER DATABASE dagster OWNER TO platform;
ALTER SCHEMA public OWNER TO pg_database_owner;
-- Tables come first: the sequence of a column changes its owner with the table.
SELECT format('ALTER TABLE %s OWNER TO platform', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relowner <> 'platform'::regrole
  AND relkind IN ('r', 'p', 'v', 'm') \gexec
SELECT format('ALTER SEQUENCE %s OWNER TO platform', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relowner <> 'platform'::regrole
  AND relkind = 'S' \gexec
SELECT format('ALTER TYPE %s OWNER TO platform', oid::regtype) FROM pg_type
WHERE typnamespace = 'public'::regnamespace AND typowner <> 'platform'::regrole
  AND typtype IN ('d', 'e') \gexec
COMMIT;
