package md_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/md"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// kernel plays mdadm, dmsetup and what sysfs shows of their work.
type kernel struct {
	t        *testing.T
	sysfs    string
	log      []string
	state    string // of an array that was assembled
	action   string
	fail     string // a word in the command that fails
	overlays []string
	detached int
}

func newKernel(t *testing.T) (*kernel, *md.Client) {
	k := &kernel{t: t, sysfs: t.TempDir(), state: "readonly", action: "idle"}
	k.write("block/sda/size", "2048")
	k.write("class/block/sda1/size", "2048")
	k.write("class/block/sdb1/size", "4096")
	return k, &md.Client{Runner: &systest.Runner{Handle: k.handle}, Sysfs: k.sysfs, Memory: k}
}

func (k *kernel) write(name, text string) {
	path := filepath.Join(k.sysfs, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kernel) Attach(size int64) (string, func() error, error) {
	return "/dev/loop7", func() error { k.detached++; return nil }, nil
}

func (k *kernel) handle(c sys.Command) (sys.Output, error) {
	line := strings.TrimPrefix(c.String(), "/sbin/")
	k.log = append(k.log, line)
	if k.fail != "" && strings.Contains(line, k.fail) {
		return sys.Output{}, &sys.ExitError{Command: line, Code: 1, Stderr: "no"}
	}
	switch {
	case strings.HasPrefix(line, "dmsetup create"):
		k.overlays = append(k.overlays, c.Args[1])
	case strings.HasPrefix(line, "dmsetup remove"):
		if _, err := os.Stat(filepath.Join(k.sysfs, "block", "md127")); err == nil {
			k.t.Errorf("%s while the array is assembled", line)
		}
		k.overlays = slices.DeleteFunc(k.overlays, func(n string) bool { return n == c.Args[1] })
	case strings.HasPrefix(line, "mdadm --assemble"):
		for name, text := range map[string]string{"size": "1024", "ro": "1", "md/array_state": k.state, "md/sync_action": k.action, "md/level": "raid1", "md/raid_disks": "2", "md/degraded": "0"} {
			k.write("block/md127/"+name, text)
		}
		for i, o := range k.overlays {
			k.write("block/md127/slaves/dm-"+string(rune('0'+i))+"/dm/name", o)
		}
	case strings.HasPrefix(line, "mdadm --stop"):
		if err := os.RemoveAll(filepath.Join(k.sysfs, "block", "md127")); err != nil {
			k.t.Fatal(err)
		}
	}
	return sys.Output{}, nil
}

var pair = []md.Member{{Device: "/dev/sda1", UUID: uuid, Role: 0}, {Device: "/dev/sdb1", UUID: uuid, Role: 1}}

func TestOpenAndClose(t *testing.T) {
	k, c := newKernel(t)
	a, err := c.Open(t.Context(), uuid, pair, false)
	if err != nil {
		t.Fatal(err)
	}
	want := md.Array{UUID: uuid, Path: "/dev/md127", Level: "raid1", Size: 1024 * 512, Devices: 2}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("array (-want +got):\n%s", diff)
	}
	const o = "sanstick-md-7d3c6f1a0b2e4d5f8a9b0c1d2e3f4a5b-"
	if diff := cmp.Diff([]string{
		"dmsetup create " + o + "0 --table '0 2048 snapshot /dev/sda1 /dev/loop7 N 8'",
		"dmsetup create " + o + "1 --table '0 4096 snapshot /dev/sdb1 /dev/loop7 N 8'",
		"mdadm --assemble --readonly --config=none --uuid=" + uuid + " /dev/md127 /dev/mapper/" + o + "0 /dev/mapper/" + o + "1",
	}, k.log); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if k.detached != 2 {
		t.Errorf("%d of 2 loop devices were let go of", k.detached)
	}
	// Another Client, as after a restart of the daemon, knows it.
	other := &md.Client{Runner: c.Runner, Sysfs: k.sysfs, Memory: k}
	if all, err := other.Arrays(); err != nil || !cmp.Equal(all, []md.Array{want}) {
		t.Errorf("arrays %+v, %v", all, err)
	}
	k.fail = "--stop"
	if err := other.Close(t.Context(), uuid); err == nil || len(k.overlays) != 2 {
		t.Errorf("closing one that is in use: %v; overlays %v", err, k.overlays)
	}
	k.fail = ""
	if err := other.Close(t.Context(), uuid); err != nil || len(k.overlays) != 0 {
		t.Errorf("closing: %v; overlays %v are left", err, k.overlays)
	}
	if err := other.Close(t.Context(), uuid); err == nil || !strings.Contains(err.Error(), "isn't open") {
		t.Errorf("closing it again: %v", err)
	}
}

// TestNotOpened checks that nothing is left of an array that can't be opened, or
// that isn't quiet.
func TestNotOpened(t *testing.T) {
	tests := map[string]func(*kernel){
		"no overlay":         func(k *kernel) { k.fail = "2e3f4a5b-1 --table" },
		"not assembled":      func(k *kernel) { k.fail = "--assemble" },
		"writable":           func(k *kernel) { k.state = "clean" },
		"about to be":        func(k *kernel) { k.state = "read-auto" },
		"a resync has begun": func(k *kernel) { k.action = "resync" },
	}
	for name, change := range tests {
		k, c := newKernel(t)
		change(k)
		if a, err := c.Open(t.Context(), uuid, pair, true); err == nil {
			t.Errorf("%s: opened %+v", name, a)
		}
		if _, err := os.Stat(filepath.Join(k.sysfs, "block", "md127")); !errors.Is(err, os.ErrNotExist) || len(k.overlays) != 0 {
			t.Errorf("%s: left are overlays %v, and the array: %v", name, k.overlays, err)
		}
	}
}

// TestRefusedNames checks that nothing runs for what is no UUID and no device.
func TestRefusedNames(t *testing.T) {
	k, c := newKernel(t)
	for _, bad := range []string{"", "--run", "7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b --force", strings.ToUpper(uuid)} {
		if _, err := c.Open(t.Context(), bad, pair, false); err == nil {
			t.Errorf("opened %q", bad)
		}
		if err := c.Close(t.Context(), bad); err == nil {
			t.Errorf("closed %q", bad)
		}
		if _, err := c.Examine(t.Context(), bad); err == nil {
			t.Errorf("examined %q", bad)
		}
	}
	if len(k.log) != 0 {
		t.Errorf("ran %q", k.log)
	}
}

// TestDegraded checks that mdadm is told to start without a member.
func TestDegraded(t *testing.T) {
	k, c := newKernel(t)
	if _, err := c.Open(t.Context(), uuid, pair[1:], true); err != nil {
		t.Fatal(err)
	}
	if last := k.log[len(k.log)-1]; !strings.Contains(last, " --run ") || !strings.Contains(last, "--readonly") {
		t.Errorf("ran %s", last)
	}
}
