-- The roles and the database of an install. Once, as a superuser, on Postgres 14 or newer:
--   TENON_OWNER_PASSWORD=... TENON_SERVER_PASSWORD=... psql -v ON_ERROR_STOP=1 -f roles.sql "$SUPERUSER_URL"
\getenv owner_password TENON_OWNER_PASSWORD
\getenv server_password TENON_SERVER_PASSWORD

-- What a server may do: the engine writes and sees all tenants, a reader sees the rows of one. Neither logs in.
CREATE ROLE tenon_engine NOLOGIN;
CREATE ROLE tenon_reader NOLOGIN;

-- Who owns the tables: `tenond migrate` alone logs in as this role.
CREATE ROLE tenon_owner LOGIN PASSWORD :'owner_password';

-- Who the servers are: neither superuser nor owner, so that row-level security holds for them.
CREATE ROLE tenon_server LOGIN PASSWORD :'server_password' IN ROLE tenon_engine, tenon_reader;

CREATE DATABASE tenon OWNER tenon_owner;
REVOKE ALL ON DATABASE tenon FROM PUBLIC;
GRANT CONNECT ON DATABASE tenon TO tenon_server;

\connect tenon
ALTER SCHEMA public OWNER TO tenon_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
