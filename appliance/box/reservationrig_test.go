package box

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/appliance/disk/pool"
	"sanstick/target/scsi"
)

// keptState is what package scsi keeps of a unit with one registration.
func keptState(n naa, key uint64) []byte {
	b := append([]byte("SANPRST\x01"), n[:]...)
	b = append(b, 1, 0, 0xff, 0xff, 0, 1)
	b = binary.BigEndian.AppendUint64(b, key)
	b = append(b, 0, 1, 1, 'i', 1, 't')
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func keyOf(b []byte) uint64 {
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[30:])
}

// reservationRig is a stick and two disks of pool "tank", each of which can be away.
type reservationRig struct {
	*reservations
	rig     *copiesRig
	stick   error // why it can't be written to
	away    map[string]bool
	volumes []string // identities of the pool's
}

func newReservationRig(t *testing.T) *reservationRig {
	t.Helper()
	r := &reservationRig{away: map[string]bool{}, volumes: []string{"one", "two"}}
	r.rig = newCopiesRig(t, newAreaDisks(), true)
	r.rig.put(t, configName, "config")
	r.rig.use("config")
	r.start(t)
	return r
}

// start is what a power cut leaves.
func (r *reservationRig) start(t *testing.T) {
	t.Helper()
	old := r.rig
	dir := old.dir
	c := newCopies(dir, func(f func() error) error {
		if r.stick != nil {
			return r.stick
		}
		return f()
	}, r.StickAreas, slog.New(slog.DiscardHandler))
	c.open, c.now, c.inForce = old.disks.open, old.now, old.inForce
	c.ours, _ = c.readID()
	r.rig = &copiesRig{copies: c, disks: old.disks, list: old.list}
	r.reservations = newReservations(dir, c.write, c, r, slog.New(slog.DiscardHandler))
	r.configured = func() []string { return []string{"tank"} }
	t.Cleanup(c.end)
}

func (r *reservationRig) StickAreas() (all []pool.StickArea) {
	for _, a := range r.rig.list {
		if !r.away[a.Disk] {
			all = append(all, a)
		}
	}
	return all
}

func (r *reservationRig) Missing(string) (all []string) {
	for _, a := range r.rig.list {
		if r.away[a.Disk] {
			all = append(all, a.Disk)
		}
	}
	return all
}

func (r *reservationRig) Identities(in string) ([]string, bool) { return r.volumes, in == "tank" }

func naaOf(volume string) naa { return scsi.NAAFromUUID(volume) }

// save has a volume keep a key.
func (r *reservationRig) save(t *testing.T, volume string, key uint64) error {
	t.Helper()
	n := naaOf(volume)
	if err := r.check("tank", n); err != nil {
		t.Fatal(err)
	}
	return r.store("tank", n).Save(keptState(n, key))
}

// wantKey checks what a volume would be served with.
func (r *reservationRig) wantKey(t *testing.T, volume string, want uint64) {
	t.Helper()
	n := naaOf(volume)
	if err := r.check("tank", n); err != nil {
		t.Errorf("volume %s: %v", volume, err)
		return
	}
	b, err := r.store("tank", n).Load()
	if err != nil || keyOf(b) != want {
		t.Errorf("volume %s has key %d, error %v, want %d", volume, keyOf(b), err, want)
	}
}

func (r *reservationRig) wantDoubt(t *testing.T, words string) {
	t.Helper()
	err := r.check("tank", naaOf("one"))
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want %q", err, words)
	}
	if p := r.problems(); len(p) == 0 || !strings.Contains(p[0].What, words) || !strings.Contains(p[0].Do, "sanctl pool reservations tank") {
		t.Errorf("problems %+v", p)
	}
}

func (r *reservationRig) fail(disk string, fails bool) {
	d := r.rig.disks
	d.mu.Lock()
	defer d.mu.Unlock()
	if fails {
		stuck := make(chan struct{})
		close(stuck)
		d.hang["/dev/"+disk] = stuck
	} else {
		delete(d.hang, "/dev/"+disk)
	}
}

// swap puts another appliance's stick in the place of ours, or takes it out again.
func (r *reservationRig) swap(in bool) {
	for _, name := range []string{configName, idName} {
		path, aside := filepath.Join(r.dir, name), filepath.Join(r.dir, filepath.Base(name)+".ours")
		var err error
		if _, gone := os.Stat(aside); in && gone != nil {
			err = errors.Join(os.Rename(path, aside), os.WriteFile(path, []byte(strings.Repeat("0", 32)+"\n"), 0o600))
		} else if !in && gone == nil {
			err = os.Rename(aside, path)
		}
		if err != nil {
			panic(err)
		}
	}
}

func mustSave(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
