#!/bin/sh
# The world around Nightshift in docker-compose.yml: secrets, a Git repository, and a working tree that
# follows its base branch, as a GitOps agent would.
set -eu
umask 027

secret() { # secret FILE: 32 random bytes as hex, made once
    [ -s "$1" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$1"
    chown root:10001 "$1"
    chmod 640 "$1"
}
secret /run/nightshift/agent-token
secret /run/nightshift/approval.key
secret /run/nightshift/token
chmod 755 /run/nightshift
chmod 644 /run/nightshift/token # Alertmanager runs as a user of its own

export GIT_AUTHOR_NAME="World" GIT_AUTHOR_EMAIL="world@shop.example"
export GIT_COMMITTER_NAME="World" GIT_COMMITTER_EMAIL="world@shop.example"
git config --global --add safe.directory '*'
if [ ! -d /srv/git/shop.git ]; then
    git init --quiet --bare --initial-branch=main /srv/git/shop.git
    git clone --quiet /srv/git/shop.git /srv/live/shop
    mkdir -p /srv/live/shop/services/checkout /srv/live/shop/docs
    cat >/srv/live/shop/services/checkout/config.toml <<'TOML'
pool_size = 32
service_time_ms = 50
queue_timeout_ms = 300
TOML
    echo "# Runbook" >/srv/live/shop/docs/runbook.md
    git -C /srv/live/shop add --all
    git -C /srv/live/shop commit --quiet --message "Import the shop"
    git -C /srv/live/shop push --quiet origin HEAD:main
fi
chown -R 10001:10001 /srv/git
chmod -R a+rX /srv/live
touch /srv/live/ready
while sleep 2; do
    git -C /srv/live/shop pull --quiet --ff-only || echo "pull failed; trying again"
done
