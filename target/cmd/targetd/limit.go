package main

import (
	"fmt"
	"strconv"
	"strings"

	"sanstick/target"
)

// megabyte is what mbps counts.
const megabyte = 1_000_000

// setLimit sets one of the two bounds by its name.
func setLimit(l *target.Limit, key string, value int64) error {
	switch {
	case key == "iops" && value >= target.MinIOPS && value <= 1e9:
		l.IOPS = int(value)
	case key == "iops":
		return fmt.Errorf("must be from %d commands a second up to 1000000000", target.MinIOPS)
	case key == "mbps" && value >= target.MinBytes/megabyte && value <= 1e6:
		l.Bytes = value * megabyte
	case key == "mbps":
		return fmt.Errorf("must be from %d megabyte a second up to 1000000", target.MinBytes/megabyte)
	default:
		return fmt.Errorf("%q is neither iops nor mbps", key)
	}
	return nil
}

// parseLimit reads iops=N,mbps=N.
func parseLimit(s string) (l target.Limit, err error) {
	for part := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(part, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil {
			return l, fmt.Errorf("want iops=N, mbps=N or both with a comma between them")
		}
		if err := setLimit(&l, key, n); err != nil {
			return l, fmt.Errorf("%s: %w", key, err)
		}
	}
	return l, nil
}

// limit reads a limit = { ... }.
func (d *document) limit(t *table) (l target.Limit) {
	if t == nil {
		return l
	}
	for _, key := range []string{"iops", "mbps"} {
		v, ok := t.take(key)
		if !ok {
			continue
		}
		n, isInt := v.(int64)
		if !isInt {
			d.fail(t.at(key), "must be a whole number")
		} else if err := setLimit(&l, key, n); err != nil {
			d.fail(t.at(key), "%v", err)
		}
	}
	t.end("iops, mbps")
	return l
}
