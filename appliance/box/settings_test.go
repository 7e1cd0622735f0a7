package box

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
)

const (
	goodTOML  = "hostname = \"attic\"\n"
	otherTOML = "hostname = \"cellar\"\n"
	badTOML   = "hostname = \"attic\"\n\n[[pool]]\nnane = \"tank\"\n"
)

func TestDecide(t *testing.T) {
	missing := fs.ErrNotExist
	for _, tc := range []struct {
		name          string
		file, good    string
		fileErr       error
		goodErr       error
		inForce       string
		hostname      string
		trusted       bool
		remember      string
		errorContains string
	}{
		{name: "first boot", file: goodTOML, goodErr: missing, inForce: "file", hostname: "attic", trusted: true, remember: goodTOML},
		{name: "nothing new", file: goodTOML, good: goodTOML, inForce: "file", hostname: "attic", trusted: true},
		{name: "edited", file: otherTOML, good: goodTOML, inForce: "file", hostname: "cellar", trusted: true, remember: otherTOML},
		{name: "broken", file: badTOML, good: goodTOML, inForce: "last-good", hostname: "attic", errorContains: "appliance.toml:4: "},
		{name: "broken from the start", file: badTOML, goodErr: missing, inForce: "none", errorContains: "nane"},
		{name: "both broken", file: badTOML, good: badTOML, inForce: "none", errorContains: "nane"},
		{name: "deleted", fileErr: missing, good: goodTOML, inForce: "last-good", hostname: "attic", errorContains: "does not exist"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := decide("/stick/appliance.toml", []byte(tc.file), tc.fileErr, []byte(tc.good), tc.goodErr)
			if s.config == nil {
				t.Fatal("no configuration at all")
			}
			sum := map[string]string{inForceFile: sumOf([]byte(tc.file)), inForceLastGood: sumOf([]byte(tc.good))}
			got := []any{s.status.InForce, s.trusted, string(s.remember), s.sum}
			want := []any{tc.inForce, tc.trusted, tc.remember, sum[tc.inForce]}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if tc.hostname != "" && s.config.Hostname != tc.hostname {
				t.Errorf("hostname %q, want %q", s.config.Hostname, tc.hostname)
			}
			if all := strings.Join(s.status.Errors, "\n"); !strings.Contains(all, tc.errorContains) || (all == "") != (tc.errorContains == "") {
				t.Errorf("errors %q, want one that says %q", all, tc.errorContains)
			}
		})
	}
}

func TestRememberGood(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, configName)
	for _, text := range []string{goodTOML, otherTOML} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := readSettings(dir)
		if string(s.remember) != text {
			t.Fatalf("remember %q, want %q", s.remember, text)
		}
		if err := rememberGood(dir, s.remember, s.config.Schema(), config.Newest); err != nil {
			t.Fatal(err)
		}
		if s := readSettings(dir); s.remember != nil {
			t.Errorf("the same file is to be remembered twice: %q", s.remember)
		}
	}
	st, err := os.Stat(filepath.Join(dir, lastGoodName))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the copy has mode %v: it may hold secrets", st.Mode())
	}
	if err := os.WriteFile(path, []byte(badTOML), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := readSettings(dir); s.status.InForce != inForceLastGood || s.trusted || s.config.Hostname != "cellar" {
		t.Errorf("with a broken file: %+v", s.status)
	}
}

// A version that is gone back to finds the newest file that it can read.
func TestLastGoodBySchema(t *testing.T) {
	dir := t.TempDir()
	read := func(newest int, want string) {
		t.Helper()
		if got, err := readGood(dir, newest); err != nil || string(got) != want {
			t.Errorf("up to schema %d: %q, %v; want %q", newest, got, err, want)
		}
	}
	keep := func(data string, schema, newest int) {
		t.Helper()
		if err := rememberGood(dir, []byte(data), schema, newest); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readGood(dir, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is there: %v", err)
	}
	keep("one", 1, 1)
	read(3, "one")
	keep("three", 3, 3)
	read(3, "three")
	read(2, "one")
	read(1, "one")
	keep("one again", 1, 3) // the newer version has gone back to an older file
	read(3, "one again")
	read(1, "one again")
}

func TestReadBounded(t *testing.T) {
	dir := t.TempDir()
	if _, err := readBounded(dir); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("reading a directory: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := readBounded(big); err == nil {
		t.Error("a file of 1 TiB was read")
	}
}

// From a CD without any configuration: the defaults, and what disks keep is adopted. That is no problem.
func TestBuiltIn(t *testing.T) {
	s := builtIn()
	if !s.trusted || !s.config.Adopt || !s.config.Blank() || s.status.InForce != inForceDefaults || len(s.config.Interfaces) == 0 || len(configProblems(s.status)) > 0 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(strings.Join(s.status.Warnings, " "), "the built-in defaults are in force") {
		t.Errorf("warnings %q don't say what is in force", s.status.Warnings)
	}
	dir := t.TempDir()
	for cmdline, want := range map[string]bool{"quiet slot=a media=iso\n": true, "quiet slot=a media=stick\n": false, "media=isolinux": false} {
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(cmdline), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := startedFromISO(dir); got != want {
			t.Errorf("%q: from a CD: %v", cmdline, got)
		}
	}
}

// Without a stick nothing watches it, and that ends with the box, not before: a task that ends takes the daemon along.
func TestWatchNoStick(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := new(box).watchStick(ctx); err != nil || ctx.Err() == nil {
		t.Errorf("error %v, before its context had ended: %v", err, ctx.Err() == nil)
	}
}
