package box

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/stickcopy"
)

// The stick may die, so every disk of a configured pool keeps a copy of what is
// on it. A disk that hangs keeps nobody waiting: each is asked and written to by
// a goroutine of its own, of which it never has two.

// idName is the file on the stick with the random number that tells one
// appliance from another.
const idName = "sanstick/appliance-id"

// copiedFiles are what a copy holds, besides the ID. Reservations aren't read from
// the stick for it: there may be newer ones.
var copiedFiles = [...]string{configName, lastGoodName, poolsName, mendingName, reservationsName}

const (
	// copyPeriod is how often is looked whether disks and copies are in line.
	copyPeriod   = 30 * time.Second
	copyPatience = 5 * time.Second // see copies.patience
)

// copies looks after the stick's copies. Safe for concurrent use.
type copies struct {
	dir   string // of the stick; empty if there is none
	write func(func() error) error
	areas func() []pool.StickArea
	open  stickcopy.Opener
	now   func() time.Time
	log   *slog.Logger
	poke  chan struct{}
	// inForce is the configuration file that is in force; nil if that isn't the
	// user's own. Only a stick that has that very file is copied: not one that was put
	// in the place of another, and not what is being edited.
	inForce func() []byte
	// learn is told of each copy on a disk of a configured pool before another is
	// written there; an error keeps that from being done.
	learn func(pool string, c stickcopy.Copy) error
	// reservations is the newest file with them, nil if there are none.
	reservations func() ([]byte, error)
	// live are files, by name, that are newer in memory than on the stick; nil bytes: no
	// file.
	live map[string]func() ([]byte, error)
	// whole tells whether all disks of the configured pools are here.
	whole func() bool
	// patience is how long one round waits for disks.
	patience time.Duration

	rounds sync.Mutex // held while a round goes on; before mu

	mu   sync.Mutex
	work sync.WaitGroup    // goroutines that ask disks
	over bool              // no more of them are started
	ours string            // the stick's ID, once it is known
	busy map[string]bool   // disks that are being read or written, by path and name
	last map[string]kept   // by path and name, what was found or written last
	fail map[string]string // by the same, why nothing can be kept there
	why  error             // there are no new copies at all
	want stickcopy.Copy    // what all disks should keep; none if it has no appliance
	// generation is the highest that was given out, or may have been; counts is the
	// appliance's ID if the stick was asked for that.
	generation uint64
	counts     string
}

// kept is what a disk has: nothing, if copy has no appliance.
type kept struct {
	area pool.StickArea
	copy stickcopy.Copy
}

func newCopies(dir string, write func(func() error) error, areas func() []pool.StickArea, log *slog.Logger) *copies {
	return &copies{
		dir: dir, write: write, areas: areas, open: stickcopy.Open, now: time.Now, log: log, poke: make(chan struct{}, 1), patience: copyPatience,
		inForce: func() []byte { return nil }, learn: func(string, stickcopy.Copy) error { return nil }, reservations: func() ([]byte, error) { return nil, nil },
		whole: func() bool { return true },
		busy:  map[string]bool{}, last: map[string]kept{}, fail: map[string]string{},
	}
}

func (b *box) newCopies() *copies {
	c := newCopies("", nil, b.pools.StickAreas, b.log)
	if b.stick != nil {
		c = newCopies(b.o.StickDir, b.stick.write, b.pools.StickAreas, b.log)
		c.ours, _ = c.readID() // which is tried again
		c.live = map[string]func() ([]byte, error){poolsName: b.witness.bytes, mendingName: b.ledger.bytes}
	}
	c.inForce, c.whole = func() []byte { return b.settings().file }, b.wholePools
	return c
}

// changed is told that what is on the stick, or the disks, may have changed.
func (c *copies) changed() {
	select {
	case c.poke <- struct{}{}:
	default: // it looks anyway
	}
}

// run keeps the copies in line until ctx ends.
func (c *copies) run(ctx context.Context) {
	tick := time.NewTicker(copyPeriod)
	defer tick.Stop()
	defer c.end()
	for {
		c.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-c.poke:
		case <-tick.C:
		}
	}
}

// end waits for the disks that are being asked. No others are asked afterwards.
func (c *copies) end() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.work.Wait()
}

