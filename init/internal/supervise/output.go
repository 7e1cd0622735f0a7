package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// maxLine is how much of a line is passed on at once; a longer one comes in
// parts.
const maxLine = 4 << 10

type lineReader struct{ b *bufio.Reader }

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{bufio.NewReaderSize(r, maxLine)}
}

// next returns the next line with its newline, or a part of it. The bytes are
// valid until the next call.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.b.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return line, err
}

// A LogFile is a file that never takes more than twice Max bytes: when it is
// full it gets the ending ".1", replacing the one before, and a new one
// starts. Safe for concurrent use.
type LogFile struct {
	path string
	max  int64

	mu   sync.Mutex
	f    *os.File
	size int64
}

// OpenLogFile opens the file for appending, or makes it.
func OpenLogFile(path string, maxSize int64) (*LogFile, error) {
	l := &LogFile{path: path, max: maxSize}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("cannot open log: %w", err)
	}
	l.f, l.size = f, fi.Size()
	return nil
}

// Write appends b, which is kept in one piece.
func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || l.size+int64(len(b)) > l.max && l.size > 0 {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *LogFile) rotate() error {
	if l.f != nil {
		l.f.Close() // every write has reached the file already
		l.f = nil
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return fmt.Errorf("cannot rotate log: %w", err)
		}
	}
	return l.open()
}

// Close closes the file. Writing afterwards opens it again.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}
