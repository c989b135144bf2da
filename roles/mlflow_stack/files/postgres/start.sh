#!/bin/sh
# Starts PostgreSQL in the container of service postgres, on a cluster that is made where there is none. Arguments are the server's.
set -eu
umask 077

home=/var/lib/postgresql
cluster=$home/cluster
config=/etc/mlflow_postgres

die() { echo "start.sh: $*" >&2; exit 1; }

# One statement a line. A statement that fails ends it, and is not logged, since it may hold the password.
single_user() {
  "$bin/postgres" --single -D "$1" -c exit_on_error=true -c log_min_error_statement=panic postgres >/dev/null
}

make_cluster() {
  rm -rf "$cluster.new"
  "$bin/initdb" --pgdata="$cluster.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums \
    --auth-local=peer --auth-host=scram-sha-256 --no-instructions
  single_user "$cluster.new" <<'SQL'
CREATE ROLE mlflow LOGIN
CREATE DATABASE mlflow OWNER mlflow
SQL
  # Complete and on disk before it has its name, so that a power cut leaves no half-made cluster that looks like one.
  mv "$cluster.new" "$cluster"
  sync "$home"
}

# The server holds this lock for as long as it lives, across containers. Its own lock file names a process id, which after a
# power cut is likely that of another process here, so that it would refuse to start.
exec 9>"$home/lock"
flock --nonblock 9 || die "another container runs PostgreSQL on this volume"
rm -f "$cluster/postmaster.pid"

if [ -d "$cluster" ]; then
  version=$(cat "$cluster/PG_VERSION")
  bin=/usr/lib/postgresql/$version/bin
  [ -x "$bin/postgres" ] || die "the volume holds a cluster of PostgreSQL $version, and this image has" /usr/lib/postgresql/* \
    "only: go back to the image before, and let playbooks/upgrade.yml bring the database over"
else
  for bin in /usr/lib/postgresql/*/bin; do :; done
  make_cluster
fi

password=$(cat /run/secrets/postgres_password)
printf "ALTER ROLE mlflow PASSWORD '%s'\n" "$password" | single_user "$cluster"

exec "$bin/postgres" -D "$cluster" -c listen_addresses='*' -c hba_file=$config/pg_hba.conf -c unix_socket_directories=/tmp "$@"
