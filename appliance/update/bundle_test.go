package update

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	keyA = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	keyB = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	day  = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func release(version string, when time.Time) Release {
	return Release{Version: version, Time: when, Arch: "amd64", Config: Range{1, 1}}
}

// system makes the files of a slot, which differ by version.
func system(t testing.TB, version string) (kernel, initramfs string) {
	t.Helper()
	dir := t.TempDir()
	kernel, initramfs = filepath.Join(dir, "k"), filepath.Join(dir, "i")
	if err := errors.Join(os.WriteFile(kernel, []byte(strings.Repeat("kernel "+version, 500)), 0o600),
		os.WriteFile(initramfs, []byte(strings.Repeat("initramfs "+version, 1000)), 0o600)); err != nil {
		t.Fatal(err)
	}
	return kernel, initramfs
}

// bundle makes one and signs it, unless key is nil.
func bundle(t testing.TB, r Release, key ed25519.PrivateKey) []byte {
	t.Helper()
	kernel, initramfs := system(t, r.Version)
	m, err := NewManifest(r, kernel, initramfs)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Create(file, m, kernel, initramfs); err != nil {
		t.Fatal(err)
	}
	if key != nil {
		got, err := Sign(file, key)
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got)\n%s", err, diff)
		}
	}
	b, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack reads all of a bundle.
func unpack(r io.Reader, keys ...ed25519.PublicKey) (Manifest, []string, error) {
	b, err := Open(r, keys)
	if err != nil {
		return Manifest{}, nil, err
	}
	var files []string
	for _, f := range b.Files {
		var w bytes.Buffer
		if err := b.Copy(&w, f); err != nil {
			return b.Manifest, nil, err
		}
		files = append(files, w.String())
	}
	return b.Manifest, files, b.End()
}

func TestBundle(t *testing.T) {
	good := bundle(t, release("v2", day), keyA)
	m, files, err := unpack(bytes.NewReader(good), public(keyB), public(keyA))
	if err != nil || m.Version != "v2" || !m.Time.Equal(day) || len(files) != 2 ||
		files[0] != strings.Repeat("kernel v2", 500) || files[1] != strings.Repeat("initramfs v2", 1000) {
		t.Errorf("%+v, %d files, %v", m, len(files), err)
	}
	if want := int64(len(files[0]) + len(files[1])); m.Size() != want {
		t.Errorf("size %d, want %d", m.Size(), want)
	}
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	end := len(good)
	manifest := len(bundleMagic) + 4
	length := func(n uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[len(bundleMagic):], n)
		return b
	}
	for name, tt := range map[string]struct {
		b    []byte
		keys []ed25519.PublicKey
		want string
	}{
		"not signed":            {bundle(t, release("v2", day), nil), []ed25519.PublicKey{public(keyA)}, "isn't signed"},
		"other key":             {good, []ed25519.PublicKey{public(keyB)}, "isn't signed with a key of this appliance"},
		"no key":                {good, nil, "no key to check"},
		"manifest changed":      {flip(manifest + 20), []ed25519.PublicKey{public(keyA)}, "isn't signed with a key"},
		"kernel changed":        {flip(end - 12001), []ed25519.PublicKey{public(keyA)}, "vmlinuz isn't what was signed"},
		"initramfs changed":     {flip(end - 1), []ed25519.PublicKey{public(keyA)}, "initrd.img isn't what was signed"},
		"cut in a file":         {good[:end-1], []ed25519.PublicKey{public(keyA)}, "is cut off: initrd.img has 11999 of 12000"},
		"cut in the head":       {good[:100], []ed25519.PublicKey{public(keyA)}, "cut off in its head"},
		"cut in the magic":      {good[:5], []ed25519.PublicKey{public(keyA)}, "cut off in its head"},
		"more behind the end":   {append(bytes.Clone(good), 0), []ed25519.PublicKey{public(keyA)}, "more behind its end"},
		"something else":        {make([]byte, 1000), []ed25519.PublicKey{public(keyA)}, "no update of sanstick"},
		"nothing":               {nil, []ed25519.PublicKey{public(keyA)}, "no update of sanstick"},
		"manifest of no length": {length(0), []ed25519.PublicKey{public(keyA)}, "0 bytes"},
		"endless manifest":      {length(1 << 31), []ed25519.PublicKey{public(keyA)}, "its manifest has"},
	} {
		_, _, err := unpack(bytes.NewReader(tt.b), tt.keys...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
}

func TestDecodeManifest(t *testing.T) {
	kernel, initramfs := system(t, "v1")
	good, err := NewManifest(release("v1", day), kernel, initramfs)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Manifest){
		"format":       func(m *Manifest) { m.Format = 2 },
		"version":      func(m *Manifest) { m.Version = "a b" },
		"long version": func(m *Manifest) { m.Version = strings.Repeat("v", 129) },
		"arch":         func(m *Manifest) { m.Arch = "" },
		"config":       func(m *Manifest) { m.Config = Range{2, 1} },
		"no files":     func(m *Manifest) { m.Files = nil },
		"other file":   func(m *Manifest) { m.Files[0].Name = "../vmlinuz" },
		"empty file":   func(m *Manifest) { m.Files[1].Size = 0 },
		"huge file":    func(m *Manifest) { m.Files[1].Size = 1 << 40 },
		"no hash":      func(m *Manifest) { m.Files[0].SHA256 = "12" },
	} {
		m := good
		m.Files = append([]File(nil), good.Files...)
		spoil(&m)
		raw, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeManifest(raw); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSignRefusesDamage(t *testing.T) {
	b := bundle(t, release("v1", day), nil)
	b[len(b)-1] ^= 1
	file, err := os.Create(filepath.Join(t.TempDir(), "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(file, keyA); err == nil || !strings.Contains(err.Error(), "isn't what was signed") {
		t.Errorf("error %v", err)
	}
}

func TestKeys(t *testing.T) {
	priv, pub, err := EncodeKey(keyA)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := DecodePrivateKey(priv); err != nil || !k.Equal(keyA) {
		t.Errorf("private key: %v", err)
	}
	_, pubB, err := EncodeKey(keyB)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := DecodePublicKeys(append(bytes.Clone(pub), pubB...))
	if err != nil || len(keys) != 2 || !keys[0].Equal(public(keyA)) || !keys[1].Equal(public(keyB)) {
		t.Errorf("public keys: %v, %v", keys, err)
	}
	if keys, err := DecodePublicKeys(nil); err != nil || len(keys) != 0 {
		t.Errorf("no text: %v, %v", keys, err)
	}
	for _, bad := range [][]byte{[]byte("x"), priv, bytes.Replace(pub, []byte("MC"), []byte("MD"), 1)} {
		if _, err := DecodePublicKeys(bad); err == nil {
			t.Errorf("%.30q: no error", bad)
		}
	}
	if _, err := DecodePrivateKey(pub); err == nil {
		t.Error("a public key is taken for a private one")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(bundle(f, release("v1", day), keyA))
	f.Add([]byte(bundleMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, files, err := unpack(bytes.NewReader(b), public(keyA))
		if err == nil && !bytes.HasSuffix(b, []byte(strings.Join(files, ""))) {
			t.Error("files that aren't in the bundle")
		}
		// What the signature keeps away in real life.
		if head, err := openHead(bytes.NewReader(b)); err == nil {
			if m, err := DecodeManifest(head.raw); err == nil && (m.Size() <= 0 || len(m.Files) != 2) {
				t.Errorf("manifest %+v", m)
			}
		}
	})
}
