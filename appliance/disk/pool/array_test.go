package pool

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

const arrayUUID = "7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b"

// member puts a superblock of an md array on a disk: as much as probing reads.
func (w *world) member(letter string, role uint16) {
	b := make([]byte, 4096)
	id, err := hex.DecodeString(strings.ReplaceAll(arrayUUID, ":", ""))
	if err != nil {
		w.t.Fatal(err)
	}
	le := binary.LittleEndian
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	copy(b[16:], id)
	le.PutUint32(b[72:], 1)
	le.PutUint32(b[92:], 2)
	le.PutUint32(b[160:], uint32(role))
	le.PutUint64(b[200:], 17)
	le.PutUint32(b[220:], 3)
	le.PutUint16(b[258:], 1)
	w.disks["/dev/vd"+letter].put(b, 4096)
	w.sysfsFile("class/block/vd"+letter+"/size", "524288")
}

func (w *world) sysfsFile(name, text string) {
	path := filepath.Join(w.sysfs, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

type noMemory struct{}

func (noMemory) Attach(int64) (string, func() error, error) {
	return "/dev/loop0", func() error { return nil }, nil
}

// TestOpenArray opens an array of disks that belong to no pool, and closes it.
func TestOpenArray(t *testing.T) {
	w := newWorld(t, "abcd")
	w.member("c", 0)
	w.member("d", 1)
	var ran []string
	handle := func(c sys.Command) (sys.Output, error) {
		line := c.String()
		switch {
		case strings.Contains(line, "--examine"):
			text, err := os.ReadFile("../md/testdata/raid1-0.txt")
			if err != nil {
				t.Fatal(err)
			}
			role := map[string]string{"/dev/vdc": "0", "/dev/vdd": "1"}[c.Args[1]]
			return sys.Output{Stdout: []byte(strings.Replace(string(text), "Active device 0", "Active device "+role, 1))}, nil
		case strings.Contains(line, "--assemble"):
			for name, text := range map[string]string{"size": "131072", "ro": "1", "md/array_state": "readonly", "md/level": "raid1", "md/raid_disks": "2",
				"slaves/dm-9/dm/name": "sanstick-md-" + strings.ReplaceAll(arrayUUID, ":", "") + "-0"} {
				w.sysfsFile("block/md127/"+name, text)
			}
		case strings.Contains(line, "--stop"):
			if err := os.RemoveAll(filepath.Join(w.sysfs, "block", "md127")); err != nil {
				t.Fatal(err)
			}
		case strings.Contains(line, "sanstick-md-"):
		default:
			return w.handle(c)
		}
		ran = append(ran, line)
		return sys.Output{}, nil
	}
	m, _ := w.manager(func(o *Options) { o.Runner, o.Memory = &systest.Runner{Handle: handle}, noMemory{} })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if got := m.Arrays(); len(ran) != 0 || len(got) != 0 {
		t.Fatalf("opened by itself: %v, %+v", ran, got)
	}
	if _, err := m.OpenArray(t.Context(), "1d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b", false); err == nil || !strings.Contains(err.Error(), "none of its members") {
		t.Errorf("an array that isn't here: %v", err)
	}
	content := make([]byte, 4096)
	copy(content[3:], "NTFS    ")
	w.disks["/dev/md127"] = &memDisk{w: w, blocks: map[int64][]byte{0: content}}
	a, err := m.OpenArray(t.Context(), arrayUUID, false)
	if err != nil {
		t.Fatal(err)
	}
	if a.Path != "/dev/md127" || a.Level != "raid1" || a.Members != 2 || len(a.Holds) == 0 || !strings.Contains(a.Holds[0].Text, "NTFS") {
		t.Errorf("array %+v", a)
	}
	before := len(ran)
	if again, err := m.OpenArray(t.Context(), arrayUUID, false); err != nil || again.Path != a.Path || len(ran) != before {
		t.Errorf("opened again: %+v, %v, %v", again, err, ran[before:])
	}
	if all := m.Arrays(); len(all) != 1 || len(all[0].Holds) != len(a.Holds) {
		t.Errorf("arrays %+v", all)
	}
	if err := m.CloseArray(t.Context(), arrayUUID); err != nil || len(m.Arrays()) != 0 {
		t.Errorf("closing: %v, %+v are left", err, m.Arrays())
	}

	w.unplug("d")
	if _, err := m.OpenArray(t.Context(), arrayUUID, false); err == nil || !strings.Contains(err.Error(), "--degraded") {
		t.Errorf("without a member: %v", err)
	}
	if _, err := m.OpenArray(t.Context(), arrayUUID, true); err != nil {
		t.Errorf("without a member, and that is said: %v", err)
	}
}
