#!/bin/sh
# Run by the image of PostgreSQL when it makes its cluster. Everything is asked as a role that owns one database and no
# more: a superuser could switch off what keeps events as they are. The superuser is left for the container's own shell.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --set password="$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE zea LOGIN PASSWORD :'password';
CREATE DATABASE zea OWNER zea;
ALTER ROLE postgres PASSWORD NULL;
SQL