// read reads the areas that aren't known yet. areas are all that there are.
func (c *copies) read(ctx context.Context) (areas []pool.StickArea) {
	areas = c.areas()
	c.forget(areas)
	c.each(ctx, areas, func(a pool.StickArea, k kept, known bool) (kept, error) {
		if known {
			return k, nil
		}
		got, err := stickcopy.Read(c.open, a.Area)
		if errors.Is(err, stickcopy.ErrNone) {
			err = nil
		}
		return kept{a, got}, err
	})
	return areas
}

// readAll is read for who waits for no round.
func (c *copies) readAll() {
	c.rounds.Lock()
	defer c.rounds.Unlock()
	c.read(context.Background())
}

// round reads the areas that aren't known yet, and then writes to those of the
// configured pools that have another copy than they should. took are the areas that
// have that then, with the reservations that there were at the call, by their keys.
func (c *copies) round(ctx context.Context) (took map[string]bool) {
	c.rounds.Lock()
	defer c.rounds.Unlock()
	areas := c.read(ctx)
	if c.dir == "" || ctx.Err() != nil || !slices.ContainsFunc(areas, func(a pool.StickArea) bool { return a.Configured }) {
		return nil
	}
	unclear := map[string]error{} // areas with reservations that can't be read
	for _, a := range areas {
		if k, known := c.known(a); known && a.Configured {
			if err := c.learn(a.Pool, k.copy); err != nil {
				unclear[key(a)] = err
			}
		}
	}
	want, ok := c.wanted()
	if !ok {
		return nil
	}
	c.each(ctx, areas, func(a pool.StickArea, k kept, known bool) (kept, error) {
		if !known || !a.Configured {
			return k, nil
		}
		if err := unclear[key(a)]; err != nil {
			return k, fmt.Errorf("cannot keep a copy of the stick on disk %s: it has reservations that can't be read: %w", a.Disk, err)
		}
		if k.copy.Same(want) && k.copy.Generation == want.Generation {
			return k, nil
		}
		return kept{a, want}, stickcopy.Write(c.open, a.Area, want)
	})
	took = map[string]bool{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range areas {
		if k, known := c.last[key(a)]; known && a.Configured && k.copy.Same(want) {
			took[key(a)] = true
		}
	}
	return took
}

// wanted is what the disks should keep: what is on the stick, or, if that is gone or
// has something else, what was on it last, with the reservations that there are now.
func (c *copies) wanted() (stickcopy.Copy, bool) {
	reservations, tooLong := c.reservations()
	inForce := c.inForce()
	err := errOther
	var want stickcopy.Copy
	if inForce != nil {
		want, err = c.current(inForce)
	}
	c.mu.Lock()
	said := c.why
	c.why = err
	if inForce == nil {
		c.why = nil // the configuration's problems say why
	}
	if tooLong != nil {
		c.why = tooLong
	}
	c.mu.Unlock()
	if tooLong != nil {
		return want, false
	}
	if err != nil {
		if inForce != nil && (said == nil || said.Error() != err.Error()) {
			c.log.Warn("Cannot keep copies of what is on the stick", "error", err)
		}
		var ok bool
		if want, ok = c.before(); !ok {
			return want, false
		}
	}
	for name, bytes := range c.live {
		b, err := bytes()
		if err != nil {
			continue // what was read is as good as anything
		}
		if delete(want.Files, name); b != nil {
			want.Files[name] = b
		}
	}
	if reservations == nil {
		delete(want.Files, reservationsName)
	} else {
		want.Files[reservationsName] = reservations
	}
	return c.newest(want), true
}

// before is a copy of what was on the stick last, as far as that is known.
func (c *copies) before() (x stickcopy.Copy, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x = c.want; x.Appliance == "" {
		for _, k := range c.last {
			if k.area.Configured && k.copy.Appliance == c.ours && k.copy.Generation >= x.Generation {
				x = k.copy
			}
		}
	}
	if x.Appliance == "" {
		return x, false
	}
	x.Files, x.Time = maps.Clone(x.Files), c.now().UTC().Truncate(time.Second)
	return x, true
}

// known is what was found in an area, or written to it, last.
func (c *copies) known(a pool.StickArea) (kept, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.last[key(a)]
	return k, ok
}

func key(a pool.StickArea) string { return a.Path + " " + a.Disk }

// forget drops what is known of disks that went.
func (c *copies) forget(areas []pool.StickArea) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.last {
		if !slices.ContainsFunc(areas, func(a pool.StickArea) bool { return key(a) == k }) {
			delete(c.last, k)
			delete(c.fail, k)
		}
	}
}

