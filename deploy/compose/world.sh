#!/bin/sh
# The world around Nightshift in docker-compose.yml: secrets, a Git repository with some days of history,
# and a work tree that follows its base branch, as a GitOps agent would. Everything is made once; a
# start that was cut short is made good by the next.
set -eu

secrets=/run/nightshift
git=/srv/git
live=/srv/live
rm -f "$live/ready"

# secret NAME: 32 random bytes as hex, for root and the user Nightshift runs as.
secret() {
    if [ -s "$secrets/$1" ]; then return; fi
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secrets/$1.new"
    keep "$1" root:10001 640
}

# keep NAME OWNER MODE: the new file takes its place once only its owner can read it.
keep() {
    chown "$2" "$secrets/$1.new"
    chmod "$3" "$secrets/$1.new"
    mv "$secrets/$1.new" "$secrets/$1"
}

umask 077
secret agent-token
secret approval.key
secret token
# Alertmanager runs as nobody and can read its own copy only.
cp "$secrets/token" "$secrets/alertmanager-token.new"
keep alertmanager-token 65534:65534 400
chmod 755 "$secrets"

umask 022 # The service runs as another user and reads what is pulled below.
git config --global --replace-all safe.directory '*'

# commit NAME MINUTES_AGO MESSAGE
commit() {
    mail="$(echo "$1" | tr 'A-Z' 'a-z')@example.org"
    at="@$(($(date +%s) - $2 * 60)) +0000"
    git -C "$tree" add --all
    GIT_AUTHOR_DATE="$at" GIT_COMMITTER_DATE="$at" \
        git -C "$tree" -c user.name="$1 Example" -c user.email="$mail" commit --quiet --message "$3"
}

if [ ! -d "$git/shop.git" ]; then
    tree=$(mktemp -d)
    rm -rf "$git/shop.new"
    git init --quiet --bare --initial-branch=main "$git/shop.new"
    git init --quiet --initial-branch=main "$tree"
    mkdir -p "$tree/services/checkout" "$tree/services/payments" "$tree/dashboards" "$tree/docs"

    printf '# Shop\n\nThe services of a small shop and how they are configured.\n' >"$tree/README.md"
    commit Cleo 4320 "Say what this is"
    printf '[bank]\ntimeout = "2s"\n' >"$tree/services/payments/config.toml"
    commit Ben 2880 "payments: first configuration"
    cat >"$tree/services/checkout/config.toml" <<'TOML'
# How the checkout service runs.

[pool]
size = 20
wait_timeout = "250ms"

[database]
query_time = "100ms"
timeout = "1s"

[cache]
enabled = true
hit_ratio = 0.25
TOML
    commit Ada 1500 "checkout: first configuration"
    printf '{"title": "Checkout", "panels": ["requests", "latency"]}\n' >"$tree/dashboards/checkout.json"
    commit Cleo 45 "dashboards: checkout"
    printf '# Checkout\n\nRequests fail: look at the pool and at its queue.\n' >"$tree/docs/checkout.md"
    commit Cleo 12 "docs: what to do when checkout fails"

    git -C "$tree" push --quiet "$git/shop.new" HEAD:main
    mv "$git/shop.new" "$git/shop.git"
    rm -rf "$tree"
fi
chown -R 10001:10001 "$git"

if [ ! -d "$live/shop" ]; then
    rm -rf "$live/shop.new"
    git clone --quiet "$git/shop.git" "$live/shop.new"
    mv "$live/shop.new" "$live/shop"
fi
touch "$live/ready"
while sleep 2; do
    git -C "$live/shop" pull --quiet --ff-only || echo "pull failed; trying again"
done
