//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// reservations has three paths to a unit: a and c belong to one initiator, b
// to another.
func reservations(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0="+sparse(t, 64*mib), "--iqn", iqn, "--state", t.TempDir())
	paths := make(map[string]string)
	for name, l := range map[string]login{
		"A": {port: d.ports[0]}, "B": {port: d.ports[0], iface: "second"}, "C": {port: d.ports[1]},
	} {
		r.login(t, l)
		paths[name] = r.disk(t, l, "0").dev()
	}
	const (
		out   = "sg_persist -n -o "
		in    = "sg_persist -n "
		write = "sg_raw -s 512 -i /pattern DEV 2a 00 00 00 00 00 00 00 01 00"
		read  = "sg_raw -r 512 DEV 28 00 00 00 00 00 00 00 01 00"
	)
	type step struct {
		path, command string
		status        int
		want          string // in what it prints
	}
	do := func(steps []step) {
		t.Helper()
		for i, s := range steps {
			command := strings.ReplaceAll(s.command, "DEV", paths[s.path])
			if !strings.Contains(s.command, "DEV") {
				command += " " + paths[s.path]
			}
			got, status := r.try(t, command)
			if status != s.status || !regexp.MustCompile(s.want).MatchString(got) {
				t.Errorf("step %d, %s by %s: exit status %d, want %d and %q\n%s", i, s.command, s.path, status, s.status, s.want, got)
			}
		}
	}
	do([]step{
		{"A", in + "-c", 0, `Persist Through Power Loss Capable\(PTPL_C\): 1`},
		{"A", in + "-k", 0, "NO registered"},
		{"A", in + "-r", 0, "NO reservation"},
		{"A", out + "-R -K 0xa1 -T 5", sgReserved, ""}, // not registered
		{"A", out + "-G -S 0xa1", 0, ""},
		{"B", out + "-G -S 0xb1", 0, ""},
		{"B", out + "-G -K 0xbad -S 0xb2", sgReserved, ""},
		{"C", in + "-k", 0, `(?s)2 registered.*0xa1.*0xb1`},
		// Write exclusive, registrants only.
		{"A", out + "-R -K 0xa1 -T 5", 0, ""},
		{"B", in + "-r", 0, `(?s)Key=0xa1.*Write Exclusive, registrants only`},
		{"A", write, 0, ""},
		{"B", write, 0, ""},
		{"C", write, sgReserved, ""},
		{"C", read, 0, ""},
		{"B", out + "-R -K 0xb1 -T 5", sgReserved, ""},
		{"B", out + "-L -K 0xb1 -T 5", 0, ""}, // not its own: nothing happens
		{"A", in + "-r", 0, "Key=0xa1"},
		// B takes over, with a type that lets nobody else read.
		{"B", out + "-P -K 0xb1 -S 0xa1 -T 6", 0, ""},
		{"A", "sg_turs", sgAttention, "Registrations preempted"},
		{"A", in + "-k", 0, `(?s)1 registered.*0xb1`},
		{"A", in + "-r", 0, `(?s)Key=0xb1.*Exclusive Access, registrants only`},
		{"A", in + "-s", 0, `(?s)Reservation holder.*` + regexp.QuoteMeta(second) + `,i,0x`},
		{"A", write, sgReserved, ""},
		{"A", read, sgReserved, ""},
		{"C", read, sgReserved, ""},
		{"C", "sg_inq", 0, "SANSTICK"},
		{"A", out + "-I -S 0xa2", 0, ""},
		{"A", read, 0, ""},
		{"B", out + "-L -K 0xb1 -T 6", 0, ""},
		{"A", "sg_turs", sgAttention, "Reservations released"},
		{"C", write, 0, ""},
		// Preempted and aborted, as fencing does it.
		{"A", out + "-R -K 0xa2 -T 1", 0, ""},
		{"B", write, sgReserved, ""},
		{"B", out + "-A -K 0xb1 -S 0xa2 -T 1", 0, ""},
		{"A", "sg_turs", sgAttention, "Registrations preempted"},
		{"A", write, sgReserved, ""},
		{"B", write, 0, ""},
		{"B", out + "-C -K 0xb1", 0, ""},
		{"C", in + "-k", 0, "NO registered"},
		{"A", write, 0, ""},
		// All registrants hold this one, until the last has gone.
		{"A", out + "-G -S 0xa3", 0, ""},
		{"B", out + "-G -S 0xb3", 0, ""},
		{"B", out + "-R -K 0xb3 -T 8", 0, ""},
		{"A", in + "-r", 0, "Exclusive Access, all registrants"},
		{"B", out + "-G -K 0xb3 -S 0", 0, ""},
		{"B", read, sgReserved, ""},
		{"A", out + "-G -K 0xa3 -S 0", 0, ""},
		{"B", read, 0, ""},
		// Handed over by name to where the holder isn't.
		{"A", out + "-G -S 0xa4", 0, ""},
		{"A", out + "-R -K 0xa4 -T 3", 0, ""},
	})
	port := regexp.MustCompile(regexp.QuoteMeta(second) + `,i,0x[0-9a-f]+`)
	do([]step{{"B", out + "-I -S 0xb4", 0, ""}})
	name := port.FindString(r.run(t, in+"-s "+paths["A"]))
	do([]step{
		{"B", out + "-G -K 0xb4 -S 0", 0, ""},
		{"A", fmt.Sprintf("%s-M -K 0xa4 -S 0xb5 -Q 1 -X %s", out, name), 0, ""},
		{"A", in + "-r", 0, `(?s)Key=0xb5.*Exclusive Access$`},
		{"A", write, sgReserved, ""},
		{"B", write, 0, ""},
		{"B", out + "-C -K 0xb5", 0, ""},
		{"A", "sg_turs", sgAttention, "Reservations preempted"},
		// The old way.
		{"A", "sg_raw DEV 16 00 00 00 00 00", 0, ""},
		{"B", write, sgReserved, ""},
		{"B", out + "-G -S 0xb6", sgReserved, ""},
		{"A", "sg_raw DEV 17 00 00 00 00 00", 0, ""},
		{"B", write, 0, ""},
		// This one outlives the target.
		{"A", out + "-G -Z -S 0xa7", 0, ""},
		{"A", out + "-R -K 0xa7 -T 5", 0, ""},
	})
	d.kill(t)
	d.start(t)
	r.until(t, "! grep -qv LOGGED_IN /sys/class/iscsi_session/session*/state")
	for _, dev := range paths {
		r.try(t, "sg_turs "+dev) // takes the unit attention, if the kernel has not
	}
	do([]step{
		{"B", in + "-r", 0, `(?s)Key=0xa7.*Write Exclusive, registrants only`},
		{"B", write, sgReserved, ""},
		{"A", write, 0, ""},
		{"A", out + "-C -K 0xa7", 0, ""},
		{"B", write, 0, ""},
	})
}
