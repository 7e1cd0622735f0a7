package box

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
)

// book is a file on the stick that keeps something of pools, by the UUID of the
// volume group. What it is told counts from then on, even if the stick isn't here or
// can't be written; then the next one that can has it. Another stick that is put in
// gets all that the book knows, and keeps what it has of other pools. Safe for
// concurrent use.
type book[V any] struct {
	path  string
	write func(func() error) error // makes the stick writable for a moment

	mu      sync.Mutex
	entries map[string]V
	changes map[string]int // how often an entry was changed; also of those that are gone
	onStick map[string]int // which of the changes the stick has
	moved   bool           // a stick was mounted that may have something else
	damaged error          // why nothing is known of what the stick had
}

// newBook reads what is on the stick. If that can't be read, it is empty.
func newBook[V any](path string, write func(func() error) error) (*book[V], error) {
	k := &book[V]{path: path, write: write, entries: map[string]V{}, changes: map[string]int{}, onStick: map[string]int{}}
	_, entries, err := k.read()
	k.damaged = err
	for group, v := range entries {
		k.entries[group], k.changes[group], k.onStick[group] = v, 1, 1
	}
	return k, err
}

// read reads the file; nothing, if there is none.
func (k *book[V]) read() (data []byte, entries map[string]V, err error) {
	data, err = readBounded(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &entries)
	}
	if err != nil {
		return nil, nil, err
	}
	return data, entries, nil
}

// get returns a pool's entry. kept says that the stick has it, as far as is known.
func (k *book[V]) get(group string) (v V, kept bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.entries[group], !k.moved && k.changes[group] == k.onStick[group]
}

// set changes a pool's entry, or removes it. An error says that it isn't on the
// stick yet.
func (k *book[V]) set(group string, v V, remove bool) error {
	k.mu.Lock()
	if k.changes[group]++; remove {
		delete(k.entries, group)
	} else {
		k.entries[group] = v
	}
	k.mu.Unlock()
	return k.write(k.put)
}

// bytes are what the file should hold; nil if that is nothing. It fails while the
// stick has something that couldn't be read.
func (k *book[V]) bytes() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.damaged != nil {
		return nil, k.damaged
	}
	return k.encode()
}

// encode is bytes for who holds mu.
func (k *book[V]) encode() ([]byte, error) {
	if len(k.entries) == 0 {
		return nil, nil
	}
	b, err := json.MarshalIndent(k.entries, "", "  ")
	return append(b, '\n'), err
}

// remounted is told that another stick is mounted, or the same one again.
func (k *book[V]) remounted() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved = true
}

// behind tells whether the stick may lack something.
func (k *book[V]) behind() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.moved || !maps.Equal(k.changes, k.onStick)
}

// compare takes in what the stick has of pools that aren't known, and returns what
// it should have; nothing if it has that. Nobody else may be writing the file.
func (k *book[V]) compare() (data []byte, lacks bool, noted func(), err error) {
	has, entries, readErr := k.read()
	k.mu.Lock()
	defer k.mu.Unlock()
	for group, v := range entries {
		if k.changes[group] == 0 {
			k.entries[group], k.changes[group] = v, 1
		}
	}
	if data, err = k.encode(); err != nil {
		return nil, true, nil, err
	}
	if data == nil && (len(entries) > 0 || readErr != nil) {
		data = []byte("{}\n")
	}
	changes := maps.Clone(k.changes)
	noted = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.onStick, k.moved, k.damaged = changes, false, nil
	}
	return data, data != nil && !bytes.Equal(data, has), noted, nil
}

// inLine tells whether the stick has all. It doesn't write.
func (k *book[V]) inLine() bool {
	_, lacks, noted, err := k.compare()
	if err != nil || lacks {
		return false
	}
	noted()
	return true
}

// put gives the stick, which is writable, what it lacks.
func (k *book[V]) put() error {
	data, lacks, noted, err := k.compare()
	if err == nil && lacks {
		err = replaceFile(k.path, data)
	}
	if err != nil {
		return fmt.Errorf("cannot write down what is known of pools: %w", err)
	}
	noted()
	return nil
}
