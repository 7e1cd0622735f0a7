package pdu

import (
	"bytes"
	"errors"
	"fmt"
)

// Limits of text segments. The RFC's own are for keys (63 bytes) and simple
// values (255); CHAP values may be longer (section 12.1.3: 1024 bytes, so
// 2050 characters in hexadecimal).
const (
	MaxKeyLen   = 63
	MaxValueLen = 2100
	MaxPairs    = 128
)

// A Pair is one key=value of a text segment.
type Pair struct{ Key, Value string }

// ErrText is wrapped by all errors of ParseText.
var ErrText = errors.New("malformed text segment")

// ParseText splits a complete text segment (all parts of a continued one put
// together) into its pairs, in order. It works by length: nothing needs to
// end in a NUL, and runs of NULs are skipped. The same key may come twice;
// what that means is for the caller.
func ParseText(b []byte) ([]Pair, error) {
	var pairs []Pair
	for len(b) > 0 {
		item := b
		if i := bytes.IndexByte(b, 0); i >= 0 {
			item, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(item) == 0 {
			continue
		}
		if len(pairs) == MaxPairs {
			return nil, fmt.Errorf("%w: more than %d keys", ErrText, MaxPairs)
		}
		key, value, found := bytes.Cut(item, []byte("="))
		switch {
		case !found:
			return nil, fmt.Errorf("%w: no '=' in an item of %d bytes", ErrText, len(item))
		case !validKey(key):
			return nil, fmt.Errorf("%w: key of %d bytes is too long or has characters that keys can't have", ErrText, len(key))
		case len(value) > MaxValueLen:
			return nil, fmt.Errorf("%w: value of %s is longer than %d bytes", ErrText, key, MaxValueLen)
		case !printable(value):
			return nil, fmt.Errorf("%w: value of %s has control characters", ErrText, key)
		}
		pairs = append(pairs, Pair{string(key), string(value)})
	}
	return pairs, nil
}

// AppendPair adds key=value and its NUL to b.
func AppendPair(b []byte, key, value string) []byte {
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, 0)
}

func validKey(k []byte) bool {
	if len(k) == 0 || len(k) > MaxKeyLen {
		return false
	}
	for _, c := range k {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte(".-+@_#/"), c) >= 0:
		default:
			return false
		}
	}
	return true
}

func printable(v []byte) bool {
	for _, c := range v {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}