// each does something with all areas at once, and waits for the disks that
// answer in time. What it returns is noted.
func (c *copies) each(ctx context.Context, areas []pool.StickArea, do func(a pool.StickArea, k kept, known bool) (kept, error)) {
	var round sync.WaitGroup
	for _, a := range areas {
		c.mu.Lock()
		k, known := c.last[key(a)]
		if known {
			k.area = a // the pool's name may have changed
		}
		if c.busy[key(a)] || c.over {
			c.mu.Unlock()
			continue
		}
		c.busy[key(a)] = true
		c.work.Add(1)
		c.mu.Unlock()
		round.Go(func() {
			defer c.work.Done()
			k, err := do(a, k, known)
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.busy, key(a))
			if err == nil {
				delete(c.fail, key(a))
				if k.area.Path != "" {
					c.last[key(a)] = k
				}
				return
			}
			if c.fail[key(a)] == "" {
				c.log.Warn("A disk keeps no copy of the stick", "disk", a.Disk, "error", err)
			}
			delete(c.last, key(a)) // it is read again
			c.fail[key(a)] = err.Error()
		})
	}
	done := make(chan struct{})
	go func() { round.Wait(); close(done) }()
	patience := time.NewTimer(c.patience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// errOther says that the stick's file isn't the one in force.
var errOther = errors.New("the configuration on the stick isn't the one that is in force")

// current is what is on the stick now, but for its generation and reservations.
func (c *copies) current(inForce []byte) (stickcopy.Copy, error) {
	if b, err := readBounded(filepath.Join(c.dir, configName)); err != nil {
		return stickcopy.Copy{}, err
	} else if !bytes.Equal(b, inForce) {
		return stickcopy.Copy{}, errOther
	}
	id, err := c.id()
	if err != nil {
		return stickcopy.Copy{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return stickcopy.Copy{}, err
	}
	x := stickcopy.Copy{Appliance: id, Hostname: host, Time: c.now().UTC().Truncate(time.Second), Files: map[string][]byte{}}
	for _, name := range copiedFiles {
		b, err := readBounded(filepath.Join(c.dir, name))
		if name == reservationsName || errors.Is(err, fs.ErrNotExist) && name != configName {
			continue
		}
		if err != nil {
			return x, err
		}
		x.Files[name] = b
	}
	x.Files[configName] = inForce // whatever was written meanwhile
	return x, nil
}

// id reads the appliance's ID from the stick, or makes one.
func (c *copies) id() (string, error) {
	id, err := c.readID()
	if err != nil {
		return "", err
	}
	if id == "" {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		id = hex.EncodeToString(random[:])
		if err := c.put(map[string][]byte{idName: []byte(id + "\n")}); err != nil {
			return "", err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ours = id
	return id, nil
}

// own tells whether the stick that is here is this appliance's.
func (c *copies) own() error {
	id, err := c.readID()
	if err == nil && c.foreign(id) {
		err = errForeignStick
	}
	return err
}

// foreign tells whether an ID isn't this appliance's, as far as that is known.
func (c *copies) foreign(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ours != "" && id != c.ours
}

// readID reads the ID, which is empty if there is none.
func (c *copies) readID() (string, error) {
	b, err := readBounded(filepath.Join(c.dir, idName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if id := strings.TrimSpace(string(b)); len(id) == 32 {
		return id, nil
	}
	return "", nil
}

// put writes files to the stick, each as a whole; the configuration comes last.
func (c *copies) put(files map[string][]byte) error {
	names := make([]string, 0, len(files))
	for name := range files {
		if name != configName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if _, ok := files[configName]; ok {
		names = append(names, configName)
	}
	return c.write(func() error {
		for _, name := range names {
			if err := replaceFile(filepath.Join(c.dir, filepath.FromSlash(name)), files[name]); err != nil {
				return err
			}
		}
		return nil
	})
}
