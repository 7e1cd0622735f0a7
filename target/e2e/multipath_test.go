//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// multipath has two paths to a unit, in portal groups of their own, and cuts
// them amid writes.
func multipath(t *testing.T, r *rig) {
	ports := [2]int{freePort(t), freePort(t)}
	d := r.serveConfig(t, writeConfig(t, fmt.Sprintf(`listen = ["127.0.0.1:%d"]
[[portal]]
address = "127.0.0.1:%d"
group = 2
[[target]]
iqn = %q
initiators = ["*"]
[[target.lun]]
number = 0
path = %q
thin = true
`, ports[0], ports[1], iqn, sparse(t, 64*mib))), ports)
	var paths []*proxy
	for _, port := range d.ports {
		p := newProxy(t, port)
		paths = append(paths, p)
		r.login(t, login{port: p.port, settings: []string{
			"node.session.timeo.replacement_timeout = 1", "node.conn[0].timeo.login_timeout = 5",
			"node.conn[0].timeo.noop_out_interval = 1", "node.conn[0].timeo.noop_out_timeout = 2",
		}})
	}
	r.run(t, "multipathd")
	r.until(t, "[ -b /dev/mapper/mpath? ]")
	dev := "/dev/mapper/" + r.run(t, "dmsetup ls --target multipath | cut -f1")
	usable := func(n int) {
		t.Helper()
		// multipathd isn't asked: it is a real-time process, and takes the processor from iscsid.
		r.until(t, fmt.Sprintf("[ $(dmsetup status %s | grep -o ' [0-9]*:[0-9]* A' | grep -c .) = %d ]", dev, n))
	}
	usable(2)
	for i, p := range paths {
		sd := r.disk(t, login{port: p.port}, "0")
		r.inspect(t, []query{
			{sd, "sg_vpd -p 0x83 DEV", []string{fmt.Sprintf(`Relative target port: 0x%d$`, i+1), fmt.Sprintf(`,t,0x000%d$`, i+1)}},
			{sd, "sg_vpd -p 0x88 DEV", []string{`Relative port=1$`, `Relative port=2$`}},
			{sd, "sg_rtpg -d DEV", []string{`^ +0x01$`, `^ +0x02$`}},
		})
	}
	r.run(t, "multipath -ll | grep \"hwhandler='1 alua'\"")
	for _, s := range []struct{ args, want string }{
		{"-o -G -S 0xabc", ""},
		{"-i -k", "2 registered"},
		{"-o -R -K 0xabc -T 5", ""},
		{"-i -r", "Key = 0xabc"},
	} {
		if got := r.run(t, fmt.Sprintf("mpathpersist %s %s", s.args, dev)); !strings.Contains(got, s.want) {
			t.Errorf("mpathpersist %s: no %q in\n%s", s.args, s.want, got)
		}
	}
	advance, stop := r.load(t, dev)
	for _, lose := range []struct {
		name      string
		cut, mend func()
		left      int
	}{
		{"one path is cut", paths[0].cut, func() { paths[0].mend(t) }, 1},
		{"the other falls silent", paths[1].silence, func() { paths[1].mend(t) }, 1},
		{"the target is gone", func() {
			paths[0].refuse()
			paths[1].refuse()
			d.kill(t)
		}, func() {
			d.start(t)
			paths[0].mend(t)
			paths[1].mend(t)
		}, 0},
	} {
		start := time.Now()
		advance()
		lose.cut()
		usable(lose.left)
		gone := time.Since(start)
		if lose.left > 0 {
			advance()
		}
		lose.mend()
		usable(2)
		t.Logf("%s: noticed after %.1f s, all was back after %.1f s", lose.name, gone.Seconds(), time.Since(start).Seconds())
	}
	advance()
	stop()
}
