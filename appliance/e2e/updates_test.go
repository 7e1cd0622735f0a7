//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/update"
	"sanstick/imagebuild/verify"
)

// file is one that goes into an initramfs.
type file struct {
	name string
	mode uint32
	data string
}

// cpioArchive makes an archive as the kernel reads it. What it holds takes the
// place of what an archive before it had.
func cpioArchive(files ...file) []byte {
	var b bytes.Buffer
	pad := func() { b.Write(make([]byte, -b.Len()&3)) }
	for i, f := range append(files, file{name: "TRAILER!!!"}) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, 0o100000|f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0)
		b.WriteString(f.name + "\x00")
		pad()
		b.WriteString(f.data)
		pad()
	}
	return b.Bytes()
}

// with is an initramfs and something more.
func with(initramfs []byte, files ...file) []byte {
	out := append(bytes.Clone(initramfs), make([]byte, -len(initramfs)&3)...)
	return append(out, cpioArchive(files...)...)
}

// updates are a site whose machine takes updates, and the versions for it.
type updates struct {
	*site
	kernel, initramfs []byte
	server            string            // its port on this host, as the machine sees it
	mu                sync.Mutex        // guards served
	served            map[string][]byte // by path
}

// newUpdates makes the stick large enough for two slots. Version v1 runs.
func newUpdates(t *testing.T, toml string) *updates {
	t.Helper()
	u := &updates{site: newSite(t, toml), served: map[string][]byte{}}
	u.enlarge(t)
	u.kernel, u.initramfs = u.get(t, "a/vmlinuz"), u.get(t, "a/initrd.img")
	u.putSlot(t, "a", u.version(t, "v1", time.Unix(1000, 0)))
	u.serve(t)
	return u
}

// volume is SANBOOT, as mtools name it.
func (s *site) bootVolume(t *testing.T) string {
	t.Helper()
	match := firstSector.FindStringSubmatch(run(t, "sgdisk", "-i", "2", s.stick))
	if match == nil {
		t.Fatal("sgdisk doesn't tell where the partition SANBOOT begins")
	}
	sector, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s@@%d", s.stick, sector*512)
}

func (s *site) get(t *testing.T, name string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "file")
	run(t, "mcopy", "-n", "-i", s.bootVolume(t), "::"+name, to)
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// system is what a slot holds.
type system struct {
	manifest          update.Manifest
	kernel, initramfs string // files
}

// version is the image's system with another version, and with files that spoil
// it.
func (u *updates) version(t *testing.T, version string, when time.Time, spoil ...file) system {
	t.Helper()
	return u.versionOf(t, u.initramfs, version, when, spoil...)
}

func (u *updates) versionOf(t *testing.T, initramfs []byte, version string, when time.Time, spoil ...file) system {
	t.Helper()
	dir := t.TempDir()
	_, public, err := update.EncodeKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	r := update.Release{Version: version, Time: when.UTC(), Arch: "amd64", Config: update.Range{Oldest: 1, Newest: 1}}
	about, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	s := system{kernel: filepath.Join(dir, "vmlinuz"), initramfs: filepath.Join(dir, "initrd.img")}
	files := append([]file{
		{"etc/sanstick/version", 0o644, version + "\n"}, {"etc/sanstick/release.json", 0o644, string(about)}, {"etc/sanstick/update.pub", 0o644, string(public)},
	}, spoil...)
	if err := errors.Join(os.WriteFile(s.kernel, u.kernel, 0o600), os.WriteFile(s.initramfs, with(initramfs, files...), 0o600)); err != nil {
		t.Fatal(err)
	}
	if s.manifest, err = update.NewManifest(r, s.kernel, s.initramfs); err != nil {
		t.Fatal(err)
	}
	return s
}

// putSlot puts a system into a slot from outside.
func (u *updates) putSlot(t *testing.T, slot string, s system) {
	t.Helper()
	about, err := s.manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "slot.json")
	if err := os.WriteFile(file, about, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-o", "-i", u.bootVolume(t), s.initramfs, "::"+slot+"/initrd.img")
	run(t, "mcopy", "-o", "-i", u.bootVolume(t), file, "::"+slot+"/slot.json")
}

// serve gives bundles to machines by HTTP.
func (u *updates) serve(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		data, ok := u.served[r.URL.Path]
		u.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(data))
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	u.server = fmt.Sprintf("http://10.0.2.2:%d", l.Addr().(*net.TCPAddr).Port)
}

// offer makes a signed bundle and returns its address.
func (u *updates) offer(t *testing.T, s system, key ed25519.PrivateKey) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := update.Create(f, s.manifest, s.kernel, s.initramfs); err != nil {
		t.Fatal(err)
	}
	if key != nil {
		if _, err := update.Sign(f, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	path := "/" + s.manifest.Version
	u.mu.Lock()
	defer u.mu.Unlock()
	u.served[path] = data
	return u.server + path
}

// restarted waits until the machine has come up anew, after its console said
// before, and makes its shell usable.
func (m *machine) restarted(t *testing.T, before int, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		if text := m.Serial(); len(text) > before && strings.Contains(text[before:], "\n  address: ") {
			m.commands += 100
			m.send(t, "")
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the machine didn't come up again within %v", limit)
		}
	}
}

