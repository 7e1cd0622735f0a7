package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
)

// poolsName is the file on the stick that says which disks hold the newest state
// of pools that were used without the others: by LVM's UUIDs, of the group and
// of physical volumes.
const poolsName = "sanstick/pools.json"

// witness is a pool.Witness on the stick. Safe for concurrent use.
type witness struct {
	path  string
	write func(func() error) error // makes the stick writable for a moment

	mu     sync.Mutex
	newest map[string][]string
}

// newWitness reads what is on the stick. A file that can't be read counts as
// none, as on a new stick.
func newWitness(dir string, write func(func() error) error, log *slog.Logger) *witness {
	w := &witness{path: filepath.Join(dir, poolsName), write: write, newest: map[string][]string{}}
	b, err := readBounded(w.path)
	if err == nil {
		err = json.Unmarshal(b, &w.newest)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("Cannot tell whether a disk is out of date", "file", w.path, "error", err)
	}
	if w.newest == nil || err != nil {
		w.newest = map[string][]string{}
	}
	return w
}

// Newest implements pool.Witness.
func (w *witness) Newest(group string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest[group]
}

// Remember implements pool.Witness. What it is told counts from then on, even if
// the stick can't be written.
func (w *witness) Remember(group string, newest []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(newest) == 0 {
		delete(w.newest, group)
	} else {
		w.newest[group] = newest
	}
	if err := writeJSON(w.path, w.newest, w.write); err != nil {
		return fmt.Errorf("cannot keep on the stick which disks are up to date: %w", err)
	}
	return nil
}
