//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// live changes what is served while the guest uses it: nothing of it disturbs
// the writes to LUN 0, or drops the session.
func live(t *testing.T, r *rig) {
	path := filepath.Join(t.TempDir(), "targetd.toml")
	ports := [2]int{freePort(t), freePort(t)}
	configure := func(text string) {
		t.Helper()
		head := fmt.Sprintf("listen = [\"127.0.0.1:%d\", \"127.0.0.1:%d\"]\n[[target]]\niqn = %q\ninitiators = [%q]\n", ports[0], ports[1], iqn, initiator)
		if err := os.WriteFile(path, []byte(head+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const unit = "[[target.lun]]\nnumber = %d\npath = %q\nserial = \"LIVE-%[1]d\"\n%[3]s\n"
	first := fmt.Sprintf(unit, 0, "mem:64M", "")
	file := sparse(t, 16*mib)
	lun1 := func(more string) string { return fmt.Sprintf(unit, 1, file, more) }
	configure(first)
	d := r.serveConfig(t, path, ports)
	change := func(text string) {
		t.Helper()
		configure(text)
		before := strings.Count(d.out.String(), "configuration taken")
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if strings.Count(d.out.String(), "configuration taken") > before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("targetd does not take its configuration")
	}
	l := login{port: ports[0]}
	r.login(t, l)
	const rescan = "iscsiadm -m session --rescan && udevadm settle -t 30"
	advance, stop := r.load(t, r.disk(t, l, "0").dev())

	change(first + lun1(""))
	r.until(t, "dmesg | grep -q 'LUN assignments on this target have changed'") // the unit attention
	r.run(t, rescan)
	sd := r.disk(t, l, "1")
	r.write(t, sd.dev(), 0)

	change(first + lun1("ro = true"))
	r.run(t, rescan)
	if got := r.run(t, "cat "+sd.block()+"/ro"); got != "1" {
		t.Errorf("ro is %s when the unit has become read-only", got)
	}
	r.reads(t, sd.dev(), 0, r.pattern)
	change(first + lun1(""))
	r.run(t, rescan)
	r.write(t, sd.dev(), 4)

	if err := os.Truncate(file, 32*mib); err != nil {
		t.Fatal(err)
	}
	r.until(t, fmt.Sprintf("{ sg_turs %s; dmesg | grep -q 'Capacity data has changed'; }", sd.dev()))
	r.run(t, rescan)
	if got, want := r.run(t, "cat "+sd.block()+"/size"), fmt.Sprint(32*mib/512); got != want {
		t.Errorf("the disk has %s sectors after it has grown, want %s", got, want)
	}

	change(first)
	if out, status := r.try(t, "sg_turs "+sd.dev()+"; sg_turs "+sd.dev()); status != sgIllegal {
		t.Errorf("a unit that was removed answers: exit status %d\n%s", status, out)
	}
	if out, status := r.try(t, "dd if=/pattern of="+sd.dev()+" bs=64k count=1 oflag=direct conv=notrunc"); status == 0 {
		t.Errorf("a unit that was removed can be written: %s", out)
	}
	r.run(t, "echo 1 >"+sd.block()+"/device/delete && "+rescan)
	if all := r.disks(t, l); len(all) != 1 {
		t.Errorf("units after one was removed: %v", all)
	}
	change(first + lun1(""))
	r.run(t, rescan)
	r.reads(t, r.disk(t, l, "1").dev(), 4, r.pattern)

	advance()
	stop()
	if n := strings.Count(d.out.String(), "session begins"); n != 1 {
		t.Errorf("there were %d sessions, want the one", n)
	}
}
