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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/stickcopy"
	"sanstick/appliance/status"
)

// The stick may die, so every disk of a configured pool keeps a copy of what is
// on it. A disk that hangs keeps nobody waiting: each is asked and written to by
// a goroutine of its own, of which it never has two.

// idName is the file on the stick with the random number that tells one
// appliance from another.
const idName = "sanstick/appliance-id"

// copiedFiles are what a copy holds, besides the ID.
var copiedFiles = [...]string{configName, lastGoodName, poolsName, mendingName}

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
	// patience is how long one round waits for disks.
	patience time.Duration

	mu   sync.Mutex
	busy map[string]bool   // disks that are being read or written, by path and name
	last map[string]kept   // by path and name, what was found or written last
	fail map[string]string // by the same, why nothing can be kept there
	why  error             // there are no new copies at all
	want stickcopy.Copy    // what all disks should keep; none if it has no appliance
}

// kept is what a disk has: nothing, if copy has no appliance.
type kept struct {
	area pool.StickArea
	copy stickcopy.Copy
}

func newCopies(dir string, write func(func() error) error, areas func() []pool.StickArea, log *slog.Logger) *copies {
	return &copies{
		dir: dir, write: write, areas: areas, open: stickcopy.Open, now: time.Now, log: log, poke: make(chan struct{}, 1), patience: copyPatience,
		busy: map[string]bool{}, last: map[string]kept{}, fail: map[string]string{},
	}
}

func (b *box) newCopies() *copies {
	if b.stick == nil {
		return newCopies("", nil, b.pools.StickAreas, b.log)
	}
	return newCopies(b.o.StickDir, b.stick.write, b.pools.StickAreas, b.log)
}

// changed is told that what is on the stick, or the disks, may have changed.
func (c *copies) changed() {
	select {
	case c.poke <- struct{}{}:
	default: // it looks anyway
	}
}

// run keeps the copies in line until ctx ends. inForce is the configuration file
// that is in force; nil if that isn't the user's own. Only a stick that has that
// very file is copied: not one that was put in the place of another, and not what
// is being edited.
func (c *copies) run(ctx context.Context, inForce func() []byte) {
	tick := time.NewTicker(copyPeriod)
	defer tick.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	for {
		c.round(ctx, &work, inForce())
		select {
		case <-ctx.Done():
			return
		case <-c.poke:
		case <-tick.C:
		}
	}
}

