# What an administrator does with the package, in a container of its own. Prints one line for each step, and "all steps
# passed" at the end.
set -eu

fail() {
    echo "FAILED: $1"
    systemctl status segno || true
    journalctl --no-pager --unit segno | tail -40
    exit 1
}

step() {
    echo "ok: $1"
}

# within SECONDS COMMAND...: waits until it succeeds.
within() {
    n=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        n=$((n - 1))
        [ "$n" -gt 0 ] || return 1
        sleep 0.1
    done
}

property() {
    systemctl show --value --property "$1" segno
}

logged() {
    journalctl --no-pager --unit segno | grep -q "$1"
}

# feed EVENTS: whether so many come within some seconds.
feed() {
    curl -sN --max-time 4 -H 'Accept: text/event-stream' http://127.0.0.1:8080/feed >/feed.txt || true
    [ "$(grep -c '^data' /feed.txt)" -ge "$1" ]
}

ip link set lo up 2>/dev/null || true
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive

dpkg --install /segno.deb
step "installed"

systemctl is-active segno || fail "it does not run after the installation"
[ "$(property Type)" = notify ] || fail "Type is $(property Type)"
user="$(stat --format %U "/proc/$(property MainPID)")"
[ "$user" = segno ] || fail "it runs as $user"
[ "$(stat --format '%a %U %G' /etc/segno/segno.toml)" = "640 root segno" ] || fail "rights of the configuration"
[ "$(stat --format '%a %U' /var/lib/segno)" = "700 segno" ] || fail "rights of the state"
step "runs as its own user"

segno demo --listen 127.0.0.1:3000 &
within 3 feed 20 || fail "events: $(head -5 /feed.txt)"
curl -sf http://127.0.0.1:9090/metrics | grep -q '^segno_build_info' || fail "no metrics"
within 10 test -s /var/lib/segno/segno.redb || fail "no store"
step "streams, stores and counts"

cp /etc/segno/segno.toml /good.toml
echo 'heel_for = "1s"' >>/etc/segno/segno.toml
systemctl reload segno && fail "a broken file was taken"
logged 'did you mean .heal_for' || fail "the journal does not say what is wrong"
cp /good.toml /etc/segno/segno.toml
systemctl reload segno || fail "a good file was refused"
within 10 logged 'reloaded' || fail "it did not reload"
systemctl is-active segno || fail "it does not run after a reload"
step "reloads, and refuses a broken file"

before="$(property MainPID)"
kill -9 "$before"
within 20 curl -sf http://127.0.0.1:9090/healthz || fail "it was not started again"
[ "$(property MainPID)" != "$before" ] || fail "it is the same process"
step "is started again after a crash"

exposure="$(systemd-analyze security --no-pager segno | tail -1)"
echo "$exposure"
echo "$exposure" | grep -Eq ' [012]\.[0-9] OK' || fail "exposed: $exposure"
step "is hardened"

man --where segno-proxy >/dev/null || fail "no manual page"
bash -n /usr/share/bash-completion/completions/segno || fail "completions"
step "has manual pages and completions"

systemctl stop segno
[ "$(property Result) $(property ExecMainStatus)" = "success 0" ] || fail "stopped with $(property Result)"
step "stops well"

cp /usr/share/doc/segno/examples/segno.socket /etc/systemd/system/
systemctl daemon-reload
systemctl start segno.socket
within 3 feed 5 || fail "by the socket: $(head -5 /feed.txt)"
systemctl is-active segno || fail "the socket did not start it"
step "is started by its socket"

systemctl restart segno &
restart=$!
refused=0
for _ in $(seq 50); do
    curl -s -o /dev/null --max-time 10 http://127.0.0.1:8080/ || [ "$?" -ne 7 ] || refused=$((refused + 1))
done
wait "$restart" || fail "it did not restart"
[ "$refused" -eq 0 ] || fail "$refused connections were refused during a restart"
step "refuses nobody while it restarts behind its socket"

dpkg --purge segno
[ ! -e /var/lib/segno ] && [ ! -e /etc/segno ] || fail "something is left"
step "is gone when it is purged"

echo "all steps passed"
