// Package errno sorts the errors of system calls on storage into those that
// package block names.
package errno

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
)

// Wrap returns nil for nil, and otherwise err wrapped together with the error
// of package block that says what it means: ErrNoSpace when a file system, a
// quota or a thin pool is full, ErrReadOnly, ErrNotSupported, else ErrMedium.
// An error that wraps one of them already stays as it is.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{block.ErrNoSpace, block.ErrReadOnly, block.ErrNotSupported, block.ErrMedium, block.ErrRange} {
		if errors.Is(err, known) {
			return err
		}
	}
	kind := block.ErrMedium
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		kind = block.ErrNoSpace
	case errors.Is(err, unix.EROFS):
		kind = block.ErrReadOnly
	case errors.Is(err, unix.EOPNOTSUPP):
		kind = block.ErrNotSupported
	}
	return fmt.Errorf("%w: %w", kind, err)
}
