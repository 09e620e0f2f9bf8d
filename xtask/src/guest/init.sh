#!/bin/sh
# The guest's first process: mounts, loads modules, runs /test/run, reports on the second serial port, powers off.
export PATH=/test:/usr/local/bin:/usr/sbin:/usr/bin HOME=/

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo 'ctwatch-guest: booted' >/dev/ttyS1

mkdir -p /dev/pts /dev/shm /dev/net
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null

while read -r module options; do
    insmod "/mods/$module" $options || echo "insmod $module failed" >&2
done </mods/order
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200

hostname guest
ip link set lo up
echo 1048576 >/proc/sys/fs/nr_open
echo 1048576 >/proc/sys/fs/file-max
ulimit -n 1048576

# Line ends are the business of the terminal the console's output ends up on.
stty -onlcr </dev/console

if [ -n "$ctwatch_terminal" ]; then
    [ -n "$ctwatch_columns" ] && stty cols "$ctwatch_columns" rows "$ctwatch_rows" </dev/console
    /test/run </dev/null
    code=$?
else
    # A pipe, so that programs write what they write into a pipe anywhere: no colours, no redrawing. Whatever the
    # command leaves running may keep the pipe open; that must not keep the guest up.
    mkfifo /run/output
    cat /run/output &
    reader=$!
    /test/run </dev/null >/run/output 2>&1
    code=$?
    waited=0
    while kill -0 "$reader" 2>/dev/null && [ "$waited" -lt 50 ]; do
        usleep 100000
        waited=$((waited + 1))
    done
fi

# Setting a terminal waits until it has sent what it holds; closing the port does so too.
stty onlcr </dev/console
# The kernel's own farewell is none of the command's output.
echo 0 >/proc/sys/kernel/printk
echo "ctwatch-guest: exit $code" >/dev/ttyS1
poweroff -f
