package config

import (
	"errors"
	"strconv"
	"time"
)

// ParseDuration reads a time such as "30s", "10m", "1h" or "30d".
func ParseDuration(text string) (time.Duration, error) {
	bad := errors.New(`is not a time; write a whole number and a unit, as in "90s", "10m", "1h" or "30d"`)
	if len(text) < 2 || len(text) > 12 {
		return 0, bad
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 31)
	if err != nil {
		return 0, bad
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[text[len(text)-1]]
	if unit == 0 {
		return 0, bad
	}
	d := time.Duration(n) * unit
	if d/unit != time.Duration(n) {
		return 0, errors.New("is too long a time")
	}
	return d, nil
}

// duration reads a time from least to most; otherwise is what it is if the file
// says nothing.
func (s section) duration(key, example string, otherwise, least, most time.Duration) time.Duration {
	text, ok := s.text(key, example)
	if !ok {
		return otherwise
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		s.fail(key, "%s %v", show(text), err)
	case d < least:
		s.fail(key, "%s is too short; at least %s", show(text), FormatDuration(least))
	case d > most:
		s.fail(key, "%s is too long; at most %s", show(text), FormatDuration(most))
	default:
		return d
	}
	return otherwise
}

// FormatDuration writes a time the way ParseDuration reads it.
func FormatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= u.unit && d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}
