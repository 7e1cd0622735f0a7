package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Bounds for an initramfs that is read.
const (
	maxNames    = 100000
	maxName     = 4096
	maxExpanded = 4 << 30
)

// Names lists the files of an initramfs: a cpio archive (newc) in a zstd frame.
func Names(compressed []byte) ([]string, error) {
	dec, err := zstd.NewReader(bytes.NewReader(compressed), zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("cannot expand the initramfs: %w", err)
	}
	defer dec.Close()
	names, err := cpioNames(io.LimitReader(dec, maxExpanded))
	if err != nil {
		return nil, fmt.Errorf("cannot read the initramfs: %w", err)
	}
	return names, nil
}

// cpioNames reads an archive of "new ASCII" form: a head of 110 characters, the name with a zero byte, padding to 4
// bytes, the content, and padding again.
func cpioNames(r io.Reader) ([]string, error) {
	const headSize, sizeAt, nameAt = 110, 54, 94
	var names []string
	head := make([]byte, headSize)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, fmt.Errorf("it ends within a head: %w", err)
		}
		if string(head[:6]) != "070701" {
			return nil, fmt.Errorf("it isn't a cpio archive")
		}
		size, err := strconv.ParseUint(string(head[sizeAt:sizeAt+8]), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("it has a bad head")
		}
		length, err := strconv.ParseUint(string(head[nameAt:nameAt+8]), 16, 32)
		if err != nil || length == 0 || length > maxName {
			return nil, fmt.Errorf("it has a bad head")
		}
		name := make([]byte, length+pad(headSize+length))
		if _, err := io.ReadFull(r, name); err != nil {
			return nil, fmt.Errorf("it ends within a name: %w", err)
		}
		text := strings.TrimRight(string(name[:length]), "\x00")
		if text == "TRAILER!!!" {
			return names, nil
		}
		if names = append(names, text); len(names) > maxNames {
			return nil, fmt.Errorf("it has more than %d files", maxNames)
		}
		if _, err := io.CopyN(io.Discard, r, int64(size+pad(size))); err != nil {
			return nil, fmt.Errorf("it ends within %s: %w", text, err)
		}
	}
}

func pad(n uint64) uint64 { return (4 - n%4) % 4 }
