package box

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
)

// poolsName is the file on the stick that says which disks hold the newest state
// of pools that were used without the others: by LVM's UUIDs, of the group and
// of physical volumes.
const poolsName = "sanstick/pools.json"

// witness is a pool.Witness on the stick. Safe for concurrent use.
type witness struct {
	*book[[]string]
	// disks tells, if not nil, whether a disk keeps a file with these bytes: of a
	// stick in memory nothing else lasts.
	disks func(data []byte) bool
}

// newWitness reads what is on the stick. A file that can't be read counts as
// none, as on a new stick.
func newWitness(dir string, write func(func() error) error, log *slog.Logger) *witness {
	k, err := newBook[[]string](filepath.Join(dir, poolsName), write)
	if err != nil {
		log.Error("Cannot tell whether a disk is out of date", "file", k.path, "error", err)
	}
	return &witness{book: k}
}

// Newest implements pool.Witness.
func (w *witness) Newest(group string) (newest []string, kept bool) {
	newest, kept = w.get(group)
	if w.disks != nil {
		data, err := w.bytes()
		kept = kept && err == nil && w.disks(data)
	}
	return newest, kept
}

// Remember implements pool.Witness.
func (w *witness) Remember(group string, newest []string) error {
	if err := w.set(group, newest, len(newest) == 0); err != nil {
		return fmt.Errorf("cannot keep on the stick which disks are up to date: %w", err)
	}
	return nil
}

// keeps tells whether a disk has a copy in which a file holds data.
func (c *copies) keeps(name string, data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.last {
		if k.copy.Appliance != "" && bytes.Equal(k.copy.Files[name], data) {
			return true
		}
	}
	return false
}
