#!/bin/busybox sh
# The first program of the guest of TestLinuxInitiator. It prints one line
# "TEST name: value" for each thing the test wants to know. The kernel's
# command line says where the target is and which secrets to use.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
exec </dev/null

say() { echo "TEST $1: $2"; }
fact() { name=$1; shift; say "$name" "$("$@" 2>&1 | tr -s '\n\t ' ' ')"; }
outcome() { name=$1; shift; out=$("$@" 2>&1) && say "$name" ok || say "$name" "exit $? $(echo $out)"; }
param() { sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }
die() { say died "$1"; dmesg | tail -40; poweroff -f; }

say guest up
portal=$(param portal) iqn=$(param iqn) pattern=/pattern
chunks=$(( $(stat -c %s $pattern) / 65536 ))

modprobe -a virtio_pci virtio_net virtio_rng iscsi_tcp sd_mod crc32c_generic ext4 || die "cannot load modules"
ip link set lo up
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 || die "there is no network card"
mkdir -p /run/lock/iscsi
iscsid || die "cannot start iscsid"

# node writes the record of the target: as the only one, with this secret and
# these digests.
node() {
	iscsiadm -m node -o delete >/dev/null 2>&1
	iscsiadm -m node -o new -T "$iqn" -p "$portal" >/dev/null || die "cannot make a node record"
	set -- node.session.auth.authmethod=CHAP \
		node.session.auth.username=linux node.session.auth.password=$1 \
		node.session.auth.username_in=san node.session.auth.password_in=$2 \
		"node.conn[0].iscsi.HeaderDigest=$3" "node.conn[0].iscsi.DataDigest=$3"
	for setting; do
		iscsiadm -m node -T "$iqn" -p "$portal" -o update -n "${setting%%=*}" -v "${setting#*=}" || die "cannot set $setting"
	done
}
login() { iscsiadm -m node -T "$iqn" -p "$portal" --login; }
logout() { iscsiadm -m node -T "$iqn" -p "$portal" --logout; }
disk() {
	n=0
	until [ -b /dev/sda ]; do
		n=$((n + 1))
		[ $n -lt 200 ] || die "the disk never came"
		usleep 50000
	done
}
writeRaw() { dd if=$pattern of=/dev/sda bs=64k seek=$1 oflag=direct conv=notrunc,fsync; }
readRaw() { dd if=/dev/sda bs=64k skip=$1 count=$chunks iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1; }
attribute() { cat /sys/class/iscsi_$1*/$2; }

fact discovery iscsiadm -m discovery -t sendtargets -p "$portal" -o nonpersistent
node "$(param secret)x" "$(param mutual)" None
outcome wrong-secret login
node "$(param secret)" "$(param mutual)x" None
outcome wrong-mutual-secret login

# A session with digests: a file system, and the end of the target amid writes.
node "$(param secret)" "$(param mutual)" CRC32C
outcome login login
disk
fact header-digest attribute connection/connection header_digest
fact data-digest attribute connection/connection data_digest
fact size blockdev --getsize64 /dev/sda
fact write-cache cat /sys/block/sda/queue/write_cache
fact fua cat /sys/block/sda/queue/fua
fact discard cat /sys/block/sda/queue/discard_max_bytes
outcome raw-write writeRaw "$(param raw)"
fact raw-read readRaw "$(param raw)"

mkdir /mnt
outcome mkfs mkfs.ext4 -q -F /dev/sda 64M
outcome mount mount -t ext4 -o discard /dev/sda /mnt
outcome copy cp $pattern /mnt/kept
cp $pattern /mnt/removed
sync
rm /mnt/removed
outcome fstrim fstrim /mnt
outcome umount umount /mnt
outcome fsck e2fsck -fn /dev/sda
mount -t ext4 -o ro /dev/sda /mnt
fact file-read sh -c 'sha256sum </mnt/kept | cut -d" " -f1'
umount /mnt

lost() { dmesg | grep -c 'detected conn error'; } # the wrong secrets count, too
before=$(lost)
say outage begins
n=0
until [ "$(lost)" -gt "$before" ]; do
	# Zeros first, so that a pattern that gets lost is missed.
	dd if=/dev/zero of=/dev/sda bs=64k seek="$(param outage)" count=$chunks oflag=direct conv=notrunc 2>/dev/null &&
		writeRaw "$(param outage)" 2>/dev/null || say outage-error "in round $n"
	n=$((n + 1))
	[ $n -lt 100 ] || die "the session did not notice that its target is gone"
done
fact outage-state attribute session/session state
fact outage-read readRaw "$(param outage)"
outcome logout logout

# A session without digests sees the same.
node "$(param secret)" "$(param mutual)" None
outcome second-login login
disk
fact second-header-digest attribute connection/connection header_digest
fact second-read readRaw "$(param raw)"
outcome second-logout logout

say dmesg begins
dmesg
say dmesg ends
poweroff -f
