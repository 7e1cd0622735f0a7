package box

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"sanstick/appliance/disk/pool"
)

// mendingName is the file on the stick with what mending pools depends on over a
// restart, by LVM's UUIDs of the groups.
const mendingName = "sanstick/mending.json"

// ledger is a pool.Ledger on the stick. Safe for concurrent use.
type ledger struct {
	*book[pool.Entry]
}

// newLedger reads what is on the stick. A file that can't be read counts as none:
// what is in it only saves time.
func newLedger(dir string, write func(func() error) error, log *slog.Logger) *ledger {
	k, err := newBook[pool.Entry](filepath.Join(dir, mendingName), write)
	if err != nil {
		log.Error("Cannot tell since when disks are lost", "file", k.path, "error", err)
	}
	return &ledger{k}
}

// Entry implements pool.Ledger.
func (l *ledger) Entry(group string) pool.Entry {
	e, _ := l.get(group)
	return e
}

// Keep implements pool.Ledger.
func (l *ledger) Keep(group string, e pool.Entry) error {
	if err := l.set(group, e, e.IsZero()); err != nil {
		return fmt.Errorf("cannot keep on the stick how mending goes: %w", err)
	}
	return nil
}
