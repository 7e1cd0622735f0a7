package config

import (
	"errors"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	for text, want := range map[string]int{"": 1, "version = 1\n": 1} {
		if c, err := Parse("a.toml", []byte(text)); err != nil || c.Schema() != want {
			t.Errorf("%q: %v, want schema %d", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"version = 0\n":     "a.toml:1: version: is 0, but must be 1",
		"version = \"1\"\n": "a.toml:1: version: is text, but must be a whole number",
		"# new\nversion = 2\n[future]\nkey = 1\nhostname = 3": "a.toml:2: version: is 2: the file was written for a newer version of sanstick, and this one reads up to 1",
		"version = 9223372036854775807\n":                     "a.toml:1: version: is 9223372036854775807: the file",
	} {
		_, err := Parse("a.toml", []byte(text))
		var list Errors
		if !errors.As(err, &list) || len(list) != 1 || !strings.HasPrefix(list[0].Error(), want) {
			t.Errorf("%q: %v, want just %q", text, err, want)
		}
	}
}
