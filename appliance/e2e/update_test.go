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
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/update"
)

// signer signs the updates of these tests; the image doesn't know it, so its
// public key is put into the initramfs of each test's stick.
var signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

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
	if err := errors.Join(os.WriteFile(s.kernel, u.kernel, 0o600), os.WriteFile(s.initramfs, with(u.initramfs, files...), 0o600)); err != nil {
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
	const down = "reboot: Restarting system"
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

const (
	script = "#!/bin/sh\n"
	dies   = "#!/bbin/false\n"
)

// What is wrong with a version, by what happens.
var (
	panics = file{"init", 0o755, dies}              // process 1 ends
	dead   = file{"bbin/appliance", 0o755, dies}    // the daemon ends at once, each time
	noLVM  = file{"sbin/lvm", 0o755, dies}          // no pool can be used
	hangs  = file{"bbin/appliance", 0o755, script + // process 1 gets no time any more
		"mkdir /tmp/x; mount -t cgroup2 none /tmp/x; mkdir /tmp/x/y; echo 1 >/tmp/x/y/cgroup.procs; echo FROZEN >/dev/ttyS0; echo 1 >/tmp/x/y/cgroup.freeze; sleep 100000\n"}
)

// TestUpdate brings a machine a new version under an initiator, which is kept,
// and one that can't start, which isn't.
func TestUpdate(t *testing.T) {
	u := newUpdates(t, goodTOML)
	m := u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	first := m.identity(t)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0xa5 0 1M", "-c", "flush", m.url(iqn))

	t.Run("refused", func(t *testing.T) {
		v2 := u.version(t, "v2", time.Unix(2000, 0))
		if said := m.shell(t, "sanctl update "+u.offer(t, v2, nil)); !strings.Contains(said, "isn't signed") {
			t.Errorf("not signed:\n%s", said)
		}
		other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
		if said := m.shell(t, "sanctl update "+u.offer(t, v2, other)); !strings.Contains(said, "isn't signed with a key of this appliance") {
			t.Errorf("another key:\n%s", said)
		}
		if said := m.shell(t, "sanctl update "+u.offer(t, u.version(t, "v0", time.Unix(1, 0)), signer)); !strings.Contains(said, "--allow-older") {
			t.Errorf("older:\n%s", said)
		}
	})

	t.Run("good", func(t *testing.T) {
		stop := m.pauses(t, iqn)
		began := time.Now()
		before := m.updateTo(t, u.offer(t, u.version(t, "v2", time.Unix(2000, 0)), signer))
		t.Logf("written, compared and armed after %.1f s", time.Since(began).Seconds())
		m.restarted(t, before, bootTime)
		m.awaitLUN(t, iqn)
		t.Logf("an initiator waited %.1f s at most", stop().Seconds())
		s := m.awaitPhase(t, "confirmed", "b", "v2")
		t.Logf("kept after %.1f s", time.Since(began).Seconds())
		if s.Health != status.OK || s.System.Other != "v1" {
			t.Errorf("health %s, other %q, problems %+v", s.Health, s.System.Other, s.Problems)
		}
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0xa5 0 1M", m.url(iqn))
		if got := u.clean(t); got["a"] != "v1" || got["b"] != "v2" {
			t.Errorf("slots %v", got)
		}
	})
	if t.Failed() {
		return
	}

	t.Run("panics", func(t *testing.T) {
		before := m.updateTo(t, u.offer(t, u.version(t, "v3", time.Unix(3000, 0), panics), signer))
		m.restarted(t, before, 2*bootTime)
		m.awaitLUN(t, iqn)
		s := m.awaitPhase(t, "fell-back", "b", "v2")
		if s.System.Mode != "fallback" || !strings.Contains(s.System.Update.Reason, "kernel stopped or hung") {
			t.Errorf("system %+v, update %+v", s.System, s.System.Update)
		}
		m.powerDown(t)
		u.clean(t)
	})
}

// TestUpdateGoesBack is every way in which a version can be no good.
func TestUpdateGoesBack(t *testing.T) {
	whole := t // machines outlive the row that switches them on
	u := newUpdates(t, goodTOML)
	m := u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	for i, tt := range []struct {
		name   string
		spoil  file
		reason string
		limit  time.Duration
	}{
		{"daemon dies", dead, "kernel stopped or hung", 5 * time.Minute},
		{"hangs", hangs, "kernel stopped or hung", 8 * time.Minute},
		{"unhealthy", noLVM, "pool tank", 12 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			before := m.updateTo(t, u.offer(t, u.version(t, fmt.Sprintf("bad%d", i), time.Unix(5000, 0), tt.spoil), signer))
			if tt.name == "hangs" {
				if _, err := m.await(t, "FROZEN"); err != nil {
					t.Fatal(err)
				}
				t.Logf("hangs after %.1f s", time.Since(began).Seconds())
			}
			failed := regexp.MustCompile(`failed, version v1 runs again: ([^\r\n]*)`)
			var reason []string
			for end := time.Now().Add(tt.limit); reason == nil; time.Sleep(time.Second) {
				if reason = failed.FindStringSubmatch(m.Serial()[before:]); reason == nil && time.Now().After(end) {
					t.Fatalf("it didn't go back within %v", tt.limit)
				}
			}
			t.Logf("back after %.1f s: %s", time.Since(began).Seconds(), reason[1])
			if !strings.Contains(reason[1], tt.reason) {
				t.Errorf("reason %q, want one with %q", reason[1], tt.reason)
			}
			m.awaitLUN(t, iqn)
			u.clean(t)
			// A shell is sure to answer in a machine that was just switched on.
			m.Kill()
			m = u.boot(whole, u.disks...)
			m.awaitLUN(t, iqn)
			m.awaitPhase(t, "fell-back", "a", "v1")
			if said := m.shell(t, "sanctl update status"); !strings.Contains(said, "failed, and what was there before runs") {
				t.Errorf("sanctl update status says\n%s", said)
			}
		})
		if t.Failed() {
			return
		}
	}
	if said := m.shell(t, "sanctl update dismiss; sanctl status"); !strings.Contains(said, "Health: ok") {
		t.Errorf("after sanctl update dismiss:\n%s", said)
	}
	m.powerDown(t)
}

