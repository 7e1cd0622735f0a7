package qemu

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHotPlug breaks, slows, unplugs and plugs disks of a machine without a system; QEMU itself reads and writes them.
func TestHotPlug(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	image := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	vm, err := Start(ctx, Options{Disks: []Disk{{Path: image("a"), Serial: "A", Bus: SCSI}, {Path: image("b"), Serial: "B"}}, MemoryMiB: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Kill()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// io runs a command of qemu-io on what the device of disk A stands on.
	io := func(command string) string {
		t.Helper()
		node := vm.slots["A"].node
		if f := vm.slots["A"].filter; f != "" {
			node = f
		}
		said := func() string { return vm.Serial() + vm.stderr.String() } // QEMU says there how it went
		before := len(said())
		_, err := vm.QMP(ctx, "human-monitor-command", map[string]any{"command-line": "qemu-io " + node + ` "` + command + `"`})
		must(err)
		for i := 0; i < 100 && len(said()) == before; i++ {
			time.Sleep(10 * time.Millisecond)
		}
		return said()[before:]
	}
	const eio = "Input/output error"
	for _, tt := range []struct {
		fault    Fault
		commands map[string]bool // whether it fails
	}{
		{Fault{}, map[string]bool{"read 0 4k": false}},
		{Fault{Reads: true}, map[string]bool{"read 0 4k": true}},
		{Fault{Reads: true, Sector: 9}, map[string]bool{"read 0 4k": false, "read 4k 4k": true, "read 5k 1k": false, "write 4k 4k": false}},
		{Fault{Flushes: true}, map[string]bool{"read 0 4k": false}}, // qemu-io doesn't tell whether a flush fails
		{Fault{Reads: true, Writes: true, Flushes: true}, map[string]bool{"read 0 4k": true}},
		{Fault{IOPS: 1000}, map[string]bool{"read 0 4k": false}},
		{Fault{Bytes: 1 << 20}, map[string]bool{"read 0 4k": false}},
		{Fault{}, map[string]bool{"read 0 4k": false}},
	} {
		must(vm.Break(ctx, "A", tt.fault))
		for command, fails := range tt.commands {
			if got := io(command); strings.Contains(got, eio) != fails {
				t.Errorf("fault %+v: %s says %q, want it to fail: %v", tt.fault, command, got, fails)
			}
		}
	}
	if got := (Fault{Hangs: true}).limits(); got["bps-total"] != 1 {
		t.Errorf("a disk that hangs has limits %v", got)
	}
	must(vm.Break(ctx, "A", Fault{Writes: true})) // a pulled disk has no faults any more
	must(vm.Unplug(ctx, "A"))
	if err := vm.Unplug(ctx, "A"); err == nil {
		t.Error("a disk that isn't plugged can be unplugged")
	}
	if err := vm.Break(ctx, "A", Fault{}); err == nil {
		t.Error("a disk that isn't plugged can be broken")
	}
	must(vm.Plug(ctx, Disk{Serial: "A", Bus: SCSI}))
	must(vm.Plug(ctx, Disk{Path: image("c"), Serial: "C", Bus: USB}))
	if err := vm.Plug(ctx, Disk{Serial: "A", Bus: SCSI}); err == nil {
		t.Error("a disk can be plugged twice")
	}
	if err := vm.Plug(ctx, Disk{Path: image("d"), Serial: "D", Bus: SATA}); err == nil {
		t.Error("a disk can be plugged on SATA, where QEMU can't")
	}
	must(vm.Unplug(ctx, "C"))
	must(vm.Break(ctx, "B", Fault{Reads: true}))
}
