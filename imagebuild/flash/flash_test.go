package flash

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/stick"
)

// machine is a directory with what the kernel tells of disks, and files in dev that stand for them.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	m := &machine{t, t.TempDir()}
	m.write("proc/self/mountinfo", "")
	m.write("proc/swaps", "Filename Type Size Used Priority\n")
	m.write("sys/block/.keep", "")
	if err := os.Remove(filepath.Join(m.dir, "sys/block/.keep")); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) host() Host {
	return Host{Sys: filepath.Join(m.dir, "sys"), Proc: filepath.Join(m.dir, "proc")}
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// disk adds a disk below a device directory, with its attributes.
func (m *machine) disk(parent, name string, attributes map[string]string) {
	m.t.Helper()
	dir := filepath.Join("devices", parent, "block", name)
	for k, v := range attributes {
		m.write(filepath.Join("sys", dir, k), v+"\n")
	}
	if err := os.Symlink(filepath.Join(m.dir, "sys", dir), filepath.Join(m.dir, "sys/block", name)); err != nil {
		m.t.Fatal(err)
	}
}

// usb adds a USB stick with that serial number, and returns its file.
func (m *machine) usb(name, serial string, size int64) string {
	m.t.Helper()
	m.write("sys/devices/pci0/usb1/1-"+name+"/idVendor", "abcd")
	m.write("sys/devices/pci0/usb1/1-"+name+"/serial", serial+"\n")
	m.disk("pci0/usb1/1-"+name+"/host0", name, map[string]string{
		"size": fmt.Sprint(size / 512), "removable": "1", "ro": "0", "dev": "8:16", "device/vendor": "ACME", "device/model": "Stick",
		name + "1/partition": "1", name + "1/dev": "8:17", name + "1/holders/.none": "",
	})
	if err := os.Remove(filepath.Join(m.dir, "sys/devices/pci0/usb1/1-"+name, "host0/block", name, name+"1/holders/.none")); err != nil {
		m.t.Fatal(err)
	}
	path := filepath.Join(m.dir, "dev", name)
	m.write("dev/"+name, "")
	if err := os.Truncate(path, size); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// Only what is removable or on USB, and used by nobody, is a candidate.
func TestDisks(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*machine)
		refused string
	}{
		{"a stick", func(*machine) {}, ""},
		{"mounted", func(m *machine) {
			m.write("proc/self/mountinfo", "30 1 8:17 / /media/x rw - vfat /dev/sdb1 rw\n")
		}, "sdb1 is mounted on /media/x"},
		{"whole disk mounted", func(m *machine) {
			m.write("proc/self/mountinfo", "30 1 8:16 / / rw - ext4 /dev/sdb rw\n")
		}, "sdb is mounted on /"},
		{"btrfs", func(m *machine) {
			m.write("proc/self/mountinfo", "30 1 0:40 / /data rw shared:1 - btrfs /dev/sdb1 rw\n")
		}, "sdb1 is mounted on /data"},
		{"swap", func(m *machine) { m.write("proc/swaps", "Filename\n/dev/sdb1 partition 1 0 -2\n") }, "sdb1 is used for swapping"},
		{"LVM", func(m *machine) {
			m.write("sys/devices/pci0/usb1/1-sdb/host0/block/sdb/sdb1/holders/dm-0", "")
		}, "sdb1 is held by dm-0"},
		{"write-protected", func(m *machine) { m.write("sys/devices/pci0/usb1/1-sdb/host0/block/sdb/ro", "1") }, "is write-protected"},
		{"empty reader", func(m *machine) { m.write("sys/devices/pci0/usb1/1-sdb/host0/block/sdb/size", "0") }, "has no medium"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.usb("sdb", "0123456789", 1<<30)
			tt.change(m)
			disks, err := m.host().Disks()
			if err != nil || len(disks) != 1 {
				t.Fatalf("%v, %v", disks, err)
			}
			if got := disks[0].Refused; tt.refused == "" && got != "" || !strings.Contains(got, tt.refused) {
				t.Errorf("refused: %q, want %q", got, tt.refused)
			}
			if tt.name == "a stick" {
				if diff := cmp.Diff([]Disk{{Name: "sdb", Number: "8:16", Size: 1 << 30, Model: "ACME Stick", Serial: "0123456789", Confirm: "0123456789"}}, disks); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	m := newMachine(t)
	m.disk("pci0/ata1/host1", "sda", map[string]string{"size": "1000", "removable": "0"})
	m.disk("virtual", "loop0", map[string]string{"size": "1000", "removable": "1"})
	m.disk("pci0/ata2/host2", "sr0", map[string]string{"size": "1000", "removable": "1"})
	disks, err := m.host().Disks()
	if err != nil || len(disks) != 3 {
		t.Fatalf("%v, %v", disks, err)
	}
	for _, d := range disks {
		if d.Refused == "" {
			t.Errorf("%s is a candidate", d.Name)
		}
	}
}

// A serial number that several sticks have, or that is a hub's, tells none from the other.
func TestSharedSerial(t *testing.T) {
	tests := []struct {
		name    string
		serials [2]string
		want    [2]Disk // serial and what is typed
	}{
		{"one each", [2]string{"1", "2"}, [2]Disk{{Serial: "1", Confirm: "1"}, {Serial: "2", Confirm: "2"}}},
		{"the same", [2]string{"1", "1"}, [2]Disk{{Serial: "1", Confirm: "sdb"}, {Serial: "1", Confirm: "sdc"}}},
		{"none, on a hub that has one", [2]string{"", "2"}, [2]Disk{{Confirm: "sdb"}, {Serial: "2", Confirm: "2"}}},
	}
	for _, tt := range tests {
		m := newMachine(t)
		m.write("sys/devices/pci0/usb1/idVendor", "1d6b")
		m.write("sys/devices/pci0/usb1/serial", "0000:00:14.0\n")
		m.usb("sdb", tt.serials[0], 1<<30)
		m.usb("sdc", tt.serials[1], 1<<30)
		disks, err := m.host().Disks()
		if err != nil || len(disks) != 2 {
			t.Fatalf("%s: %v, %v", tt.name, disks, err)
		}
		for i, d := range disks {
			if got := (Disk{Serial: d.Serial, Confirm: d.Confirm}); got != tt.want[i] {
				t.Errorf("%s: %s: %+v, want %+v", tt.name, d.Name, got, tt.want[i])
			}
		}
	}
}

func image(t *testing.T, toml string) string {
	t.Helper()
	core := make([]byte, 2000)
	binary.LittleEndian.PutUint16(core[0x1fc:], 3)
	out := filepath.Join(t.TempDir(), "stick.img")
	err := stick.Create(out, stick.Contents{BootCode: make([]byte, 512), Core: core, Config: []byte(toml),
		Boot: []stick.File{{Name: "a/vmlinuz", Data: bytes.Repeat([]byte("kernel"), 1<<20)}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// configOf reads the files of the SANSTICK volume.
func configOf(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, was, err := stick.ConfigFiles(f)
	if err != nil || !was {
		t.Fatalf("%v, %v", was, err)
	}
	out := make(map[string]string)
	for _, f := range files {
		out[f.Name] = string(f.Data)
	}
	return out
}

func TestRun(t *testing.T) {
	m := newMachine(t)
	dev := m.usb("sdb", "0123456789", 200<<20)
	var out strings.Builder
	o := Options{Host: m.host(), Device: dev, Image: image(t, "hostname = \"new\"\n"), KeepDir: t.TempDir(), In: strings.NewReader("0123456789\n"), Out: &out}
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"ACME Stick", "ALL THAT IS ON IT IS LOST", "100 %", "the boot partition has grown", "is ready"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it doesn't say %q:\n%s", want, &out)
		}
	}
	if diff := cmp.Diff(map[string]string{"appliance.toml": "hostname = \"new\"\n"}, configOf(t, dev)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The stick in use: its configuration, and what the appliance has written there, outlive the next image.
	used := []stick.File{{Name: "appliance.toml", Data: []byte("hostname = \"attic\"\n")}, {Name: "sanstick/pools.json", Data: []byte("{}")},
		{Name: "photo.jpg", Data: []byte("x")}}
	if err := stick.WithFiles(dev, dev, used); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	o.In = strings.NewReader("0123456789\n")
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	want := map[string]string{"appliance.toml": "hostname = \"attic\"\n", "sanstick/pools.json": "{}"}
	if diff := cmp.Diff(want, configOf(t, dev)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if copied, err := os.ReadFile(filepath.Join(o.KeepDir, "appliance-0123456789.toml")); err != nil || string(copied) != want["appliance.toml"] {
		t.Errorf("the copy of appliance.toml is %q, %v", copied, err)
	}
	if fi, err := os.Stat(o.KeepDir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("others may look at what is kept: %v, %v", fi.Mode(), err)
	}

	// With errors in it, it is neither kept nor lost.
	used[0].Data = []byte("hostnane = \"typo\"\n")
	if err := stick.WithFiles(dev, dev, used); err != nil {
		t.Fatal(err)
	}
	before := read(t, dev)
	o.In = strings.NewReader("0123456789\n")
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "hostnane") || !strings.Contains(err.Error(), "--discard-config") {
		t.Errorf("a configuration with errors: %v", err)
	}
	if !bytes.Equal(before, read(t, dev)) {
		t.Error("the stick has changed")
	}
	o.Discard, o.In = true, strings.NewReader("0123456789\n")
	if err := Run(t.Context(), o); err != nil {
		t.Error(err)
	}
}

// What isn't meant to be written to isn't.
func TestRunRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*machine, *Options)
		want   string
	}{
		"another serial": {func(_ *machine, o *Options) { o.In = strings.NewReader("0123456788\n") }, "nothing was written"},
		"no answer":      {func(_ *machine, o *Options) { o.In = strings.NewReader("") }, "nothing was written"},
		"mounted": {func(m *machine, _ *Options) {
			m.write("proc/self/mountinfo", "30 1 8:17 / /media/x rw - vfat /dev/sdb1 rw\n")
		}, "sdb1 is mounted"},
		"too small": {func(m *machine, _ *Options) {
			m.write("sys/devices/pci0/usb1/1-sdb/host0/block/sdb/size", "1000")
		}, "the image needs"},
		"a partition": {func(m *machine, o *Options) {
			m.write("dev/sdb1", "")
			o.Device = filepath.Join(m.dir, "dev/sdb1")
		}, "no disk of this machine"},
		"no image":  {func(_ *machine, o *Options) { o.Image += ".not" }, "cannot find the image"},
		"no device": {func(_ *machine, o *Options) { o.Device += ".not" }, "cannot find the stick"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			dev := m.usb("sdb", "0123456789", 100<<20)
			o := Options{Host: m.host(), Device: dev, Image: image(t, ""), KeepDir: t.TempDir(), In: strings.NewReader("0123456789\n"), Out: io.Discard}
			tt.change(m, &o)
			if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if len(bytes.Trim(read(t, dev), "\x00")) > 0 {
				t.Error("something was written")
			}
		})
	}
}

// Ctrl-C in the middle says what that means.
func TestTransferInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pieces := 0
	err := each(ctx, 5*chunk, "writing", io.Discard, func(_, _ int64) error {
		if pieces++; pieces == 2 {
			cancel()
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "interrupted while writing, after 8.4 of 21.0 MB") || pieces != 2 {
		t.Errorf("%v after %d pieces", err, pieces)
	}
}

// A stick that loses what is written to it is found out.
func TestTransferBadStick(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 9<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	// It takes everything and keeps nothing.
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := transfer(t.Context(), null, img, 9<<20, io.Discard); err == nil {
		t.Error("no error")
	}
}

func TestBar(t *testing.T) {
	got := bar("writing", 30e6, 120e6, 3*time.Second)
	for _, want := range []string{"[#######.......................]", " 25 %", "10.0 MB/s", "9s left"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
