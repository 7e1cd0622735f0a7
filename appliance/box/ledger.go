package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"sanstick/appliance/disk/pool"
)

// mendingName is the file on the stick with what mending pools depends on over a
// restart, by LVM's UUIDs of the groups.
const mendingName = "sanstick/mending.json"

// ledger is a pool.Ledger on the stick. Safe for concurrent use.
type ledger struct {
	path  string
	write func(func() error) error // makes the stick writable for a moment

	mu      sync.Mutex
	entries map[string]pool.Entry
}

// newLedger reads what is on the stick. A file that can't be read counts as none:
// what is in it only saves time.
func newLedger(dir string, write func(func() error) error, log *slog.Logger) *ledger {
	l := &ledger{path: filepath.Join(dir, mendingName), write: write}
	b, err := readBounded(l.path)
	if err == nil {
		err = json.Unmarshal(b, &l.entries)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("Cannot tell since when disks are lost", "file", l.path, "error", err)
	}
	if l.entries == nil || err != nil {
		l.entries = map[string]pool.Entry{}
	}
	return l
}

// Entry implements pool.Ledger.
func (l *ledger) Entry(group string) pool.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[group]
}

// Keep implements pool.Ledger.
func (l *ledger) Keep(group string, e pool.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.IsZero() {
		delete(l.entries, group)
	} else {
		l.entries[group] = e
	}
	if err := writeJSON(l.path, l.entries, l.write); err != nil {
		return fmt.Errorf("cannot keep on the stick how mending goes: %w", err)
	}
	return nil
}

// writeJSON replaces a file on the stick, whole or not at all.
func writeJSON(path string, v any, write func(func() error) error) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(func() error { return replaceFile(path, append(b, '\n')) })
}
