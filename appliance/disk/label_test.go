package disk_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
)

// fat makes a FAT filesystem with dosfstools.
func fat(t testing.TB, bits, label string, size int64) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", bits, image}
	if label != "" {
		args = append([]string{"-n", label}, args...)
	}
	cmd := exec.Command("mkfs.vfat", args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Err != nil { // not in our own PATH
		cmd.Path, cmd.Err = "/usr/sbin/mkfs.vfat", nil
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFATLabel(t *testing.T) {
	// A FAT whose boot sector has the label, but not the root directory, is
	// what dosfstools makes of "NO NAME"; the entry is removed by hand.
	renamed := fat(t, "16", "SANSTICK", 16<<20)
	i := bytes.LastIndex(renamed, []byte("SANSTICK   \x08"))
	copy(renamed[i:], "MYLABEL    ")
	bootOnly := fat(t, "16", "SANSTICK", 16<<20)
	clear(bootOnly[bytes.LastIndex(bootOnly, []byte("SANSTICK   \x08")):][:32])

	tests := []struct {
		name  string
		image []byte
		want  string
		err   error
	}{
		{name: "FAT32", image: fat(t, "32", "SANSTICK", 64<<20), want: "SANSTICK"},
		{name: "FAT16", image: fat(t, "16", "SANSTICK", 16<<20), want: "SANSTICK"},
		{name: "FAT12", image: fat(t, "12", "A B", 1<<20), want: "A B"},
		{name: "none", image: fat(t, "32", "", 64<<20), want: ""},
		{name: "renamed by another system", image: renamed, want: "MYLABEL"},
		{name: "in the boot sector only", image: bootOnly, want: "SANSTICK"},
		{name: "blank", image: make([]byte, 4096), err: disk.ErrNotFAT},
		{name: "too short", image: make([]byte, 100), err: disk.ErrNotFAT},
		{name: "boot sector without FAT", image: append(append(make([]byte, 510), 0x55, 0xaa), make([]byte, 512)...), err: disk.ErrNotFAT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := disk.FATLabel(bytes.NewReader(tt.image))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("label (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzFATLabel(f *testing.F) {
	f.Add(fat(f, "12", "SANSTICK", 1<<20)[:4096])
	f.Add(fat(f, "32", "SANSTICK", 40<<20)[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := disk.FATLabel(bytes.NewReader(b)); err == nil && len(l) > 11 {
			t.Errorf("label %q", l)
		}
	})
}

type closer struct{ io.ReaderAt }

func (closer) Close() error { return nil }

// A disk that hangs is asked once, and doesn't keep the stick from being found; when
// it answers, what is on it is found, too.
func TestFindLabelBesideAHungDisk(t *testing.T) {
	sysfs := tree(t, machine)
	stick := fat(t, "32", "SANSTICK", 40<<20)
	hang := make(chan struct{})
	var mu sync.Mutex
	asked := 0
	open := func(path string) (interface {
		io.ReaderAt
		io.Closer
	}, error) {
		switch path {
		case "/dev/sda":
			mu.Lock()
			asked++
			mu.Unlock()
			<-hang
			return closer{bytes.NewReader(stick)}, nil
		case "/dev/sdb3":
			return closer{bytes.NewReader(stick)}, nil
		}
		return closer{bytes.NewReader(make([]byte, 4096))}, nil
	}
	finder := disk.LabelFinder{Sysfs: sysfs, Label: "SANSTICK", Open: open, Limit: 200 * time.Millisecond}
	for range 3 {
		got, err := finder.Find(t.Context())
		if err != nil || len(got) != 1 || got[0].Name != "sdb3" || !finder.Waiting() {
			t.Errorf("found %+v, %v; waiting %v", got, err, finder.Waiting())
		}
	}
	mu.Lock()
	if asked != 1 {
		t.Errorf("the disk is asked %d times", asked)
	}
	mu.Unlock()
	close(hang)
	finder.Limit = 10 * time.Second
	if got, err := finder.Find(t.Context()); err != nil || len(got) != 2 || finder.Waiting() {
		t.Errorf("found %+v, %v; waiting %v", got, err, finder.Waiting())
	}
}

func TestFindLabel(t *testing.T) {
	sysfs := tree(t, machine)
	stick, blank := fat(t, "32", "SANSTICK", 40<<20), make([]byte, 4096)
	devices := map[string][]byte{"/dev/sda": blank, "/dev/sdb": blank, "/dev/sdb1": blank, "/dev/sdb3": stick, "/dev/vda": blank, "/dev/nvme0n1": blank}
	open := func(path string) (interface {
		io.ReaderAt
		io.Closer
	}, error) {
		if b, ok := devices[path]; ok {
			return closer{bytes.NewReader(b)}, nil
		}
		return nil, fs.ErrNotExist
	}
	tests := []struct {
		name    string
		change  func()
		want    []disk.Partition
		wantErr bool
	}{
		{name: "on a partition", change: func() {}, want: []disk.Partition{{Name: "sdb3", Path: "/dev/sdb3", Disk: "sdb", Size: 64 << 20}}},
		{name: "another disk can't be read", change: func() { delete(devices, "/dev/sda") }, want: []disk.Partition{{Name: "sdb3", Path: "/dev/sdb3", Disk: "sdb", Size: 64 << 20}}},
		{name: "nowhere, and one can't be read", change: func() { devices["/dev/sdb3"] = blank }, wantErr: true},
		{name: "nowhere", change: func() { devices["/dev/sda"] = blank }},
		{name: "a disk without partitions", change: func() { devices["/dev/vda"] = stick }, want: []disk.Partition{{Name: "vda", Path: "/dev/vda", Disk: "vda", Size: 256 << 20}}},
	}
	for _, tt := range tests {
		tt.change()
		finder := disk.LabelFinder{Sysfs: sysfs, Label: "SANSTICK", Open: open}
		got, err := finder.Find(t.Context())
		if (err != nil) != tt.wantErr {
			t.Errorf("%s: error = %v, want one: %v", tt.name, err, tt.wantErr)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: partitions (-want +got):\n%s", tt.name, diff)
		}
	}
	if diff := cmp.Diff([]string{"sdb"}, disk.BootDisks([]disk.Partition{{Disk: "sdb"}, {Disk: "sdb"}})); diff != "" {
		t.Errorf("boot disks (-want +got):\n%s", diff)
	}
}
