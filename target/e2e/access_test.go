//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// discovery finds the target, and doesn't find one of others.
func discovery(t *testing.T, r *rig) {
	mine := r.serve(t, "--lun", "0=mem:16M", "--iqn", iqn, "--initiator", strings.ToUpper(initiator))
	other := r.serve(t, "--lun", "0=mem:16M", "--iqn", iqn, "--initiator", second)
	send := "iscsiadm -m discovery -t sendtargets -I default -o nonpersistent -p " + gateway
	for i, port := range mine.ports {
		want := fmt.Sprintf("127.0.0.1:%d,1 %s\n127.0.0.1:%d,1 %[2]s", port, iqn, mine.ports[1-i])
		if got := r.run(t, fmt.Sprintf("%s:%d", send, port)); got != want {
			t.Errorf("discovery at port %d says %q, want %q", port, got, want)
		}
	}
	if got, status := r.try(t, fmt.Sprintf("%s:%d", send, other.ports[0])); status != 21 {
		t.Errorf("the target of others is shown: exit status %d, %q", status, got)
	}
	if got, status := r.tryLogin(t, login{port: other.ports[0]}); status != 24 {
		t.Errorf("logged in to the target of others: exit status %d, %q", status, got)
	}
	r.login(t, login{port: mine.ports[1]})
	r.disk(t, login{port: mine.ports[1]}, "0")
}

// found logs in to what discovery says, as people do. redirected is told to go
// elsewhere when it logs in.
func found(t *testing.T, r *rig) {
	ports, from := [2]int{freePort(t), freePort(t)}, [2]int{freePort(t), freePort(t)}
	const text = `listen = ["127.0.0.1:%d", "127.0.0.1:%d"]
advertise = ["10.0.2.2:%d"]
[[target]]
iqn = %q
initiators = ["*"]
%s
[[target.lun]]
number = 0
path = "mem:16M"
serial = %q
`
	r.serveConfig(t, writeConfig(t, fmt.Sprintf(text, ports[0], ports[1], ports[0], iqn, "", "HERE")), ports)
	redirect := fmt.Sprintf("redirect = { address = \"10.0.2.2:%d\", permanent = false }", ports[1])
	r.serveConfig(t, writeConfig(t, fmt.Sprintf(text, from[0], from[1], from[0], iqn, redirect, "NOT HERE")), from)
	for _, tt := range []struct{ ask, session int }{{ports[0], ports[0]}, {from[0], ports[1]}} {
		r.run(t, fmt.Sprintf("iscsiadm -m discovery -t sendtargets -I default -p %s:%d --login && udevadm settle -t 30", gateway, tt.ask))
		const port = "cat /sys/class/iscsi_connection/connection*/persistent_port /sys/class/iscsi_connection/connection*/port"
		if got, want := r.run(t, port), fmt.Sprintf("%d\n%d", tt.ask, tt.session); got != want {
			t.Errorf("asked at port %d, the ports of the session are %q, want %q", tt.ask, got, want)
		}
		if got := r.run(t, "sg_inq /dev/sd?"); !strings.Contains(got, "serial number: HERE") {
			t.Errorf("asked at port %d, the disk is:\n%s", tt.ask, got)
		}
		r.run(t, "iscsiadm -m session -u && iscsiadm -m node -o delete")
	}
}

