package errno

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
)

func TestWrap(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{unix.ENOSPC, block.ErrNoSpace},
		{unix.EDQUOT, block.ErrNoSpace},
		{&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, block.ErrNoSpace},
		{unix.EROFS, block.ErrReadOnly},
		{unix.EOPNOTSUPP, block.ErrNotSupported},
		{unix.EIO, block.ErrMedium},
		{unix.EREMOTEIO, block.ErrMedium},
		{io.EOF, block.ErrMedium},
		{fmt.Errorf("x: %w", block.ErrRange), block.ErrRange},
	} {
		got := Wrap(tt.err)
		if !errors.Is(got, tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("Wrap(%v) = %v, which is not both it and %v", tt.err, got, tt.want)
		}
		if again := Wrap(got); again != got {
			t.Errorf("Wrap(%v) wraps again: %v", got, again)
		}
	}
	if err := Wrap(nil); err != nil {
		t.Errorf("Wrap(nil) = %v", err)
	}
}