// round reads the areas that aren't known yet, and then writes to those of the
// configured pools that have another copy than they should.
func (c *copies) round(ctx context.Context, work *sync.WaitGroup, inForce []byte) {
	areas := c.areas()
	c.forget(areas)
	c.each(ctx, work, areas, func(a pool.StickArea, k kept, known bool) (kept, error) {
		if known {
			return k, nil
		}
		got, err := stickcopy.Read(c.open, a.Area)
		if errors.Is(err, stickcopy.ErrNone) {
			err = nil
		}
		return kept{a, got}, err
	})
	if inForce == nil || c.dir == "" || ctx.Err() != nil || !slices.ContainsFunc(areas, func(a pool.StickArea) bool { return a.Configured }) {
		return
	}
	want, err := c.current(inForce)
	c.mu.Lock()
	said := c.why
	c.why = err
	c.mu.Unlock()
	if err != nil {
		if said == nil || said.Error() != err.Error() {
			c.log.Warn("Cannot keep copies of the stick", "error", err)
		}
		return
	}
	c.each(ctx, work, areas, func(a pool.StickArea, k kept, known bool) (kept, error) {
		if !known || !a.Configured || k.copy.Same(want) {
			return k, nil
		}
		return kept{a, want}, stickcopy.Write(c.open, a.Area, want)
	})
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
func (c *copies) each(ctx context.Context, work *sync.WaitGroup, areas []pool.StickArea, do func(a pool.StickArea, k kept, known bool) (kept, error)) {
	var round sync.WaitGroup
	for _, a := range areas {
		c.mu.Lock()
		k, known := c.last[key(a)]
		if known {
			k.area = a // the pool's name may have changed
		}
		busy := c.busy[key(a)]
		c.busy[key(a)] = true
		c.mu.Unlock()
		if busy {
			continue
		}
		round.Add(1)
		work.Go(func() {
			defer round.Done()
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

// current is what is on the stick now, newer than everything that is known.
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
		if errors.Is(err, fs.ErrNotExist) && name != configName {
			continue
		}
		if err != nil {
			return x, err
		}
		x.Files[name] = b
	}
	x.Files[configName] = inForce // whatever was written meanwhile
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest stickcopy.Copy
	for _, k := range c.last {
		if k.copy.Generation > newest.Generation || k.copy.Generation == newest.Generation && k.copy.Same(x) {
			newest = k.copy
		}
	}
	if newest.Same(x) {
		x = newest // disks that lack it get the very same
	} else {
		x.Generation = newest.Generation + 1
	}
	c.want = x
	return x, nil
}

// id reads the appliance's ID from the stick, or makes one.
func (c *copies) id() (string, error) {
	path := filepath.Join(c.dir, idName)
	b, err := readBounded(path)
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == 32 {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	return id, c.put(map[string][]byte{idName: []byte(id + "\n")})
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
			path := filepath.Join(c.dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			if err := renameio.WriteFile(path, files[name], 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
				return err
			}
		}
		return nil
	})
}

// found lists the newest copy of each appliance that disks keep, with the disks
// that keep any of it. all is false if a disk hasn't answered yet.
func (c *copies) found() (list []keptBy, all bool) {
	areas := c.areas()
	c.mu.Lock()
	defer c.mu.Unlock()
	all = true
	for _, a := range areas {
		k, ok := c.last[key(a)]
		if !ok {
			all = false
			continue
		}
		if k.copy.Appliance == "" {
			continue
		}
		i := slices.IndexFunc(list, func(l keptBy) bool { return l.copy.Appliance == k.copy.Appliance })
		if i < 0 {
			list, i = append(list, keptBy{copy: k.copy}), len(list)
		}
		l := &list[i]
		if k.copy.Generation > l.copy.Generation {
			l.copy = k.copy
		}
		l.disks = append(l.disks, a.Disk)
		if !slices.Contains(l.pools, a.Pool) {
			l.pools = append(l.pools, a.Pool)
		}
	}
	return list, all
}

// keptBy is an appliance's newest copy.
type keptBy struct {
	copy         stickcopy.Copy
	disks, pools []string
}

func (k keptBy) String() string {
	return fmt.Sprintf("that of appliance %s, of %s, on disk %s (pool %s)", k.copy.Hostname, k.copy.Time.Format("2006-01-02 15:04 UTC"),
		strings.Join(k.disks, ", "), strings.Join(k.pools, ", "))
}

// problems says what a person should know. blank says that the stick has no
// configuration.
func (c *copies) problems(blank bool) []status.Problem {
	var out []status.Problem
	if list, _ := c.found(); blank && c.dir != "" {
		for _, k := range list {
			out = append(out, status.Problem{
				Health: status.Degraded, What: "this stick has no configuration, and one is kept: " + k.String(),
				Do: "to go on with it: sanctl config adopt",
			})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A stick that is write-protected has no ID that could be kept; somebody wants it so.
	quiet := errors.Is(c.why, errOther) || errors.Is(c.why, errGone) || errors.Is(c.why, unix.EROFS) || errors.Is(c.why, unix.EACCES)
	if c.why != nil && !quiet {
		out = append(out, status.Problem{Health: status.Degraded, What: "cannot keep copies of the stick: " + c.why.Error(), Do: "see what is said of the stick"})
	}
	for _, why := range c.fail {
		out = append(out, status.Problem{Health: status.Degraded, What: why, Do: "see what is said of that disk; it is tried again"})
	}
	slices.SortFunc(out, func(a, b status.Problem) int { return strings.Compare(a.What, b.What) })
	return out
}

// holders are the disks that keep what is on the stick now.
func (c *copies) holders() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, k := range c.last {
		if c.want.Appliance != "" && k.copy.Same(c.want) {
			all = append(all, k.area.Disk)
		}
	}
	slices.Sort(all)
	return all
}

// other tells whether the file on the stick isn't the one in force, as far as
// was seen.
func (c *copies) other() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Is(c.why, errOther)
}
