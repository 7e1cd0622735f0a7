//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cutsFor is how long power is cut again and again.
const cutsFor = 70 * time.Second

// TestConfigPowerCut cuts the power at random moments of sanctl config apply, with the
// random numbers of CONFIG_CUT_SEED: appliance.toml is the old one or the new one, and
// so is what is kept as the last good one. A cut is the stick as it is while the
// machine stands still: requests to a USB stick come one by one, and it has done those
// that it has got.
func TestConfigPowerCut(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CONFIG_CUT_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("CONFIG_CUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))

	s := newSite(t, blankTOML)
	m := s.boot(t)
	// Of several clusters each, and of different length.
	contents := []string{blankTOML + strings.Repeat("# old\n", 400), blankTOML + strings.Repeat("# new, and longer\n", 500)}
	for i, text := range contents {
		m.succeeds(t, fmt.Sprintf("%s </dev/null >/tmp/%d.toml", m.fetched(t, text), i))
	}
	m.succeeds(t, "sanctl config apply /tmp/0.toml")
	m.send(t, "while true; do sanctl config apply /tmp/1.toml; sanctl config apply /tmp/0.toml; done")

	v := s.openVolume(t)
	var window time.Duration // for which the stick is writable
	for range 4 {
		v.await(t, true)
		began := time.Now()
		v.await(t, false)
		window = max(window, time.Since(began))
	}
	t.Logf("the stick is writable for %v", window)
	cuts, configs, goods := 0, map[string]int{}, map[string]int{}
	for end := time.Now().Add(cutsFor); time.Now().Before(end) && !t.Failed(); cuts++ {
		v.await(t, false)
		v.await(t, true)
		time.Sleep(time.Duration(rnd.Int64N(int64(window))))
		if _, err := m.QMP(t.Context(), "stop", nil); err != nil {
			t.Fatal(err)
		}
		image := v.read(t)
		if _, err := m.QMP(t.Context(), "cont", nil); err != nil {
			t.Fatal(err)
		}
		configs[checkCut(t, image, "appliance.toml", contents)]++
		goods[checkCut(t, image, "sanstick/last-good.toml", contents)]++
		// What nothing points to is left over, and files that weren't finished.
		out, err := exec.Command("fsck.fat", "-n", image).CombinedOutput()
		if len(out) == 0 {
			t.Fatal(err) // it exits with 1 if it complains
		}
		if bad := spoiled.Find(out); bad != nil {
			t.Errorf("fsck.fat says %q:\n%s", bad, out)
		}
	}
	t.Logf("%d cuts found appliance.toml %v, last-good.toml %v", cuts, configs, goods)
	if len(configs) < len(contents) || len(goods) < len(contents) {
		t.Error("the file wasn't seen both old and new")
	}
}

// spoiled are complaints of fsck.fat that aren't about what is left over.
var spoiled = regexp.MustCompile(`share clusters|appliance\.toml|last-good|/sanstick\n|[Bb]ad |Circular`)

// checkCut reads a file of a FAT volume, and returns which of the contents it is.
func checkCut(t *testing.T, image, name string, contents []string) string {
	t.Helper()
	out, err := exec.Command("mtype", "-i", image, "::"+name).CombinedOutput()
	for i, text := range contents {
		if err == nil && string(out) == text {
			return strconv.Itoa(i)
		}
	}
	said, _ := exec.Command("fsck.fat", "-n", image).CombinedOutput()
	t.Errorf("%s is neither old nor new: %v, %d bytes: %.200q\nfsck.fat says\n%s", name, err, len(out), out, said)
	return "broken"
}

// volume is the partition SANSTICK of a stick that a machine uses.
type volume struct {
	f           *os.File
	start, size int64
	copy        string
}

func (s *site) openVolume(t *testing.T) *volume {
	t.Helper()
	match := extent.FindStringSubmatch(run(t, "sgdisk", "-i", "3", s.stick))
	if match == nil {
		t.Fatalf("sgdisk doesn't know partition 3 of %s", s.stick)
	}
	start, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	size, err := strconv.ParseInt(match[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.stick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &volume{f, start * 512, size * 512, filepath.Join(s.dir, "cut")}
}

// await waits until the volume is marked as mounted for writing, or as not.
func (v *volume) await(t *testing.T, writable bool) {
	t.Helper()
	state := make([]byte, 1)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := v.f.ReadAt(state, v.start+65); err != nil {
			t.Fatal(err)
		}
		if (state[0]&1 != 0) == writable {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the stick never becomes writable (or not): want %v", writable)
		}
	}
}

// read copies the volume to a file of its own.
func (v *volume) read(t *testing.T) string {
	t.Helper()
	b := make([]byte, v.size)
	if _, err := v.f.ReadAt(b, v.start); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.copy, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return v.copy
}
