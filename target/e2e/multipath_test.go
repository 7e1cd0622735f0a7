//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// multipath has two paths to a unit, and cuts them amid writes.
func multipath(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0="+sparse(t, 64*mib)+",thin", "--iqn", iqn)
	var paths []*proxy
	for _, port := range d.ports {
		p := newProxy(t, port)
		paths = append(paths, p)
		r.login(t, login{port: p.port, settings: []string{
			"node.session.timeo.replacement_timeout = 1", "node.conn[0].timeo.login_timeout = 2",
			"node.conn[0].timeo.noop_out_interval = 1", "node.conn[0].timeo.noop_out_timeout = 1",
		}})
	}
	r.run(t, "multipathd")
	r.until(t, "[ -b /dev/mapper/mpath? ]")
	dev := "/dev/mapper/" + r.run(t, "dmsetup ls --target multipath | cut -f1")
	usable := func(n int) {
		t.Helper()
		r.until(t, fmt.Sprintf("[ $(multipathd show paths format '%%t %%o' | grep -c 'active running') = %d ]", n))
	}
	usable(2)
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
		{"the target is gone", func() { d.kill(t) }, func() { d.start(t) }, 0},
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