// updateTo gives the command, and waits until the machine restarts.
func (m *machine) updateTo(t *testing.T, arguments string) (before int) {
	t.Helper()
	from := len(m.Serial())
	said := m.shell(t, "sanctl update "+arguments)
	if !strings.Contains(said, "the machine restarts with it now") {
		t.Fatalf("sanctl update %s says\n%s", arguments, said)
	}
	down := "reboot: Restarting system"
	if direct := strings.Contains(said, "without its firmware"); direct == strings.Contains(arguments, noKexec) {
		t.Errorf("sanctl update %s says\n%s", arguments, said)
	} else if direct {
		down = "Going down to=reboot" // the kernel says nothing
	}
	for end := time.Now().Add(bootTime); ; time.Sleep(100 * time.Millisecond) {
		text := m.Serial()
		if i := strings.LastIndex(text, down); i > from {
			return i + len(down)
		}
		if time.Now().After(end) {
			t.Fatal("the machine doesn't restart")
		}
	}
}

// noKexec has an update go by the firmware.
const noKexec = "--no-kexec "

// byFirmware tells whether GRUB has started what runs.
func (m *machine) byFirmware(t *testing.T) bool {
	t.Helper()
	said := m.shell(t, "cat /proc/cmdline")
	if !strings.Contains(said, "slot=") {
		t.Errorf("the kernel's command line is %q", said)
	}
	return strings.Contains(said, "BOOT_IMAGE=")
}

// awaitPhase waits until the newest update is in a phase, in a slot, and all
// is served.
func (m *machine) awaitPhase(t *testing.T, phase, slot, version string) status.Snapshot {
	t.Helper()
	var s status.Snapshot
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Second) {
		s = m.status(t)
		if s.System.Update != nil && s.System.Update.Phase == phase && s.System.Slot == slot && s.Version == version {
			return s
		}
	}
	t.Fatalf("system %+v, update %+v, version %s; want phase %s, slot %s, version %s; problems %+v", s.System, s.System.Update, s.Version, phase, slot, version, s.Problems)
	return s
}

// pauses logs in again and again until stop, which returns the longest time in
// which that failed.
func (m *machine) pauses(t *testing.T, iqn string) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan time.Duration, 1)
	go func() {
		longest, last := time.Duration(0), time.Now()
		for ctx.Err() == nil {
			if m.tryLogin(ctx, iqn) == nil {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
			time.Sleep(500 * time.Millisecond)
		}
		result <- longest
	}()
	return func() time.Duration { cancel(); return <-result }
}

// clean fails unless foreign programs find both volumes of the stick in order,
// and each slot that GRUB would start whole. It returns what the slots hold.
func (u *updates) clean(t *testing.T) map[string]string {
	t.Helper()
	// The machine may be running: a copy, at a moment when nothing is mounted for writing.
	c := &updates{site: &site{dir: t.TempDir()}}
	c.stick = filepath.Join(c.dir, "stick.img")
	run(t, "cp", "--sparse=always", u.stick, c.stick)
	defer os.Remove(c.stick)
	for _, part := range []int{2, 3} {
		volume := filepath.Join(c.dir, "volume")
		extract(t, c.stick, part, volume)
		if out := strings.TrimSpace(run(t, "fsck.fat", "-n", volume)); strings.Count(out, "\n") != 1 {
			t.Errorf("fsck.fat of partition %d complains:\n%s", part, out)
		}
	}
	if r, err := verify.Check(c.stick); err != nil || len(r.Wrong) > 0 {
		t.Errorf("imagebuild verify: %v, wrong are %q", err, r.Wrong)
	}
	versions := map[string]string{}
	for _, slot := range []string{"a", "b"} {
		if out, err := exec.CommandContext(t.Context(), "mdir", "-b", "-i", c.bootVolume(t), "::"+slot+"/vmlinuz").CombinedOutput(); err != nil {
			if !strings.Contains(string(out), "not found") {
				t.Errorf("mdir: %v\n%s", err, out)
			}
			continue
		}
		m, err := update.DecodeManifest(c.get(t, slot+"/slot.json"))
		if err != nil {
			t.Errorf("slot %s: %v", slot, err)
			continue
		}
		for _, f := range m.Files {
			if sum := sha256.Sum256(c.get(t, slot+"/"+f.Name)); hex.EncodeToString(sum[:]) != f.SHA256 {
				t.Errorf("slot %s: GRUB would start it, and %s isn't whole", slot, f.Name)
			}
		}
		versions[slot] = m.Version
	}
	return versions
}