// chap logs in with all that open-iscsi can do, and tries wrong secrets.
func chap(t *testing.T, r *rig) {
	const secret, mutual = "a-secret-of-linux", "a-secret-of-the-san"
	d := r.serve(t, "--lun", "0=mem:16M", "--iqn", iqn, "--chap", "linux:"+secret, "--mutual", "san:"+mutual)
	user := func(name, secret string) []string {
		return []string{"node.session.auth.authmethod = CHAP",
			"node.session.auth.username = " + name, "node.session.auth.password = " + secret}
	}
	both := func(name, in string) []string {
		return append(user("linux", secret), "node.session.auth.username_in = "+name, "node.session.auth.password_in = "+in)
	}
	for _, tt := range []struct {
		name     string
		settings []string
		refused  string // "" = it gets in
	}{
		{"no CHAP", nil, "authorization failure"},
		{"wrong secret", user("linux", secret+"x"), "authorization failure"},
		{"wrong name", user("linus", secret), "authorization failure"},
		{"the target's own secret", user("san", mutual), "authorization failure"},
		{"one way", user("linux", secret), ""},
		{"both ways", both("san", mutual), ""},
		// These are refused by the guest: the target can't prove who it is.
		{"wrong secret of the target", both("san", mutual+"x"), "login failure"},
		{"wrong name of the target", both("nas", mutual), "login failure"},
		{"MD5", append(both("san", mutual), "node.session.auth.chap_algs = MD5"), ""},
		{"SHA1", append(both("san", mutual), "node.session.auth.chap_algs = SHA1"), ""},
		{"SHA256", append(both("san", mutual), "node.session.auth.chap_algs = SHA256"), ""},
		{"SHA3-256", append(both("san", mutual), "node.session.auth.chap_algs = SHA3-256"), ""},
	} {
		l := login{port: d.ports[0], settings: tt.settings}
		out, status := r.tryLogin(t, l)
		switch {
		case tt.refused == "" && status != 0:
			t.Errorf("%s: refused: %s", tt.name, out)
		case tt.refused != "" && (status == 0 || !strings.Contains(out, tt.refused)):
			t.Errorf("%s: exit status %d, want %q in\n%s", tt.name, status, tt.refused, out)
		}
		if status == 0 {
			r.run(t, "udevadm settle -t 30")
			r.logout(t, l)
		}
		r.run(t, "iscsiadm -m node -o delete || true")
	}
}

// digests reads and writes with each combination of digests.
func digests(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0=mem:64M", "--iqn", iqn)
	for i, digest := range [][2]string{{"None", "None"}, {"CRC32C", "None"}, {"None", "CRC32C"}, {"CRC32C", "CRC32C"}} {
		l := login{port: d.ports[i%2], settings: digestSettings(digest[0], digest[1])}
		r.login(t, l)
		for j, name := range []string{"header_digest", "data_digest"} {
			want := map[string]string{"None": "0", "CRC32C": "1"}[digest[j]]
			if got := r.run(t, "cat /sys/class/iscsi_connection/connection*/"+name); got != want {
				t.Errorf("asked for %s: %s is %s", digest[j], name, got)
			}
		}
		dev := r.disk(t, l, "0").dev()
		r.write(t, dev, 8*i)
		r.reads(t, dev, 8*i, r.pattern)
		r.logout(t, l)
	}
}

// digestSettings are the settings of a login with such digests.
func digestSettings(header, data string) []string {
	return []string{"node.conn[0].iscsi.HeaderDigest = " + header, "node.conn[0].iscsi.DataDigest = " + data}
}

// cycles logs in and out again and again.
func cycles(t *testing.T, r *rig) {
	const times = 20
	d := r.serve(t, "--lun", "0=mem:16M", "--iqn", iqn)
	l := login{port: d.ports[0], settings: digestSettings("CRC32C", "CRC32C")}
	r.login(t, l)
	r.write(t, r.disk(t, l, "0").dev(), 0)
	for range times {
		r.run(t, fmt.Sprintf("iscsiadm %s --logout && iscsiadm %[1]s --login && udevadm settle -t 30", l.node()))
		r.run(t, fmt.Sprintf("dd if=%s bs=64k count=1 iflag=direct 2>/dev/null | cmp -n 65536 /pattern -", r.disk(t, l, "0").dev()))
	}
	r.logout(t, l)
	said := d.out.String()
	if n := strings.Count(said, "session ends"); n != times+1 || strings.Contains(said, "level=WARN") {
		t.Errorf("targetd has seen the ends of %d sessions, want %d without a warning", n, times+1)
	}
}
