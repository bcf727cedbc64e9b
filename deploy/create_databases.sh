#!/bin/sh
# Install PostgreSQL on a head, and create the databases of the studies and of MLflow. Safe to repeat.
# Data of an earlier head need its major version: if the image no longer has that, this fails instead of starting empty.
set -eu
data=/var/lib/postgresql
version=$(ls "$data" 2>/dev/null | grep -E '^[0-9]+$' | sort -n | tail -n 1 || true)
sudo apt-get update --quiet=2
sudo apt-get install --quiet=2 --yes "postgresql${version:+-$version}"
sudo chown -R postgres: "$data" /etc/postgresql  # in another image the account may have another number
sudo service postgresql start

count() { sudo -u postgres psql --dbname=postgres --tuples-only --no-align --command="SELECT count(*) FROM $1"; }
user=$(id -un)
[ "$(count "pg_roles WHERE rolname = '$user'")" = 1 ] || sudo -u postgres createuser --superuser "$user"
for database in study mlflow; do
    [ "$(count "pg_database WHERE datname = '$database'")" = 1 ] ||
        sudo -u postgres createdb --owner="$user" "$database"
done
