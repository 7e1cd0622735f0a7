package coldplug

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func names(paths []string) string {
	var out []string
	for _, p := range paths {
		out = append(out, moduleName(p))
	}
	return strings.Join(out, " ")
}

func TestModulesLoadOnce(t *testing.T) {
	l := &systest.Loader{}
	m := NewModules(testIndex(t), l, ParseOptions(""), nil)
	for range 2 {
		if err := m.LoadAlias("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.LoadName("libata"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("scsi_common scsi_mod libata libahci ahci", names(l.Paths())); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	if got, want := l.Paths()[4], "/lib/modules/6/kernel/drivers/ata/ahci.ko.zst"; got != want {
		t.Errorf("loaded %s, want %s", got, want)
	}
}

func TestModulesErrors(t *testing.T) {
	const dir = "/lib/modules/6/kernel/"
	broken := errors.New("broken")
	tests := []struct {
		name, ask, fails string
		err, want        error
		loaded           string
	}{
		{name: "dependency", ask: "ahci", fails: "drivers/ata/libata.ko.zst", err: broken, want: broken, loaded: "scsi_common scsi_mod libata"},
		{name: "soft dependency", ask: "r8169", fails: "drivers/net/phy/realtek.ko", err: broken, loaded: "libphy realtek r8169"},
		{name: "no device", ask: "libcrc32c", fails: "arch/x86/crypto/crc32c-intel.ko", err: unix.ENODEV, loaded: "crc32c_generic crc32c_intel libcrc32c"},
		{name: "itself", ask: "libcrc32c", fails: "lib/libcrc32c.ko", err: broken, want: broken, loaded: "crc32c_generic crc32c_intel libcrc32c"},
		{name: "unknown", ask: "what", want: ErrUnknown},
		{name: "built in", ask: "ext-x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &systest.Loader{Errors: map[string]error{dir + tt.fails: tt.err}}
			m := NewModules(testIndex(t), l, ParseOptions(""), nil)
			if err := m.LoadName(tt.ask); !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
				t.Errorf("LoadName = %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(tt.loaded, names(l.Paths())); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlacklist(t *testing.T) {
	l := &systest.Loader{}
	m := NewModules(testIndex(t), l, ParseOptions("quiet modprobe.blacklist=ahci,usb-storage"), nil)
	for _, a := range []string{
		"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", "acpi:PNP0700:",
		"usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
	} {
		if err := m.LoadAlias(a); err != nil {
			t.Error(err)
		}
	}
	if got := l.Paths(); got != nil {
		t.Errorf("loaded %v, all of it blacklisted", got)
	}
	if err := m.LoadName("usb-storage"); err != nil { // asked for by name it is
		t.Error(err)
	}
	if diff := cmp.Diff("usb_storage", names(l.Paths())); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

// What is optional and for another CPU isn't tried; what is asked for is.
func TestOtherCPU(t *testing.T) {
	const with, without = "cpu:type:x86,ven0000fam0006mod0055:feature:,0093,0094,0095", "cpu:type:x86,ven0000fam0006mod0055:feature:,0093,0095"
	tests := []struct{ cpu, ask, want string }{
		{with, "libcrc32c", "crc32c_generic crc32c_intel libcrc32c"},
		{"", "libcrc32c", "crc32c_generic crc32c_intel libcrc32c"},
		{without, "libcrc32c", "crc32c_generic libcrc32c"},
		{without, "crc32c_intel", "crc32c_intel"},
	}
	for _, tt := range tests {
		l := &systest.Loader{}
		m := NewModules(testIndex(t), l, Options{CPU: tt.cpu}, nil)
		if err := m.LoadName(tt.ask); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, names(l.Paths())); diff != "" {
			t.Errorf("loaded on %q for %s (-want +got):\n%s", tt.cpu, tt.ask, diff)
		}
	}
	sysfs := t.TempDir()
	if got := CPUAlias(sysfs); got != "" {
		t.Errorf("CPUAlias of nothing = %q", got)
	}
	writeAlias(t, sysfs, "system/cpu", with+"\n")
	if got := CPUAlias(sysfs); got != with {
		t.Errorf("CPUAlias = %q, want %q", got, with)
	}
}

func TestParseOptions(t *testing.T) {
	got := ParseOptions("BOOT_IMAGE=/vmlinuz root=a.b quiet libata.force=noncq usb-storage.quirks=\"1:2:u 3\" libata.noacpi console=ttyS0,1.5 -- x.y=1\n")
	want := Options{
		Parameters: map[string][]string{"libata": {"force=noncq", "noacpi"}, "usb_storage": {`quirks="1:2:u 3"`}},
		Blacklist:  map[string]bool{"floppy": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func writeAlias(t *testing.T, sysfs, device, alias string) {
	t.Helper()
	dir := filepath.Join(sysfs, "devices", device)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAliases(t *testing.T) {
	sysfs := t.TempDir()
	writeAlias(t, sysfs, "pci0000:00/0000:00:02.0", "pci:two\n")
	writeAlias(t, sysfs, "pci0000:00/0000:00:01.0", "pci:one\n")
	writeAlias(t, sysfs, "pci0000:00/0000:00:01.0/usb1", "usb:x\n")
	writeAlias(t, sysfs, "pci0000:00/0000:00:03.0", "pci:one\n")
	writeAlias(t, sysfs, "platform/nothing", "\n")
	if err := os.Symlink(filepath.Join(sysfs, "devices"), filepath.Join(sysfs, "devices", "loop")); err != nil {
		t.Fatal(err)
	}
	got, err := Aliases(sysfs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pci:one", "pci:two", "usb:x"}, got); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	if _, err := Aliases(filepath.Join(sysfs, "no")); err == nil {
		t.Error("no error without sysfs")
	}
}

// A device that is there, one that another's driver makes appear, one that is
// plugged in later, and one that is found after events were lost.
func TestTask(t *testing.T) {
	sysfs := t.TempDir()
	writeAlias(t, sysfs, "a", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01")
	src := systest.NewUevents()
	add := func(alias string) sys.Uevent {
		return sys.Uevent{Action: "add", DevPath: "/devices/x", Env: map[string]string{"MODALIAS": alias}}
	}
	src.Send(add("pci:v000010ECd00008168sv00000000sd00000000bc02sc00i00"))
	src.Send(sys.Uevent{Action: "add", Env: map[string]string{}})
	l := &systest.Loader{}
	task := NewTask(NewModules(testIndex(t), l, ParseOptions(""), nil), sysfs,
		func() (sys.UeventSource, error) { return src, nil }, 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- task.Run(ctx) }()

	<-task.Ready()
	const booted = "crc32c_generic crc32c_intel libcrc32c scsi_common scsi_mod libata libahci ahci libphy realtek r8169"
	if diff := cmp.Diff(booted, names(l.Paths())); diff != "" {
		t.Errorf("loaded when ready (-want +got):\n%s", diff)
	}
	removed := add("usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00")
	removed.Action = "remove"
	src.Send(removed)
	writeAlias(t, sysfs, "b", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00")
	src.Fail(sys.ErrUeventsLost)
	src.Fail(os.ErrClosed) // ends the task once all before is done
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Run = %v, want %v", err, os.ErrClosed)
	}
	if diff := cmp.Diff(booted+" usb_storage", names(l.Paths())); diff != "" {
		t.Errorf("loaded at the end (-want +got):\n%s", diff)
	}

	// It can run again, as after a failure, and ends when told to.
	src = systest.NewUevents()
	go func() { done <- task.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v after cancelling", err)
	}
}
