//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/update"
)

// TestUpdateMoments looks at the stick at random moments of updates, from the
// command until the new version is kept: UPDATE_MOMENTS of them (30), with the
// random numbers of UPDATE_SEED. The machine stands still meanwhile, so the stick
// is what a power cut would have left. Whatever GRUB would start then is whole, and
// so is what it would go back to. See TestUpdatePowerCut for what starts.
func TestUpdateMoments(t *testing.T) {
	t.Parallel()
	want, seed := number(t, "UPDATE_MOMENTS", 30), uint64(number(t, "UPDATE_SEED", int(time.Now().UnixNano())))
	t.Logf("UPDATE_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	u := newUpdates(t, "hostname = \"attic\"\n")
	u.bus = "virtio" // quicker than USB
	versions := []string{"v1", "v2"}
	offers := []string{
		u.offer(t, u.version(t, "v1", time.Unix(1000, 0)), signer),
		u.offer(t, u.version(t, "v2", time.Unix(2000, 0)), signer),
	}
	m := u.boot(t)
	m.status(t)
	seen, done := map[string]int{}, 0
	// look looks again and again, until the end.
	look := func(most time.Duration, end func() bool) {
		t.Helper()
		for began := time.Now(); !end() && !t.Failed(); {
			if time.Since(began) > bootTime {
				t.Fatal("the update doesn't go on")
			}
			time.Sleep(time.Duration(rnd.Int64N(int64(most))))
			if _, err := m.QMP(t.Context(), "stop", nil); err != nil {
				t.Fatal(err)
			}
			seen[u.moment(t)]++
			done++
			if _, err := m.QMP(t.Context(), "cont", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 1; done < want && !t.Failed(); n++ {
		next, slot := n%2, []string{"a", "b"}[n%2]
		way := []string{"", noKexec}[n/2%2]
		before := len(m.Serial())
		said := func(words string) bool { return strings.Contains(m.Serial()[before:], words) }
		m.send(t, "sanctl update --allow-older "+way+offers[next])
		look(time.Second, func() bool { return said("Going down to=") || said("sanctl update: ") })
		before = len(m.Serial())
		look(4*time.Second, func() bool { return said("\n  address: ") })
		m.restarted(t, before, bootTime)
		up := time.Now()
		look(4*time.Second, func() bool { return time.Since(up) > 30*time.Second })
		m.awaitPhase(t, "confirmed", slot, versions[next])
	}
	t.Logf("%d moments; GRUB would have started %v", done, seen)
	if len(seen) < 3 {
		t.Error("the update wasn't seen before its trial, in it, and after it")
	}
	noteCuts(t, "UPDATE_LEDGER", seed, done, seen)
}

// moment fails unless GRUB would start a whole version from the stick as it is now,
// and has another whole one if that is on trial. It returns what GRUB would do.
func (u *updates) moment(t *testing.T) string {
	t.Helper()
	volume := u.bootVolume(t)
	read := func(name string) []byte {
		out, err := exec.CommandContext(t.Context(), "mtype", "-i", volume, "::"+name).Output()
		if err != nil {
			t.Errorf("cannot read %s: %v", name, err)
		}
		return out
	}
	env, err := update.DecodeEnv(read("grub/grubenv"))
	if err != nil {
		t.Errorf("GRUB's environment: %v", err)
	}
	starts, what := []update.Slot{env.Active}, "slot "+string(env.Active)
	if env.Next != "" {
		what = fmt.Sprintf("slot %s, %d trials of %s left", env.Active, env.Left, env.Next)
		if env.Left > 0 {
			starts = append(starts, env.Next)
		}
	}
	for _, slot := range starts {
		about, err := update.DecodeManifest(read(string(slot) + "/slot.json"))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, f := range about.Files {
			if sum := sha256.Sum256(read(string(slot) + "/" + f.Name)); hex.EncodeToString(sum[:]) != f.SHA256 {
				t.Errorf("%s: %s of slot %s isn't whole", what, f.Name, slot)
			}
		}
	}
	return what
}
