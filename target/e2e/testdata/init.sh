#!/bin/busybox sh
# The first program of the guest: it brings up what an initiator needs, and
# then connects its shell to the test, at the port that the kernel's command
# line names. The guest ends when the test hangs up.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
exec </dev/null
echo "guest: up"

die() { echo "guest: $1"; sleep 1; poweroff -f; }

modprobe -a $(cat /etc/modules) || die "cannot load modules"
/lib/systemd/systemd-udevd --daemon || die "cannot start udevd"
ip link set lo up
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 || die "there is no network card"
mkdir -p /run/lock/iscsi /mnt
iscsid || die "cannot start iscsid"
nc 10.0.2.2 "$(sed -n 's/.*\bshell=\([^ ]*\).*/\1/p' /proc/cmdline)" -e /bin/sh
poweroff -f
