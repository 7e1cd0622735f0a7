//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// login says how to log in.
type login struct {
	iqn      string // the usual one if empty
	port     int
	iface    string   // "second" is another initiator, "" the usual one
	settings []string // of iscsid.conf
}

// node are the arguments of iscsiadm that name the login.
func (l login) node() string {
	return fmt.Sprintf("-m node -T %s -p %s:%d -I %s", l.target(), gateway, l.port, l.interfaceName())
}

func (l login) target() string {
	if l.iqn == "" {
		return iqn
	}
	return l.iqn
}

func (l login) interfaceName() string {
	if l.iface == "" {
		return "default"
	}
	return l.iface
}

// tryLogin logs in, and returns what iscsiadm said and its exit status.
func (g *guest) tryLogin(t *testing.T, l login) (string, int) {
	t.Helper()
	conf := append([]string{"node.startup = manual", "node.session.initial_login_retry_max = 1"}, l.settings...)
	return g.try(t, fmt.Sprintf("cat >/etc/iscsi/iscsid.conf <<'END'\n%s\nEND\niscsiadm %s -o new >/dev/null && iscsiadm %[2]s --login",
		strings.Join(conf, "\n"), l.node()))
}

// login logs in.
func (g *guest) login(t *testing.T, l login) {
	t.Helper()
	if out, status := g.tryLogin(t, l); status != 0 {
		t.Fatalf("cannot log in: exit status %d\n%s", status, out)
	}
	g.run(t, "udevadm settle -t 30") // it opens each new disk, to see what is on it
}

// logout logs out.
func (g *guest) logout(t *testing.T, l login) {
	t.Helper()
	g.run(t, fmt.Sprintf("iscsiadm %s --logout && iscsiadm %[1]s -o delete", l.node()))
}

// sysfs prints a line "target port initiator session H:C:T:L disk" for each disk of
// the sessions.
const sysfs = `for s in /sys/class/iscsi_session/session*; do
	[ -d $s ] || continue
	n=${s##*/session}
	for d in $s/device/target*/*:*:*:*/block/*; do
		[ -d $d ] || continue
		l=${d%/block/*}
		echo $(cat $s/targetname) $(cat /sys/class/iscsi_connection/connection$n:0/persistent_port) $(cat $s/initiatorname) $n ${l##*/} ${d##*/}
	done
done`

// disk is a logical unit as the guest sees it.
type disk struct {
	session string // its number
	address string // H:C:T:L
	name    string // as in sda
}

func (d disk) dev() string   { return "/dev/" + d.name }
func (d disk) block() string { return "/sys/block/" + d.name }

// disks returns the units of a session by their numbers.
func (g *guest) disks(t *testing.T, l login) map[string]disk {
	t.Helper()
	who := initiator
	if l.iface == "second" {
		who = second
	}
	all := make(map[string]disk)
	for line := range strings.Lines(g.run(t, sysfs)) {
		f := strings.Fields(line)
		if len(f) != 6 {
			t.Fatalf("unexpected line about disks: %q", line)
		}
		if f[0] == l.target() && f[1] == fmt.Sprint(l.port) && f[2] == who {
			all[f[4][strings.LastIndexByte(f[4], ':')+1:]] = disk{session: f[3], address: f[4], name: f[5]}
		}
	}
	return all
}

// disk returns a unit of a session.
func (g *guest) disk(t *testing.T, l login, lun string) disk {
	t.Helper()
	all := g.disks(t, l)
	d, ok := all[lun]
	if !ok {
		t.Fatalf("the session has no LUN %s: %v", lun, all)
	}
	return d
}

// tidy ends what a scenario has left, and checks what the kernel has said.
func (g *guest) tidy(t *testing.T, excuse string) {
	t.Helper()
	if g.lost {
		return
	}
	g.try(t, "touch /run/stop; umount /mnt; multipath -F; multipathd shutdown")
	g.try(t, "iscsiadm -m node -U all; iscsiadm -m session -u; iscsiadm -m node -o delete")
	if left := g.run(t, "ls /sys/class/iscsi_session; ls /sys/block | grep -v '^loop' || true"); left != "" {
		t.Errorf("there is something left after logging out: %s", left)
	}
	g.kernelLog(t, excuse)
}
