package stick

import (
	"fmt"
	"io"
	"os"
)

// copyImage makes f a copy of the image in path.
func copyImage(f *os.File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot open the image: %w", err)
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return fmt.Errorf("cannot open the image: %w", err)
	}
	if err := f.Truncate(fi.Size()); err != nil {
		return fmt.Errorf("cannot size the copy: %w", err)
	}
	return copySparse(f, 0, in, 0, fi.Size())
}

// copySparse copies size bytes between files. Runs of zeros over zeros are not written, so that holes stay holes.
func copySparse(to *os.File, toOff int64, from *os.File, fromOff, size int64) error {
	const chunk = 64 << 10
	buf, old, zero := make([]byte, chunk), make([]byte, chunk), make([]byte, chunk)
	for done := int64(0); done < size; done += chunk {
		n := min(chunk, size-done)
		if _, err := from.ReadAt(buf[:n], fromOff+done); err != nil {
			return fmt.Errorf("cannot read %s: %w", from.Name(), err)
		}
		if string(buf[:n]) == string(zero[:n]) {
			if _, err := to.ReadAt(old[:n], toOff+done); err != nil && err != io.EOF {
				return fmt.Errorf("cannot read %s: %w", to.Name(), err)
			}
			if string(old[:n]) == string(zero[:n]) {
				continue
			}
		}
		if _, err := to.WriteAt(buf[:n], toOff+done); err != nil {
			return fmt.Errorf("cannot write %s: %w", to.Name(), err)
		}
	}
	return nil
}
