package main

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/update"
)

// A key that keygen makes signs what the public half accepts, and neither is
// ever overwritten.
func TestKeygenAndSign(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "sub", "attic")
	if err := keygen(t.Context(), []string{"-o", name}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name + ".key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the secret key: %v, %v", st, err)
	}
	before, err := os.ReadFile(name + ".key")
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range []string{"", ".key", ".pub"} {
		if missing != "" {
			if err := os.Rename(name+missing, name+missing+".away"); err != nil {
				t.Fatal(err)
			}
		}
		if err := keygen(t.Context(), []string{"-o", name}); err == nil {
			t.Errorf("keys were overwritten, without %q", missing)
		}
		if missing != "" {
			if err := os.Rename(name+missing+".away", name+missing); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after, err := os.ReadFile(name + ".key"); err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the secret key has changed (%v)", err)
	}

	kernel, file := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "update")
	if err := os.WriteFile(kernel, []byte("kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := update.Release{Version: "v1", Time: time.Unix(0, 0), Arch: "amd64", Config: update.Range{Oldest: 1, Newest: 1}}
	m, err := update.NewManifest(r, kernel, kernel)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := update.Create(f, m, kernel, kernel); err != nil {
		t.Fatal(err)
	}
	open := func() error {
		t.Helper()
		text, err := readKeys(dir, name+".pub")
		if err != nil {
			t.Fatal(err)
		}
		keys, err := update.DecodePublicKeys(text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = update.Open(bytes.NewReader(b), keys)
		return err
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "isn't signed") {
		t.Errorf("before it is signed: %v", err)
	}
	if err := sign(t.Context(), []string{"--bundle", file, "--key", name + ".key"}); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	if err := sign(t.Context(), []string{"--bundle", kernel, "--key", name + ".key"}); err == nil {
		t.Error("something else was signed")
	}
	if err := sign(t.Context(), []string{"--bundle", file, "--key", name + ".pub"}); err == nil {
		t.Error("signed with a public key")
	}
}

// Without a key an image takes no updates; a bad one is an error.
func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	if keys, err := readKeys(dir, ""); err != nil || keys != nil {
		t.Errorf("%q, %v", keys, err)
	}
	if _, err := readKeys(dir, filepath.Join(dir, "none")); err == nil {
		t.Error("a file that was named and isn't there is no error")
	}
	_, public, err := update.EncodeKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{public, []byte("no key")} {
		if err := os.WriteFile(filepath.Join(dir, publicKey), text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readKeys(dir, "")
		if ok := bytes.Equal(text, public); (err == nil) != ok || ok && !bytes.Equal(got, text) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