// TestUpdatePowerCut cuts the power at random moments of updates, from the
// command until the new version is kept: UPDATE_CUTS of them (6), with the
// random numbers of UPDATE_SEED. Each time a whole version starts, says what
// became of the update, and leaves both volumes clean. With UPDATE_LEDGER, a
// line is added to that file.
func TestUpdatePowerCut(t *testing.T) {
	cuts, seed := 6, uint64(time.Now().UnixNano())
	if s := os.Getenv("UPDATE_CUTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		cuts = n
	}
	if s := os.Getenv("UPDATE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("UPDATE_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	u := newUpdates(t, "hostname = \"attic\"\n")
	offers := []string{
		u.offer(t, u.version(t, "v1", time.Unix(1000, 0)), signer),
		u.offer(t, u.version(t, "v2", time.Unix(2000, 0)), signer),
	}
	phases, boots := map[string]int{}, map[string]int{}
	took := 20 * time.Second // from the command to the restart
	done := 0
	for ; done < cuts && !t.Failed(); done++ {
		m := u.boot(t)
		var s status.Snapshot
		for end := time.Now().Add(bootTime); s.System.Slot == "" || s.System.Update == nil && done > 0; s = m.status(t) {
			if time.Now().After(end) {
				t.Fatalf("cut %d: the machine doesn't say what became of the update: %+v", done, s.System)
			}
		}
		phase := "none"
		if s.System.Update != nil {
			phase = s.System.Update.Phase
			t.Logf("cut %d: slot %s runs %s (%s): %s %s", done, s.System.Slot, s.Version, s.System.Mode, phase, s.System.Update.Reason)
		}
		phases[phase]++
		boots[s.Version]++
		time.Sleep(2 * time.Second) // what is written at the start is written
		held := u.clean(t)
		if held[s.System.Slot] != s.Version {
			t.Errorf("cut %d: version %s runs from slot %s, which holds %s", done, s.Version, s.System.Slot, held[s.System.Slot])
		}
		if phase == "trying" {
			if rnd.IntN(2) == 0 { // the next cut falls into the trial
				time.Sleep(time.Duration(rnd.Int64N(int64(25 * time.Second))))
				m.Kill()
				continue
			}
			s = m.awaitPhase(t, "confirmed", s.System.Slot, s.Version)
		}
		next := offers[0]
		if s.Version == "v1" {
			next = offers[1]
		}
		began, before := time.Now(), len(m.Serial())
		m.send(t, "sanctl update --allow-older "+next)
		// Evenly over writing, comparing, restarting and the trial.
		cut := time.Duration(rnd.Int64N(int64(took + 50*time.Second)))
		for time.Since(began) < cut {
			time.Sleep(20 * time.Millisecond)
			if text := m.Serial(); took == 20*time.Second && len(text) > before && strings.Contains(text[before:], "the machine restarts with it now") {
				took = time.Since(began)
			}
		}
		m.Kill()
	}
	t.Logf("%d cuts; after them, updates were %v, and these versions ran: %v", done, phases, boots)
	if name := os.Getenv("UPDATE_LEDGER"); name != "" {
		result := "ok"
		if t.Failed() {
			result = "FAILED"
		}
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(f, "| %s | %s | %d | %d | %v | %s |\n", time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(run(t, "git", "rev-parse", "--short", "HEAD")), seed, done, phases, result)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
	}
}
