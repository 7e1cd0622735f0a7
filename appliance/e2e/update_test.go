//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// signer signs the updates of these tests; the image doesn't know it, so its
// public key is put into the initramfs of each test's stick.
var signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

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

// TestNewVersion brings a machine a new version under an initiator, which is kept,
// and one that can't start, which isn't. Both are started without the firmware.
func TestNewVersion(t *testing.T) {
	t.Parallel()
	u := newUpdates(t, goodTOML)
	u.bus = qemu.Virtio // TestUpdate has the usual one, which is slower
	m := u.start(t)
	m.goes(t, u, "", func(s status.Snapshot) {
		if m.byFirmware(t) {
			t.Error("it was started by the firmware")
		}
	})
	if t.Failed() {
		return
	}
	m.comesBack(t, u, "", u.versionOf(t, nil, "v3", time.Unix(3000, 0), panics)) // the kernel and next to nothing
}

// TestUpdate does the same by way of the firmware, with an initramfs of the usual
// size. Before that, what isn't signed, or is older, is refused.
func TestUpdate(t *testing.T) {
	t.Parallel()
	u := newUpdates(t, goodTOML)
	m := u.start(t)
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
	m.goes(t, u, noKexec, func(status.Snapshot) {
		if !m.byFirmware(t) {
			t.Error("it wasn't started by the firmware")
		}
	})
	if t.Failed() {
		return
	}
	m.comesBack(t, u, noKexec, u.version(t, "v3", time.Unix(3000, 0), panics))
}

// TestUpdateSecureBoot does the same where the firmware runs only what is signed: a
// new version that the running kernel starts itself, and one that panics.
func TestUpdateSecureBoot(t *testing.T) {
	t.Parallel()
	u := newUpdates(t, goodTOML)
	u.bus = qemu.Virtio
	u.firmware = qemu.SecureBoot
	m := u.start(t)
	m.booted(t, qemu.SecureBoot)
	m.goes(t, u, "", func(status.Snapshot) {
		if m.byFirmware(t) {
			t.Error("it was started by the firmware")
		}
	})
	if t.Failed() {
		return
	}
	m.comesBack(t, u, "", u.versionOf(t, nil, "v3", time.Unix(3000, 0), panics))
}

// start switches the machine on, with something on its LUN.
func (u *updates) start(t *testing.T) *machine {
	t.Helper()
	m := u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0xa5 0 1M", "-c", "flush", m.url(iqn))
	return m
}

// goes brings the machine from v1 to v2, which is kept.
func (m *machine) goes(t *testing.T, u *updates, options string, look func(status.Snapshot)) {
	t.Helper()
	first := m.identity(t)
	stop := m.pauses(t, iqn)
	began := time.Now()
	before := m.updateTo(t, options+u.offer(t, u.version(t, "v2", time.Unix(2000, 0)), signer))
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
	look(s)
}

// comesBack brings the machine from v2 to a version that panics, and so back to v2.
func (m *machine) comesBack(t *testing.T, u *updates, options string, to system) {
	t.Helper()
	began := time.Now()
	before := m.updateTo(t, options+u.offer(t, to, signer))
	m.restarted(t, before, 2*bootTime)
	m.awaitLUN(t, iqn)
	t.Logf("back after %.1f s", time.Since(began).Seconds())
	s := m.awaitPhase(t, "fell-back", "b", "v2")
	if s.System.Mode != "fallback" || !strings.Contains(s.System.Update.Reason, "kernel stopped or hung") {
		t.Errorf("system %+v, update %+v", s.System, s.System.Update)
	}
	if !m.byFirmware(t) {
		t.Error("what was gone back to wasn't started by the firmware")
	}
	m.powerDown(t)
	u.clean(t)
}

// TestUpdateGoesBack is every way in which a version can be no good.
func TestUpdateGoesBack(t *testing.T) {
	t.Parallel()
	whole := t // machines outlive the row that switches them on
	u := newUpdates(t, goodTOML)
	m := u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	for i, tt := range []struct {
		name    string
		spoil   file
		options string
		reason  string
		limit   time.Duration
	}{
		{"daemon dies", dead, noKexec, "kernel stopped or hung", 5 * time.Minute},
		{"hangs", hangs, "", "kernel stopped or hung", 8 * time.Minute},
		{"unhealthy", noLVM, "", "pool tank", 12 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			before := m.updateTo(t, tt.options+u.offer(t, u.version(t, fmt.Sprintf("bad%d", i), time.Unix(5000, 0), tt.spoil), signer))
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
// command until the new version is kept, half of them by way of the firmware: UPDATE_CUTS of them (6), with the
// random numbers of UPDATE_SEED. Each time a whole version starts, says what
// became of the update, and leaves both volumes clean. With UPDATE_LEDGER, a
// line is added to that file.
func TestUpdatePowerCut(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "UPDATE_CUTS", 6), uint64(number(t, "UPDATE_SEED", int(time.Now().UnixNano())))
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
		way := ""
		if rnd.IntN(2) == 0 {
			way = noKexec
		}
		m.send(t, "sanctl update --allow-older "+way+next)
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
	noteCuts(t, "UPDATE_LEDGER", seed, done, phases)
}
