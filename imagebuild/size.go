package main

import (
	"fmt"
	"strconv"
	"strings"
)

// size is a flag value in bytes, written with a binary unit.
type size int64

var units = [...]struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	for _, u := range units {
		if number, ok := strings.CutSuffix(string(text), u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
			if err != nil || n < 1 || n > 1<<20 {
				return fmt.Errorf("want a whole number before %s", u.name)
			}
			*s = size(n * u.bytes)
			return nil
		}
	}
	return fmt.Errorf("want a size such as 500MiB, 4GiB or 1TiB")
}

// MarshalText implements encoding.TextMarshaler.
func (s size) MarshalText() ([]byte, error) {
	for _, u := range units {
		if int64(s)%u.bytes == 0 {
			return []byte(strconv.FormatInt(int64(s)/u.bytes, 10) + u.name), nil
		}
	}
	return []byte(strconv.FormatInt(int64(s), 10)), nil
}
