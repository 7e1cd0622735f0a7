package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is what is written and read at once.
const chunk = 4 << 20

// transfer writes size bytes of image to dev, flushes, drops what is cached of dev, and reads it back.
func transfer(ctx context.Context, dev, image *os.File, size int64, out io.Writer) error {
	buf := make([]byte, chunk)
	err := each(ctx, size, "writing", out, func(at, n int64) error {
		if _, err := image.ReadAt(buf[:n], at); err != nil {
			return fmt.Errorf("cannot read the image: %w", err)
		}
		if _, err := dev.WriteAt(buf[:n], at); err != nil {
			return fmt.Errorf("cannot write to the stick at byte %d: %w", at, err)
		}
		// Bit by bit: else all of it is in the cache at once, and the bar says nothing about the stick.
		if err := unix.SyncFileRange(int(dev.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE); err != nil && !errors.Is(err, unix.ESPIPE) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot write to the stick at byte %d: %w", at, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "flushing")
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("cannot flush the stick: %w", err)
	}
	if err := dropCaches(dev); err != nil {
		return err
	}
	got := make([]byte, chunk)
	return each(ctx, size, "reading back", out, func(at, n int64) error {
		if _, err := image.ReadAt(buf[:n], at); err != nil {
			return fmt.Errorf("cannot read the image: %w", err)
		}
		if _, err := dev.ReadAt(got[:n], at); err != nil {
			return fmt.Errorf("cannot read the stick back at byte %d: %w", at, err)
		}
		if !bytes.Equal(buf[:n], got[:n]) {
			return fmt.Errorf("the stick doesn't hold what was written to it, from byte %d on: it is broken, or smaller than it says", at+firstDifference(buf[:n], got[:n]))
		}
		return nil
	})
}

func firstDifference(a, b []byte) int64 {
	for i := range a {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(len(a))
}

// dropCaches makes sure that what is read next comes from the stick.
func dropCaches(dev *os.File) error {
	block, err := isBlock(dev)
	if err == nil && block {
		if err = unix.IoctlSetInt(int(dev.Fd()), unix.BLKFLSBUF, 0); err == nil {
			return nil
		}
	}
	if err == nil {
		err = unix.Fadvise(int(dev.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	if err != nil {
		return fmt.Errorf("cannot drop what is cached of the stick: %w", err)
	}
	return nil
}

// reread has the kernel look at the partitions anew.
func reread(dev *os.File) error {
	block, err := isBlock(dev)
	if err == nil && block {
		err = unix.IoctlSetInt(int(dev.Fd()), unix.BLKRRPART, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot have the kernel read the partition table: %w", err)
	}
	return nil
}

func isBlock(f *os.File) (bool, error) {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeDevice != 0 && fi.Mode()&os.ModeCharDevice == 0, err
}

// each calls fn for one piece after the other and shows a bar.
func each(ctx context.Context, size int64, what string, out io.Writer, fn func(at, n int64) error) error {
	started, shown := time.Now(), time.Time{}
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			fmt.Fprintln(out)
			return fmt.Errorf("interrupted while %s, after %.1f of %.1f MB", what, float64(at)/1e6, float64(size)/1e6)
		}
		n := min(chunk, size-at)
		if err := fn(at, n); err != nil {
			fmt.Fprintln(out)
			return err
		}
		at += n
		if time.Since(shown) > 200*time.Millisecond || at == size {
			shown = time.Now()
			fmt.Fprint(out, "\r"+bar(what, at, size, time.Since(started)))
		}
	}
	fmt.Fprintln(out)
	return nil
}

// bar is a line that shows how far it has come, how fast it is, and what is left.
func bar(what string, done, size int64, took time.Duration) string {
	const width = 30
	full := int(width * done / size)
	rate := float64(done) / max(took.Seconds(), 0.001)
	left := time.Duration(float64(size-done) / rate * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%-12s [%s%s] %3d %%  %6.1f MB/s  %s left   ", what, strings.Repeat("#", full), strings.Repeat(".", width-full),
		100*done/size, rate/1e6, left)
}
